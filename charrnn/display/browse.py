"""One screen of the atlas: the labels above, a passage coloured by the chosen unit below, and the keys at the foot.

The screen is as large as the terminal: the list shows the rows around the chosen one, the passage what fits below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from charrnn.display.find import ESSENTIAL
from charrnn.display.heat import Picture
from charrnn.display.safe import visible
from charrnn.display.table import bare_table

KEYS = (
    "q end   \u2191\u2193 label   \u2190\u2192 unit   space next passage   b back   n where the label changes",
    "q end   \u2191\u2193 label   \u2190\u2192 unit   space/b passage   n next change",
    "q end  \u2191\u2193 label  \u2190\u2192 unit  space/b/n text",
    "q end",
)
"""The keys and what they do, from the longest form to the shortest; the widest that fits is shown."""
_PAGE = (
    ("\u2191 \u2193, k j", "a label up or down"),
    ("\u2190 \u2192, h l", "another unit for it"),
    ("space, Page Down", "the next passage"),
    ("b, Page Up", "the passage before"),
    ("n", "where the label changes"),
    ("q, Esc, Ctrl-D", "end"),
)
"""All keys, as the page shows them that ? leads to. It fits into 40 columns and 8 rows."""
_BACK = "? or q goes back"
_LEAST, _LOW = 4, 12
"""The smallest number of rows of the list, and the number of a screen's rows below which it may be one or two fewer."""
_WIDE = 78
"""The terminal's width from which on all columns of the list are shown, not only the essential ones."""
_NARROW = 50
"""The width below which a list that does not fit has no verdict, so that labels that begin alike can be told apart."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of the screen, as a renderable that fills it."""

    heading: str
    names: Sequence[str]
    """The names of the list's columns."""
    rows: Sequence[Sequence[str]]
    found: Sequence[bool]
    """Which rows of the list are emphasised, since a unit was found."""
    chosen: int
    """The place of the chosen row."""
    about: str
    """A line about the chosen unit."""
    passage: Picture
    shows_keys: bool = False
    """Whether a page of all keys covers the rest."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        plain = options.update(height=None)
        content = self._page(width) if self.shows_keys else self._content(width, height)
        lines = [line for piece in content for line in console.render_lines(piece, plain, pad=False)]
        lines = lines[: height - 1] + [[]] * max(0, height - 1 - len(lines))
        foot = _BACK if self.shows_keys else keys_for(width)
        lines += console.render_lines(_line(foot, "dim", width), plain, pad=False)[:1]
        for number, line in enumerate(lines):
            yield from Segment.adjust_line_length(line, width)  # padded, to cover what stood there before
            if number < len(lines) - 1:
                yield Segment.line()

    def _page(self, width: int) -> Iterator[RenderableType]:
        """Yields the page of keys."""
        yield _line("keys", "bold", width)
        keys = [key if width >= 40 else key.split(",")[0] for key, _ in _PAGE]
        room = max(map(cell_len, keys)) + 1
        for key, (_, meaning) in zip(keys, _PAGE, strict=True):
            yield _line(set_cell_size(key, room) + meaning, "", width)

    def _content(self, width: int, height: int) -> Iterator[RenderableType]:
        """Yields the list of labels around the chosen one, and the passage."""
        shown = list_height(height, len(self.rows))
        first = min(max(0, self.chosen - shown // 2), len(self.rows) - shown)
        yield _line(self.heading, "bold", width)
        yield _table(self, first, shown, width)
        if height >= _LOW:
            yield Text("")
        yield _line(self.about, "bold", width)
        yield self.passage


def keys_for(width: int) -> str:
    """Returns the line of keys for a screen of `width` columns; the key that ends is on every screen."""
    return next((form for form in KEYS if cell_len(form) <= width), KEYS[-1])


def room_for_passage(width: int, height: int, rows: int, *, has_colour: bool) -> int:
    """Returns how many lines of text fit below the list."""
    left = height - list_height(height, rows) - 6  # heading, column names, empty line, unit, legend, keys
    if width < 60:
        left -= 1  # the legend needs two lines
    if height < _LOW:
        left += 1  # there is no empty line
    return max(1, left if has_colour else left // 2)


def list_height(height: int, rows: int) -> int:
    """Returns how many rows of the list are shown."""
    least = _LEAST if height >= _LOW else max(1, min(_LEAST, height - 7))
    return min(rows, max(least, (height - 6) // 3))


def _line(text: str, style: str, width: int) -> Text:
    return Text(_shortened(visible(text, kept=""), width), style, no_wrap=True)


def _shortened(text: str, width: int) -> str:
    """Returns a text that fits into `width`: where it is too long, its first words and an ellipsis.

    Where fewer than two words would be left, as many characters as fit are kept, so that texts stay apart.
    """
    if cell_len(text) <= width:
        return text
    words = text.split(" ")
    fitting = next((n for n in range(len(words) - 1, 1, -1) if cell_len(" ".join(words[:n])) <= width - 2), 0)
    return " ".join(words[:fitting]) + " \u2026" if fitting else set_cell_size(text, width - 1).rstrip() + "\u2026"


def _table(scene: Scene, first: int, shown: int, width: int) -> Table:
    table = bare_table(width=width)
    shown_columns = tuple(range(len(scene.names))) if width >= _WIDE else ESSENTIAL
    cells_of = {place: (scene.names[place], *(row[place] for row in scene.rows)) for place in shown_columns}
    rooms = [max(map(cell_len, cells)) for cells in cells_of.values()]
    if sum(rooms) + len(rooms) - 1 > width and width < _NARROW:  # emphasis tells what the verdict does
        shown_columns, rooms = shown_columns[:-1], rooms[:-1]
    rooms[0] = max(1, width - sum(rooms[1:]) - len(rooms) + 1)  # labels alone are ever shortened
    for place, room in zip(shown_columns, rooms, strict=True):
        is_words = place in (0, -1, len(scene.names) - 1)
        table.add_column(scene.names[place], justify="left" if is_words else "right", no_wrap=True, width=room)
    for number in range(first, first + shown):
        style = "reverse" if number == scene.chosen else "bold" if scene.found[number] else "dim"
        row = scene.rows[number]
        shown_cells = (visible(row[place], kept="") for place in shown_columns)
        cells = [Text(_shortened(cell, room)) for cell, room in zip(shown_cells, rooms, strict=True)]  # no markup
        table.add_row(*cells, style=style)
    return table
