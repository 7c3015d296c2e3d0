"""Colours for values from low to high, one table for terminal and HTML.

Functions that draw take a palette as an argument. The default runs from blue over white to orange, since people with
any common kind of colour vision can tell blue from orange. `KARPATHY` has the colours of the pictures in Karpathy's
"The Unreasonable Effectiveness of Recurrent Neural Networks" (2015), read off their pixels: blue against red for
coloured text, blue against green for a unit above guesses, red for guesses.

Terminals of 256 and of 16 colours have ramps of their own, chosen by hand: the nearest colours to those of a smooth
ramp would make steps that repeat, jump, or turn grey. In each ramp lightness falls steadily from white to the ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
PaletteName = Literal["safe", "karpathy"]

_BLUE: Colour = (33, 102, 172)
_WHITE: Colour = (247, 247, 247)
_ORANGE: Colour = (230, 97, 1)
_LEVELS = (0, 95, 135, 175, 215, 255)  # of each channel in the cube of the 256 colours
RAMP = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
"""The glyphs that stand for values from low to high where there is no colour."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A colour scale from the lowest value to the highest."""

    anchors: tuple[Colour, ...]
    """Colours at equal distances, between which the others are interpolated."""
    of_256: tuple[int, ...]
    """The steps on a terminal of 256 colours, each a number of the colour cube (16 to 231)."""
    of_16: tuple[int, ...]
    """The steps on a terminal of 16 colours, which has its own idea of each."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture."""

    text: Ramp
    """The colours of a unit's values behind running text."""
    above: Ramp
    """The colours of a unit's values where guesses stand below the text."""
    guesses: Ramp
    """The colours of the guesses' probabilities from 0 to 1."""


_BLUE_TO_ORANGE = Ramp((_BLUE, _WHITE, _ORANGE), (25, 32, 74, 117, 231, 223, 215, 208, 166), (4, 6, 14, 15, 11, 9, 1))
SAFE = Palette(
    _BLUE_TO_ORANGE, _BLUE_TO_ORANGE, Ramp((_WHITE, _ORANGE), (231, 223, 215, 208, 202, 166), (15, 11, 9, 1))
)
KARPATHY = Palette(
    Ramp(
        ((91, 173, 214), (255, 255, 255), (215, 92, 92)), (74, 117, 189, 231, 224, 210, 167), (4, 6, 14, 15, 13, 9, 1)
    ),
    Ramp(
        ((0, 0, 255), (255, 255, 255), (0, 255, 0)),
        (21, 63, 105, 147, 189, 231, 194, 157, 120, 83, 46),
        (4, 6, 15, 10, 2),
    ),
    Ramp(((255, 255, 255), (255, 0, 0)), (231, 224, 217, 210, 203, 196), (15, 13, 9, 1)),
)
PALETTES: dict[PaletteName, Palette] = {"safe": SAFE, "karpathy": KARPATHY}


def mixed(ramp: Ramp, share: float) -> Colour:
    """Returns the colour of `share` (0 lowest, 1 highest), interpolated linearly between the two nearest anchors."""
    place = min(max(share, 0.0), 1.0) * (len(ramp.anchors) - 1)
    below = min(int(place), len(ramp.anchors) - 2)
    weight = place - below
    ends = zip(ramp.anchors[below], ramp.anchors[below + 1], strict=True)
    red, green, blue = (round(a + (b - a) * weight) for a, b in ends)
    return red, green, blue


def step(steps: Sequence[int], share: float) -> int:
    """Returns the step of `share`, where each of the steps has an equal part of the range from 0 to 1."""
    return steps[min(int(min(max(share, 0.0), 1.0) * len(steps)), len(steps) - 1)]


def of_cube(number: int) -> Colour:
    """Returns a colour of the cube of the 256 colours, by its number from 16 to 231."""
    place = number - 16
    return _LEVELS[place // 36], _LEVELS[place // 6 % 6], _LEVELS[place % 6]


def diverging(share: float) -> Colour:
    """Returns the colour of `share` in the default palette: 0 is lowest, 0.5 the middle, 1 highest."""
    return mixed(SAFE.text, share)


def is_dark(colour: Colour) -> bool:
    """Returns whether white text has more contrast than black text, by WCAG 2.2 (the better has 4.5 to 1 or more)."""
    red, green, blue = (_linear(channel / 255) for channel in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05


def _linear(channel: float) -> float:
    """Returns the linear intensity of an sRGB channel (IEC 61966-2-1)."""
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def glyph(share: float) -> str:
    """Returns the glyph of `RAMP` for `share`, from 0 lowest to 1 highest."""
    return RAMP[min(int(min(max(share, 0.0), 1.0) * len(RAMP)), len(RAMP) - 1)]
