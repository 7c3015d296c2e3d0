"""Prose and tables, and the layout of a report on a page or a terminal, one section below the other.

A section can be drawn by rich and can be turned into HTML, so that the terminal and the page say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from charrnn.display.safe import visible
from charrnn.display.webpage import escape, frame


class Section(Protocol):
    """A part of a report."""

    @property
    def style(self) -> str:
        """The CSS rules that the section needs besides those of every page."""

    def html(self) -> str:
        """Returns the section as HTML."""


@dataclass(frozen=True, slots=True)
class Prose:
    """A heading, or paragraphs, of which each is one line of the text."""

    text: str
    is_heading: bool = False
    wraps: bool = True
    """Whether the text is wrapped between words, instead of being cut where the terminal's line ends."""
    style = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text(visible(self.text), "bold" if self.is_heading else "", no_wrap=not self.wraps)
        text.overflow = None if self.wraps else "ignore"
        yield text

    def html(self) -> str:
        """Returns an HTML element for each line."""
        tag = "h2" if self.is_heading else "p"
        return "\n".join(f"<{tag}>{escape(line)}</{tag}>" for line in self.text.split("\n"))


@dataclass(frozen=True, slots=True)
class Row:
    """A table's row; `weight` says how much it stands out."""

    cells: Sequence[str]
    weight: Literal["bold", "", "dim"] = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table. The first column holds words and may wrap; numbers are aligned to the right."""

    names: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = (0, -1)
    """The places of the columns that hold words and are aligned to the left."""
    gap: int = 1
    """The number of spaces between columns on a terminal."""
    style = """
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th.w, td.w { text-align: left; }
td:first-child { white-space: normal; min-width: 9rem; }
tr.bold td { font-weight: 600; }
tr.dim td { opacity: .7; }
""".strip()

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, self.gap, 0, 0), header_style="bold")
        for place, name in enumerate(self.names):
            table.add_column(
                Text(visible(name)),
                justify="left" if self._is_words(place) else "right",
                overflow="fold",
                no_wrap=place > 0 and " " not in name,
            )
        for row in self.rows:
            # As Text, because rich would read [brackets] in a plain string as markup and :names: as emoji.
            table.add_row(*(Text(visible(cell, kept="")) for cell in row.cells), style=row.weight or None)
        return table

    def _is_words(self, place: int) -> bool:
        return place in self.words or place - len(self.names) in self.words

    def html(self) -> str:
        """Returns the table as HTML, in a box that scrolls where the table is too wide."""
        look = [' class="w"' if self._is_words(place) else "" for place in range(len(self.names))]
        head = "".join(f"<th{css}>{escape(name)}</th>" for name, css in zip(self.names, look, strict=True))
        body = "\n".join(
            f"<tr{f' class={row.weight}' if row.weight else ''}>"
            + "".join(f"<td{css}>{escape(cell)}</td>" for cell, css in zip(row.cells, look, strict=True))
            + "</tr>"
            for row in self.rows
        )
        return f'<div class="table"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def spaced(pieces: Iterable[object]) -> Iterator[object]:
    """Yields the pieces for rich, with an empty line between any two of them, but none below a heading."""
    is_below = True
    for piece in pieces:
        if not is_below:
            yield Text()
        yield piece
        is_below = isinstance(piece, Prose) and piece.is_heading


def page(heading: str, pieces: Iterable[Section]) -> str:
    """Returns the sections as one self-contained HTML page."""
    shown = list(pieces)
    rules = dict.fromkeys(piece.style for piece in shown if piece.style)
    return frame(heading, "\n".join(piece.html() for piece in shown), "\n".join(rules))
