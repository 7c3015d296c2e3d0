"""Text coloured by a value at each character, on a terminal and on a page.

Every character stands on a background from blue (low) over white to orange (high), or in the colours of another
palette. On a terminal without colour (`NO_COLOR`, a pipe) each line of text has a line of bars below it instead. A
legend with the range always comes first; the range is fixed by what the unit can take on, never rescaled silently to
the text. Line ends are shown as a symbol that carries their colour.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from charrnn.display.background import has_colour, style_on
from charrnn.display.css import css_on
from charrnn.display.palette import SAFE, Palette, glyph, mixed
from charrnn.display.safe import symbol, visible
from charrnn.display.webpage import escape, legend


@dataclass(frozen=True, slots=True)
class Picture:
    """A text with `values`, one for each character, from `low` to `high`; `marked` characters are underlined."""

    title: str
    text: str
    values: Sequence[float]
    low: float
    high: float
    marked: Sequence[bool] = ()
    """Whether each character is underlined; an empty sequence means that none is."""
    palette: Palette = SAFE
    style = ""

    def __post_init__(self) -> None:
        assert len(self.text) == len(self.values), "one value for each character"
        assert len(self.marked) in (0, len(self.text)), "a mark or none for each character"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_coloured = has_colour(console)
        yield from self._legend(console, options.max_width)
        place = 0
        for line in self._lines(options.max_width):
            marked = self.marked[place : place + len(line)] or [False] * len(line)
            text = Text(end="\n", no_wrap=True, overflow="ignore")
            for (shown, share), is_marked in zip(line, marked, strict=True):
                text.append(shown, style_on(console, self.palette.text, share, underline=is_marked or None))
            yield text
            if not is_coloured:
                bars = "".join(glyph(share) * cell_len(shown) for shown, share in line)
                yield Text(bars, no_wrap=True, overflow="ignore")
            place += len(line)

    def fitting(self, width: int, lines: int) -> int:
        """Returns how many characters stand in the first `lines` lines of text at this width."""
        return sum(len(line) for line in itertools.islice(self._lines(width), lines))

    def beginning(self, characters: int) -> Picture:
        """Returns the picture of the text's first characters."""
        return replace(
            self, text=self.text[:characters], values=self.values[:characters], marked=self.marked[:characters]
        )

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def _legend(self, console: Console, width: int) -> Iterator[Text]:
        ramp = Text(f"{self.low:+g} ", no_wrap=True)
        for share in (place / 16 for place in range(17)):
            ramp.append(" " if has_colour(console) else glyph(share), style_on(console, self.palette.text, share))
        ramp.append(f" {self.high:+g}")
        title = Text(visible(self.title))
        if title.cell_len + 3 + ramp.cell_len <= width:
            yield Text.assemble(title, "   ", ramp, no_wrap=True)
        else:
            yield title
            yield ramp

    def _lines(self, width: int) -> Iterator[list[tuple[str, float]]]:
        """Yields lines of pairs (symbol, value as a share of the range), broken after line ends and at `width`."""
        line: list[tuple[str, float]] = []
        so_far, used = "", 0
        for character, value in zip(self.text, self.values, strict=True):
            shown = symbol(character)
            used += cell_len(shown)
            # A terminal may join characters to something wider or narrower than they are one by one, or may
            # not join them: the line must fit either way.
            if line and max(used, cell_len(so_far + shown)) > width:
                yield line
                line, so_far, used = [], "", cell_len(shown)
            line.append((shown, self._share(value)))
            so_far += shown
            if character == "\n":
                yield line
                line, so_far, used = [], "", 0
        if line:
            yield line

    def html(self) -> str:
        """Returns the text with its title and its legend; values stand in `title` attributes."""
        cells, ramp = [], self.palette.text
        for character, value, is_marked in zip(
            self.text, self.values, self.marked or [False] * len(self.text), strict=True
        ):
            shown = symbol(character) + (character if character in "\n\t" else "")
            cells.append(
                f'<span{" class=m" if is_marked else ""} style="{css_on(mixed(ramp, self._share(value)))}" '
                f'title="{value:+.3f}">{html.escape(shown)}</span>'
            )
        range_ = legend(f"{self.low:+g}", f"{self.high:+g}", tuple(mixed(ramp, place / 8) for place in range(9)))
        return f"<h2>{escape(self.title)}</h2>\n{range_}<pre>{''.join(cells)}</pre>"
