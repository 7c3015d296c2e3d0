"""Text coloured by a value at each character, on a terminal.

Every character stands on a background from blue (low) over white to orange (high), or in the colours of another
palette. Without colour (`NO_COLOR`, a pipe) each line of text has a line of bars below it instead. A legend with the
range always comes first; the range is fixed by what the unit can take on, never rescaled silently to the text. Line
ends are shown as a symbol that carries their colour. Knows text and values. Refuses to know units and networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from charrnn.display.palette import SAFE, Palette, Ramp, glyph, is_dark, mixed
from charrnn.display.safe import visible_character

_LINE_END = "\u21b5"
_TAB = "\u2192"
_MARK = Style(underline=True)


class HeatText:
    """A renderable: `text` with `values` (one a character) within `low` to `high`; what is `marked` is underlined."""

    def __init__(
        self,
        title: str,
        text: str,
        values: Sequence[float],
        low: float,
        high: float,
        palette: Palette = SAFE,
        marked: Sequence[bool] = (),
    ) -> None:
        assert len(text) == len(values), "one value for each character"
        assert len(marked) in (0, len(text)), "a mark or none for each character"
        self.marked = marked
        self.title = title
        self.text = text
        self.values = values
        self.low = low
        self.high = high
        self.ramp = palette.text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_colour = console.color_system is not None and not console.no_color
        yield from self._legend(has_colour, options.max_width)
        place = 0
        for line in self._lines(options.max_width):
            marked = self.marked[place : place + len(line)] or [False] * len(line)
            yield from self._coloured(line, marked) if has_colour else self._with_bars(line, marked)
            place += len(line)

    def fitting(self, width: int, lines: int) -> int:
        """How many characters stand in the first `lines` lines of text at this width."""
        return sum(len(line) for line in itertools.islice(self._lines(width), lines))

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def _legend(self, has_colour: bool, width: int) -> Iterator[Text]:
        ramp = Text(f"{self.low:+g} ", no_wrap=True)
        for share in (place / 16 for place in range(17)):
            ramp.append(" " if has_colour else glyph(share), _style(self.ramp, share) if has_colour else None)
        ramp.append(f" {self.high:+g}")
        title = Text(self.title)
        if title.cell_len + 3 + ramp.cell_len <= width:
            yield Text.assemble(title, "   ", ramp, no_wrap=True)
        else:
            yield title
            yield ramp

    def _lines(self, width: int) -> Iterator[list[tuple[str, float]]]:
        """Lines of (shown, value), broken after line ends and where the terminal's width is used up."""
        line: list[tuple[str, float]] = []
        so_far, used = "", 0
        for character, value in zip(self.text, self.values, strict=True):
            shown = {"\n": _LINE_END, "\t": _TAB}.get(character) or visible_character(character)
            used += cell_len(shown)
            # Characters may join to something wider or narrower than they are one by one, or not: that is the
            # terminal's choice, and the line must fit either way.
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

    def _coloured(self, line: list[tuple[str, float]], marked: Sequence[bool]) -> Iterator[Text]:
        text = Text(end="\n", no_wrap=True, overflow="ignore")
        for (shown, share), is_marked in zip(line, marked, strict=True):
            text.append(shown, _style(self.ramp, share) + (_MARK if is_marked else Style()))
        yield text

    def _with_bars(self, line: list[tuple[str, float]], marked: Sequence[bool]) -> Iterator[Text]:
        text = Text(no_wrap=True, overflow="ignore")
        for (shown, _), is_marked in zip(line, marked, strict=True):
            text.append(shown, _MARK if is_marked else None)
        yield text
        yield Text("".join(glyph(share) * cell_len(shown) for shown, share in line), no_wrap=True, overflow="ignore")


def _style(ramp: Ramp, share: float) -> Style:
    colour = mixed(ramp, share)
    foreground = (255, 255, 255) if is_dark(colour) else (0, 0, 0)
    return Style(color=Color.from_rgb(*foreground), bgcolor=Color.from_rgb(*colour))
