"""A line chart on a terminal, drawn with braille dots, 2 x 4 of them in each character cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column, of one cell
_BLANK = 0x2800


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name, the name of its colour, and its points in order of x."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashes: tuple[int, ...] = ()
    """How many dots are drawn, left out, drawn and so on, over and over; an empty tuple draws all of them."""

    def draws(self, place: int) -> bool:
        """Returns whether the dot at a place along the curve is drawn."""
        left = place % sum(self.dashes) if self.dashes else -1
        for number, length in enumerate(self.dashes):
            if left < length:
                return number % 2 == 0
            left -= length
        return True

    @property
    def sample(self) -> Text:
        """The beginning of a level curve as it is drawn, four cells long."""
        row = _DOTS[2]
        bits = [sum(row[column] for column in (0, 1) if self.draws(2 * cell + column)) for cell in range(4)]
        return Text("".join(chr(_BLANK + each) for each in bits), self.colour)


def axis_label(value: float) -> str:
    """Returns a number as an axis label of eight characters."""
    label = f"{round(value, 3) + 0.0:8.3f}"  # + 0.0 turns -0.000 into 0.000
    return label if len(label) == 8 else f"{value:8.1e}"


class Chart:
    """A renderable chart: curves that share a pair of axes; x and y may be logarithmic (and must then be positive)."""

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        x_label: str,
        y_label: str,
        height: int = 12,
        log_x: bool = False,
        log_y: bool = False,
        is_named: bool = True,
    ) -> None:
        self.lines = [line for line in lines if line.points]
        self.x_label = x_label
        self.y_label = y_label
        self.height = height
        self.log_x = log_x
        self.log_y = log_y
        self.is_named = is_named
        """Whether the names of the curves stand above them on a terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.lines:
            return
        xs = [x for line in self.lines for x, _ in line.points]
        ys = [y for line in self.lines for _, y in line.points]
        x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys), max(ys)
        width = max(10, min(options.max_width, 100) - 9)
        cells: list[list[tuple[int, str]]] = [[(0, "")] * width for _ in range(self.height)]
        for line in self.lines:
            for column, row in self._dots(line, width, (x_low, x_high), (y_low, y_high)):
                bits, _ = cells[row // 4][column // 2]
                cells[row // 4][column // 2] = (bits | _DOTS[row % 4][column % 2], line.colour)
        yield Text(f"{self.y_label:>8} ") + (self._names() if self.is_named else Text())
        for number, row_of_cells in enumerate(cells):
            at_edge = {0: axis_label(y_high), self.height - 1: axis_label(y_low)}.get(number, " " * 8)
            text = Text(at_edge + "\u2502", no_wrap=True)
            for bits, colour in row_of_cells:
                text.append(chr(_BLANK + bits), colour or None)
            yield text
        yield Text(" " * 8 + "\u2514" + "\u2500" * width, no_wrap=True)
        yield Text(" " * 9 + self._below(width, x_low, x_high), no_wrap=True)

    def _below(self, width: int, x_low: float, x_high: float) -> str:
        """Returns the labels below the x axis: its ends and, where it is logarithmic, the powers of ten that fit."""
        left, right = f"{x_low:,.0f}", f"{x_high:,.0f} {self.x_label}"
        room = max(1, width - len(left) - len(right))
        if not self.log_x or x_low == x_high:
            return left + " " * room + right
        below = left
        for exponent in range(math.floor(math.log10(x_low)) + 1, math.ceil(math.log10(x_high))):
            share = (exponent - math.log10(x_low)) / (math.log10(x_high) - math.log10(x_low))
            label, column = f"{10**exponent:,}", round(share * (width - 1))
            if len(below) < column and column + len(label) < len(left) + room:
                below += " " * (column - len(below)) + label
        return below + " " * max(1, len(left) + room - len(below)) + right

    def _names(self) -> Text:
        text = Text()
        for line in self.lines:
            text.append(f"\u2500 {line.name}  ", line.colour)
        return text

    def _dots(self, line: Line, width: int, xs: tuple[float, float], ys: tuple[float, float]) -> list[tuple[int, int]]:
        """Returns the dots of the curve, with the gaps between its points filled by straight lines, without those that
        its dashes leave out."""
        columns, rows = 2 * width - 1, 4 * self.height - 1
        scale, scale_y = (math.log if is_log else float for is_log in (self.log_x, self.log_y))
        left, right, bottom, top = scale(xs[0]), scale(xs[1]), scale_y(ys[0]), scale_y(ys[1])

        def place(x: float, y: float) -> tuple[float, float]:
            across = (scale(x) - left) / (right - left) if right > left else 0.5
            down = (top - scale_y(y)) / (top - bottom) if top > bottom else 0.5
            return across * columns, down * rows

        placed = [place(x, y) for x, y in line.points]
        # A dict keeps the dots in their order along the curve, each once.
        dots = dict.fromkeys((round(column), round(row)) for column, row in placed[:1])
        for (x0, y0), (x1, y1) in zip(placed, placed[1:], strict=False):
            steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))  # at most one dot each
            for step in range(steps + 1):
                share = step / steps
                dots[round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)] = None
        return [dot for place, dot in enumerate(dots) if line.draws(place)]
