"""Rich's styles for readable text on a coloured background, for a terminal of any number of colours."""

from __future__ import annotations

from rich.color import Color
from rich.console import Console
from rich.style import Style

from charrnn.display.palette import SAFE, Ramp, is_dark, mixed, of_cube, step

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_DARK_OF_16 = (1, 4, 5, 12)
"""Red, blue, magenta and bright blue, on which white text has 4.5 to 1 or more on every usual terminal."""


def has_colour(console: Console) -> bool:
    """Returns whether a console shows colours."""
    return console.color_system is not None and not console.no_color


def style_on(
    console: Console, ramp: Ramp, share: float, *, bold: bool | None = None, underline: bool | None = None
) -> Style:
    """Returns the style of readable text on the ramp's background for `share`, from 0 lowest to 1 highest.

    The console says how many colours there are; without any the style has none.
    """
    if not has_colour(console):
        return Style(bold=bold, underline=underline)
    if console.color_system == "truecolor":
        colour = mixed(ramp, share)
        ink, background = Color.from_rgb(*(_WHITE if is_dark(colour) else _BLACK)), Color.from_rgb(*colour)
    elif console.color_system == "256":
        number = step(ramp.of_256, share)
        ink, background = Color.from_ansi(231 if is_dark(of_cube(number)) else 16), Color.from_ansi(number)
    else:
        number = step(ramp.of_16, share)
        ink, background = Color.from_ansi(15 if number in _DARK_OF_16 else 0), Color.from_ansi(number)
    return Style(color=ink, bgcolor=background, bold=bold, underline=underline)


def mark_style(console: Console) -> Style:
    """Returns the style of marks in the high end's colour on the terminal's own background, dark or bright."""
    if not has_colour(console):
        return Style()
    if console.color_system == "truecolor":
        return Style(color=Color.from_rgb(*SAFE.text.anchors[-1]))
    return Style(color=Color.from_ansi(208 if console.color_system == "256" else 9))
