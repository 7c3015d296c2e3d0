"""Tables, in one style on every terminal and every page: bold headings, numbers to the right, no borders.

A table that is too wide for its terminal or window is not cut: it keeps its essential columns where they are named, and
else each row becomes a small paragraph, its first cell above and the others below it, each after its column's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from charrnn.display.safe import visible
from charrnn.display.webpage import escape

_GAPS = (2, 1)  # columns of the terminal between those of the table, where there is room for them
_BETWEEN_PAIRS = "   "


def bare_table(gap: int = 1, width: int | None = None) -> Table:
    """Returns an empty table in the style of all, to which columns and rows can be added."""
    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", width=width)


@dataclass(frozen=True, slots=True)
class Row:
    """A table's row; `weight` says how much it stands out."""

    cells: Sequence[str]
    weight: Literal["bold", "", "dim"] = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names, each with a text to its right, which is folded where the terminal is too narrow for it."""

    rows: Mapping[str, str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self.rows.items():
            table.add_row(name, Text(visible(value, kept="")))
        yield table

    def whole(self) -> str:
        """Returns the pairs for what is no terminal, each on one line."""
        width = max(map(cell_len, self.rows), default=0)
        lines = [
            f"{name}{' ' * (width - cell_len(name))}  {visible(value, kept='')}" for name, value in self.rows.items()
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Columns:
    """A table. The first column holds words and may wrap between them; no other cell is ever broken."""

    names: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = (0, -1)
    """The places of the columns that hold words and are aligned to the left."""
    essential: Sequence[int] = ()
    """The places of the columns that a narrow terminal shows if it has no room for all; without them rows become
    paragraphs there."""
    style = """
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .15rem 1.2rem .15rem 0; text-align: right; vertical-align: top; white-space: nowrap; }
th.w, td.w { text-align: left; }
td:first-child { white-space: normal; min-width: 9rem; }
tr.bold td { font-weight: 600; }
tr.dim td { opacity: .7; }
@media (max-width: 36rem) {
  table, tbody, tr { display: block; }
  tr.head, td:empty { display: none; }
  tr { margin: 0 0 .6rem; }
  td, td.w { display: inline-block; padding: 0 1.2rem 0 0; text-align: left; }
  td:first-child { display: block; overflow-wrap: anywhere; }
  td + td::before { content: attr(data-name) " "; }
}
""".strip()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        everything = range(len(self.names))
        kept = [place % len(self.names) for place in self.essential]
        for places in (everything, kept):
            for gap in _GAPS:
                widths = self._widths(places, room - gap * (len(places) - 1), must_fit=gap == _GAPS[-1])
                if places and widths:
                    yield self._table(places, widths, gap)
                    if len(places) < len(self.names):
                        yield Text(f"\nA wider terminal also shows {self._others(places)}.", "dim")
                    return
        yield from self._paragraphs(room)

    def whole(self) -> str:
        """Returns the table for what is no terminal: every column, no line broken, and no space at a line's end."""
        columns = [[visible(name), *self._cells(place)] for place, name in enumerate(self.names)]
        widths = [max(map(cell_len, column)) for column in columns]
        lines = []
        for cells in zip(*columns, strict=True):
            padded = (
                cell + room if self._is_words(place) else room + cell
                for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
                for room in [" " * (width - cell_len(cell))]
            )
            lines.append((" " * _GAPS[0]).join(padded).rstrip())
        return "\n".join(lines)

    def _cells(self, place: int) -> list[str]:
        return [visible(row.cells[place], kept="") for row in self.rows]

    def _widths(self, places: Sequence[int], room: int, *, must_fit: bool) -> list[int]:
        """Returns the width of each column, or nothing where they do not fit into `room` together.

        Where they fit only with wrapped labels or headings, these wrap if `must_fit` is true.
        """
        least, natural = [], []
        for place in places:
            cells, name = self._cells(place), visible(self.names[place])
            unbroken = cells if place else [word for cell in cells for word in cell.split()]
            least.append(max(map(cell_len, [*unbroken, *name.split()]), default=0))
            natural.append(max(map(cell_len, [*cells, name]), default=0))
        if sum(natural) <= room:
            return natural
        if not must_fit or sum(least) > room:
            return []
        left = room - sum(least)
        for number, wanted in reversed(list(enumerate(natural))):  # labels wrap before headings do
            more = min(left, wanted - least[number])
            least[number] += more
            left -= more
        return least

    def _table(self, places: Sequence[int], widths: Sequence[int], gap: int) -> Table:
        table = bare_table(gap)
        for place, width in zip(places, widths, strict=True):
            justify: Literal["left", "right"] = "left" if self._is_words(place) else "right"
            table.add_column(Text(visible(self.names[place])), justify=justify, overflow="fold", width=width)
        for row in self.rows:
            # As Text, because rich would read [brackets] in a plain string as markup and :names: as emoji.
            cells = (Text(visible(row.cells[place], kept="")) for place in places)
            table.add_row(*cells, style=row.weight or None)
        return table

    def _others(self, places: Sequence[int]) -> str:
        *most, last = (name for place, name in enumerate(self.names) if place not in places)
        return f"{', '.join(most)} and {last}" if most else last

    def _paragraphs(self, room: int) -> Iterator[Text | Padding]:
        for row in self.rows:
            first, *rest = (visible(cell, kept="") for cell in row.cells)
            yield Text(first, row.weight)
            lines: list[str] = []
            for name, cell in zip(self.names[1:], rest, strict=True):
                pair = f"{visible(name)} {cell}"
                if not cell:
                    continue
                if lines and cell_len(lines[-1] + _BETWEEN_PAIRS + pair) <= room - 2:
                    lines[-1] += _BETWEEN_PAIRS + pair
                else:
                    lines.append(pair)
            yield Padding(Text("\n".join(lines), row.weight), (0, 0, 0, 2), expand=False)

    def _is_words(self, place: int) -> bool:
        return place in self.words or place - len(self.names) in self.words

    def html(self) -> str:
        """Returns the table as HTML; in a narrow window the style sheet makes paragraphs of its rows."""
        look = [' class="w"' if self._is_words(place) else "" for place in range(len(self.names))]
        head = "".join(f"<th{css}>{escape(name)}</th>" for name, css in zip(self.names, look, strict=True))
        named = [f'{css} data-name="{escape(name)}"' for name, css in zip(self.names, look, strict=True)]
        body = "\n".join(
            f"<tr{f' class={row.weight}' if row.weight else ''}>"
            + "".join(f"<td{attributes}>{escape(cell)}</td>" for cell, attributes in zip(row.cells, named, strict=True))
            + "</tr>"
            for row in self.rows
        )
        return f'<div class="table"><table>\n<tr class="head">{head}</tr>\n{body}\n</table></div>'
