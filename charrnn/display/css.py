"""Colours in the notation of a style sheet. Unlike `background.py`, this needs no rich."""

from __future__ import annotations

from charrnn.display.palette import Colour, is_dark


def css(colour: Colour) -> str:
    """Returns a colour in the notation of CSS."""
    return f"#{bytes(colour).hex()}"


def css_on(colour: Colour) -> str:
    """Returns the CSS rules for white or black text on a background."""
    return f"background:{css(colour)};color:{'#fff' if is_dark(colour) else '#000'}"
