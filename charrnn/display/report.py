"""What `inspect` says in words, tables and coloured text, once for the terminal and once for a page.

A report is a sequence of pieces; each is drawn on a terminal of any width, or becomes HTML in the frame of `webpage`
with the same words. Knows pieces. Refuses to know what they are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.table import Table
from rich.text import Text

from charrnn.display.heat import HeatText
from charrnn.display.palette import SAFE, Palette
from charrnn.display.safe import visible
from charrnn.display.webpage import Picture, escape, frame, section


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph, or a heading."""

    text: str
    is_heading: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A table's row; `weight` says how much it stands out."""

    cells: Sequence[str]
    weight: Literal["bold", "", "dim"] = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table. The first column is words and may wrap; numbers stand on the right of theirs."""

    names: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = (0, -1)
    """Columns that are words and stand on the left, by their places."""


Piece: TypeAlias = Prose | Columns | Picture

_STYLE = """
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th.w, td.w { text-align: left; }
td:first-child { white-space: normal; min-width: 9rem; }
tr.bold td { font-weight: 600; }
tr.dim td { opacity: .7; }
""".strip()


def draw(pieces: Iterable[Piece], palette: Palette = SAFE) -> Iterator[Table | Text | HeatText]:
    """For a terminal, with an empty line between pieces and none below a heading."""
    is_below = False
    for number, piece in enumerate(pieces):
        if number and not is_below:
            yield Text()
        is_below = isinstance(piece, Prose) and piece.is_heading
        if isinstance(piece, Prose):
            yield Text(visible(piece.text), "bold" if piece.is_heading else "")
        elif isinstance(piece, Columns):
            yield _table(piece)
        else:
            yield HeatText(visible(piece.title), piece.text, piece.values, piece.low, piece.high, palette, piece.marked)


def page(heading: str, pieces: Iterable[Piece], palette: Palette = SAFE) -> str:
    """As one self-contained page."""
    return frame(heading, "\n".join(_html(piece, palette) for piece in pieces), _STYLE)


def _table(columns: Columns) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, name in enumerate(columns.names):
        is_words = _is_words(columns, place)
        table.add_column(
            Text(visible(name)),
            justify="left" if is_words else "right",
            overflow="fold",
            no_wrap=place > 0 and " " not in name,
        )
    for row in columns.rows:
        # As Text: of a plain string rich would take [brackets] for its markup and :names: for pictures.
        table.add_row(*(Text(visible(cell, kept="")) for cell in row.cells), style=row.weight or None)
    return table


def _is_words(columns: Columns, place: int) -> bool:
    return place in columns.words or place - len(columns.names) in columns.words


def _html(piece: Piece, palette: Palette) -> str:
    if isinstance(piece, Prose):
        tag = "h2" if piece.is_heading else "p"
        return f"<{tag}>{escape(piece.text)}</{tag}>"
    if isinstance(piece, Picture):
        return section(piece, palette.text)
    look = [' class="w"' if _is_words(piece, place) else "" for place in range(len(piece.names))]
    head = "".join(f"<th{css}>{escape(name)}</th>" for name, css in zip(piece.names, look, strict=True))
    body = "\n".join(
        f"<tr{f' class={row.weight}' if row.weight else ''}>"
        + "".join(f"<td{css}>{escape(cell)}</td>" for cell, css in zip(row.cells, look, strict=True))
        + "</tr>"
        for row in piece.rows
    )
    return f'<div class="table"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
