"""Rich's styles for readable text on a coloured background."""

from __future__ import annotations

from rich.color import Color
from rich.console import Console
from rich.style import Style

from charrnn.display.palette import Colour, is_dark


def has_colour(console: Console) -> bool:
    """Returns whether a console shows colours."""
    return console.color_system is not None and not console.no_color


def style_on(colour: Colour, *, bold: bool | None = None, underline: bool | None = None) -> Style:
    """Returns rich's style of white or black text on a background."""
    ink = (255, 255, 255) if is_dark(colour) else (0, 0, 0)
    return Style(color=Color.from_rgb(*ink), bgcolor=Color.from_rgb(*colour), bold=bold, underline=underline)
