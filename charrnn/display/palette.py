"""Colours for values from low to high, one table for terminal and HTML.

The default runs from blue over white to orange: the ends differ in lightness-neutral hue for every common kind of
colour vision (blue against orange is the pair that all of them keep apart). Knows numbers and colours. Refuses to
know what they stand for.
"""

from __future__ import annotations

Colour = tuple[int, int, int]

_BLUE: Colour = (33, 102, 172)
_WHITE: Colour = (247, 247, 247)
_ORANGE: Colour = (230, 97, 1)
RAMP = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
"""Glyphs from low to high, for where there is no colour."""


def diverging(share: float) -> Colour:
    """The colour of `share` (0 lowest, 0.5 the middle, 1 highest), linear between three anchors."""
    share = min(max(share, 0.0), 1.0)
    low, high, weight = (_BLUE, _WHITE, share * 2) if share < 0.5 else (_WHITE, _ORANGE, share * 2 - 1)
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(low, high, strict=True))
    return red, green, blue


def is_dark(colour: Colour) -> bool:
    """Whether white text stands out from it more than black does, by the contrast of WCAG 2.2 (at least 4.5 to 1)."""
    red, green, blue = (_linear(channel / 255) for channel in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05


def _linear(channel: float) -> float:
    """Light of an sRGB channel (IEC 61966-2-1)."""
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def glyph(share: float) -> str:
    """The ramp's glyph for `share`."""
    return RAMP[min(int(min(max(share, 0.0), 1.0) * len(RAMP)), len(RAMP) - 1)]
