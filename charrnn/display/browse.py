"""One screen of the atlas: the labels above, a passage coloured by the chosen unit below, and the keys at the foot.

The screen is as large as the terminal: the list shows the rows around the chosen one, the passage what fits below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from charrnn.display.heat import Picture
from charrnn.display.safe import visible

KEYS = "up/down label   left/right unit   space/b passage   n where the label changes   q end"
_LEAST = 4
"""The smallest number of rows of the list."""
_WIDE, _FEW = 78, (0, 1, 2, -1)
"""The terminal's width from which on all columns of the list are shown, and those shown on narrower ones: the label,
the unit, the effect, the verdict."""


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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        shown = list_height(height, len(self.rows))
        first = min(max(0, self.chosen - shown // 2), len(self.rows) - shown)
        plain = options.update(height=None)
        lines = console.render_lines(_line(self.heading, "bold", width), plain, pad=False)
        lines += console.render_lines(_table(self, first, shown, width), plain, pad=False)[: shown + 1]
        lines += [[], *console.render_lines(_line(self.about, "bold", width), plain, pad=False)]
        lines += console.render_lines(self.passage, plain, pad=False)
        lines = lines[: height - 1] + [[]] * max(0, height - 1 - len(lines))
        lines += console.render_lines(_line(KEYS, "dim", width), plain, pad=False)[:1]
        for number, line in enumerate(lines):
            yield from Segment.adjust_line_length(line, width)  # padded, to cover what stood there before
            if number < len(lines) - 1:
                yield Segment.line()


def room_for_passage(width: int, height: int, rows: int, *, has_colour: bool) -> int:
    """Returns how many lines of text fit below the list."""
    left = height - list_height(height, rows) - 6  # heading, column names, empty line, unit, legend, keys
    if width < 60:
        left -= 1  # the legend needs two lines
    return max(1, left if has_colour else left // 2)


def list_height(height: int, rows: int) -> int:
    """Returns how many rows of the list are shown."""
    return min(rows, max(_LEAST, (height - 6) // 3))


def _line(text: str, style: str, width: int) -> Text:
    line = Text(visible(text, kept=""), style, no_wrap=True, overflow="ellipsis")
    line.truncate(width)
    return line


def _table(scene: Scene, first: int, shown: int, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", width=width)
    shown_columns = range(len(scene.names)) if width >= _WIDE else _FEW
    for place in shown_columns:
        name = scene.names[place]
        is_words = place in (0, -1, len(scene.names) - 1)
        table.add_column(name, justify="left" if is_words else "right", no_wrap=True, overflow="ellipsis")
    for number in range(first, first + shown):
        style = "reverse" if number == scene.chosen else "bold" if scene.found[number] else "dim"
        row = scene.rows[number]
        table.add_row(*(Text(visible(row[place], kept="")) for place in shown_columns), style=style)  # no markup
    return table
