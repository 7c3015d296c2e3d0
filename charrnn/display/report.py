"""Words and tables, and the page or the terminal that they, pictures and plots stand on one below the other.

A piece is anything that rich can draw and that has itself as HTML: the terminal and the page say the same.
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
        """Rules of a style sheet, beyond those of every page."""

    def html(self) -> str:
        """Returns it as HTML."""


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs, one a line, or a heading."""

    text: str
    is_heading: bool = False
    wraps: bool = True
    """Whether it is broken into lines on a terminal, and not left to break where the terminal ends."""
    style = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text(visible(self.text), "bold" if self.is_heading else "", no_wrap=not self.wraps)
        text.overflow = None if self.wraps else "ignore"
        yield text

    def html(self) -> str:
        """Returns an element for each line."""
        tag = "h2" if self.is_heading else "p"
        return "\n".join(f"<{tag}>{escape(line)}</{tag}>" for line in self.text.split("\n"))


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
    gap: int = 1
    """Spaces between columns on a terminal."""
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
            # As Text: of a plain string rich would take [brackets] for its markup and :names: for pictures.
            table.add_row(*(Text(visible(cell, kept="")) for cell in row.cells), style=row.weight or None)
        return table

    def _is_words(self, place: int) -> bool:
        return place in self.words or place - len(self.names) in self.words

    def html(self) -> str:
        """Returns the table in a box that scrolls where it is too wide."""
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
    """Yields what rich can draw, with an empty line between two of them and none below a heading."""
    is_below = True
    for piece in pieces:
        if not is_below:
            yield Text()
        yield piece
        is_below = isinstance(piece, Prose) and piece.is_heading


def page(heading: str, pieces: Iterable[Section]) -> str:
    """Returns pieces as one self-contained page."""
    shown = list(pieces)
    rules = dict.fromkeys(piece.style for piece in shown if piece.style)
    return frame(heading, "\n".join(piece.html() for piece in shown), "\n".join(rules))
