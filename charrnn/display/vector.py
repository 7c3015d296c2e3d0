"""What the terminal would show, as an SVG picture that loads nothing and needs no particular font.

The same pieces give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from charrnn.display.report import spaced
from charrnn.display.safe import visible
from charrnn.display.webpage import escape

COLUMNS = 80
_WIDE, _HIGH = 8, 18  # of a character, in the picture's units
_MARGIN = 12
_FONT = "font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre"
_PAPER, _INK = "#ffffff", "#1b1b1b"


def picture(heading: str, pieces: Iterable[object], columns: int = COLUMNS) -> str:
    """Returns an SVG document that shows the pieces as a terminal in colour does, one below the other.

    Args:
        heading: what the picture is, for its `title`, which is read aloud and shown under the pointer.
        pieces: what rich can draw.
        columns: the width of the terminal in characters; the picture is as wide as its longest line.
    """
    lines = list(_lines(pieces, columns))
    widest = max((Segment.get_line_length(line) for line in lines), default=0)
    width, height = widest * _WIDE + 2 * _MARGIN, len(lines) * _HIGH + 2 * _MARGIN
    drawn = [mark for place, line in enumerate(lines) for mark in _marks(line, _MARGIN + place * _HIGH)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img">',
            f"<title>{escape(heading)}</title>",
            f'<rect width="{width}" height="{height}" rx="6" fill="{_PAPER}"/>',
            f'<g style="{_FONT}" fill="{_INK}" xml:space="preserve">',
            *drawn,
            "</g>",
            "</svg>\n",
        ]
    )


def _lines(pieces: Iterable[object], columns: int) -> Iterator[list[Segment]]:
    """Yields the segments of each line of the terminal."""
    console = Console(
        file=io.StringIO(), width=columns, force_terminal=True, color_system="truecolor", no_color=False,
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    for piece in spaced(pieces):
        shown = Text(piece) if isinstance(piece, str) else piece
        yield from console.render_lines(shown, pad=False)  # type: ignore[arg-type]


def _marks(line: list[Segment], top: int) -> Iterator[str]:
    """Yields the SVG elements of a line: backgrounds, and over them runs of letters that look alike."""
    cells = [(segment.text, segment.style or Style()) for segment in line if not segment.control]
    column = _MARGIN
    for colour, run in groupby(cells, lambda cell: _hex(cell[1].bgcolor)):
        wide = _WIDE * sum(cell_len(text) for text, _ in run)
        if colour:
            yield f'<path fill="{colour}" d="M{column} {top}h{wide}v{_HIGH}h-{wide}z"/>'
        column += wide
    column = _MARGIN
    for look, run in groupby(cells, lambda cell: _look(cell[1])):
        letters = visible("".join(text for text, _ in run), kept="")
        wide = _WIDE * cell_len(letters)
        if letters.strip():
            yield f'<text x="{column}" y="{top + 13}" textLength="{wide}"{look}>{escape(letters)}</text>'
        column += wide


def _look(style: Style) -> str:
    """Returns the attributes of letters in this style."""
    ink = _hex(style.color)
    return (
        (f' fill="{ink}"' if ink else "")
        + (' font-weight="bold"' if style.bold else "")
        + (' opacity=".6"' if style.dim else "")
        + (' text-decoration="underline"' if style.underline else "")
    )


def _hex(colour: object) -> str:
    from rich.color import Color

    if not isinstance(colour, Color) or colour.is_default:
        return ""
    return colour.get_truecolor().hex
