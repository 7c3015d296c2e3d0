"""The same picture as one self-contained HTML file.

No script, no network (a Content-Security-Policy forbids both), no date: the same input gives the same bytes. All text
is escaped, and characters that could disturb the page are shown as symbols. Readable in light and dark surroundings.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from charrnn.display.palette import SAFE, Colour, Palette, Ramp, is_dark, mixed
from charrnn.display.safe import visible_character

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1, p { overflow-wrap: anywhere; }
h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .25rem; }
pre { font: 15px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
.legend { height: .8rem; width: 16rem; max-width: 60vw; display: inline-block; margin: 0 .5rem; }
.m { text-decoration: underline 2px; }
.legend { outline: 1px solid #8888; }
""".strip()


@dataclass(frozen=True, slots=True)
class Picture:
    """One coloured text."""

    title: str
    text: str
    values: Sequence[float]
    low: float
    high: float
    marked: Sequence[bool] = ()
    """Which characters are underlined; none, or one for each."""


def render(heading: str, pictures: Sequence[Picture], palette: Palette = SAFE) -> str:
    """The page as text."""
    return frame(heading, "\n".join(section(picture, palette.text) for picture in pictures))


def frame(heading: str, body: str, style: str = "") -> str:
    """A page around `body`, which is HTML; `style` adds to the rules that every page has."""
    rules = f"{_STYLE}\n{style}".rstrip()
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>\n{rules}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(heading)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section(picture: Picture, ramp: Ramp) -> str:
    """A coloured text with its title and its legend."""
    stops = ", ".join(css(mixed(ramp, place / 8)) for place in range(9))
    span = picture.high - picture.low
    cells, marked = [], picture.marked or [False] * len(picture.text)
    for character, value, is_marked in zip(picture.text, picture.values, marked, strict=True):
        colour = mixed(ramp, (value - picture.low) / span)
        ink = "#fff" if is_dark(colour) else "#000"
        shown = {"\n": "\u21b5\n", "\t": "\u2192\t"}.get(character) or visible_character(character)
        cells.append(
            f'<span{" class=m" if is_marked else ""} style="background:{css(colour)};color:{ink}" '
            f'title="{value:+.3f}">{html.escape(shown)}</span>'
        )
    return (
        f"<h2>{escape(picture.title)}</h2>\n<div>{picture.low:+g}"
        f'<span class="legend" style="background:linear-gradient(90deg, {stops})"></span>{picture.high:+g}</div>\n'
        f"<pre>{''.join(cells)}</pre>"
    )


def escape(text: str) -> str:
    """Text that neither the page nor its surroundings take for more."""
    return html.escape("".join(map(visible_character, text)))


def css(colour: Colour) -> str:
    """A colour as a style sheet writes it."""
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
