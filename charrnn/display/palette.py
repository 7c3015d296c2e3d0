"""Colours for values from low to high, one table for terminal and HTML.

Functions that draw take a palette as an argument. The default runs from blue over white to orange, since people with
any common kind of colour vision can tell blue from orange. `KARPATHY` has the colours of the pictures in Karpathy's
"The Unreasonable Effectiveness of Recurrent Neural Networks" (2015), read off their pixels: blue against red for
coloured text, blue against green for a unit above guesses, red for guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Ramp = tuple[Colour, ...]
"""A colour scale, given by anchors at equal distances from the lowest value to the highest."""
PaletteName = Literal["safe", "karpathy"]

_BLUE: Colour = (33, 102, 172)
_WHITE: Colour = (247, 247, 247)
_ORANGE: Colour = (230, 97, 1)
RAMP = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
"""The glyphs that stand for values from low to high where there is no colour."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture."""

    text: Ramp
    """The colours of a unit's values behind running text."""
    above: Ramp
    """The colours of a unit's values where guesses stand below the text."""
    guesses: Ramp
    """The colours of the guesses' probabilities from 0 to 1."""


SAFE = Palette((_BLUE, _WHITE, _ORANGE), (_BLUE, _WHITE, _ORANGE), (_WHITE, _ORANGE))
KARPATHY = Palette(
    ((91, 173, 214), (255, 255, 255), (215, 92, 92)),
    ((0, 0, 255), (255, 255, 255), (0, 255, 0)),
    ((255, 255, 255), (255, 0, 0)),
)
PALETTES: dict[PaletteName, Palette] = {"safe": SAFE, "karpathy": KARPATHY}


def mixed(ramp: Ramp, share: float) -> Colour:
    """Returns the colour of `share` (0 lowest, 1 highest), interpolated linearly between the two nearest anchors."""
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    below = min(int(place), len(ramp) - 2)
    weight = place - below
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(ramp[below], ramp[below + 1], strict=True))
    return red, green, blue


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
