"""Shows the learning curves of runs: of several in one chart, or of runs as they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from charrnn.checkpoints.curves import Point
from charrnn.checkpoints.runs import Standing
from charrnn.display.chart_svg import as_svg
from charrnn.display.curve import Chart, Line
from charrnn.display.runs import shortened
from charrnn.display.safe import visible
from charrnn.display.table import Columns, Row

# Colours that people with any common kind of colour vision can tell apart (Okabe & Ito 2008), each of them dark enough
# for a white background and bright enough for a black one.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ((), (5, 3), (2, 2), (9, 2, 2, 2))
_HEADINGS = ("run", "best bpc", "after chars", "state")
_BEFORE = 6
"""The cells of a row before the run's name: the sample of its curve, and a gap."""
_SHORTEST = 12
"""A name is shortened to so many cells before a column is left out, and further only where no other column is left."""


def names_of(runs: Sequence[Standing]) -> list[str]:
    """Returns a name for each run: that of its folder, or its path where several folders have the same name."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.folder) for name, run in zip(names, runs, strict=True)]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The validation curves of several runs over the characters trained on, and a table of what belongs to which.

    A run that validates nothing is shown by its training loss.
    """

    runs: Sequence[Standing]
    height: int = 12
    """Lines of the chart on a terminal, without its axis."""
    style = Columns.style + "\nsvg { width: 100%; height: auto; }"

    @property
    def lines(self) -> list[Line]:
        """The curves, each with a colour and dashes of its own."""
        return [
            Line(
                visible(name, kept=""),
                _COLOURS[number % len(_COLOURS)],
                [(point.characters, point.bpc) for point in _shown(run)],
                _DASHES[number % len(_DASHES)],
            )
            for number, (name, run) in enumerate(zip(names_of(self.runs), self.runs, strict=True))
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._chart(is_named=False)
        yield Text()
        rows = self._rows()
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        # The numbers stay; where there is no room, the state goes first, and then the characters.
        while len(widths) > 2 and _width(min(widths[0], _SHORTEST), widths[1:]) > options.max_width:
            del widths[-1]
        widths[0] = max(4, min(widths[0], options.max_width - _width(0, widths[1:])))
        for sample, row in zip([Text(" " * 4), *(line.sample for line in self.lines)], rows, strict=True):
            cells = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=False)]
            text = "  ".join(["", _fitting(row[0], widths[0]), *cells])
            yield sample + Text(text, "bold" if row is rows[0] else "", no_wrap=True, overflow="ignore")

    def html(self) -> str:
        """Returns the chart as an SVG element, and the table."""
        headings, *rows = self._rows()
        return as_svg(self._chart(is_named=True)) + "\n" + Columns(headings, [Row(row) for row in rows], (0,)).html()

    def _chart(self, *, is_named: bool) -> Chart:
        return Chart(self.lines, x_label="characters", y_label="bpc", height=self.height, is_named=is_named)

    def _rows(self) -> list[list[str]]:
        """Returns the headings and a row for each run."""
        rows = [list(_HEADINGS)]
        for name, run in zip(names_of(self.runs), self.runs, strict=True):
            best = run.curves.best
            rows.append(
                [
                    visible(name, kept="") + ("" if run.curves.validation else " (training)"),
                    "-" if best is None else f"{best.bpc:.4f}",
                    "-" if best is None else shortened(best.characters),
                    run.state,
                ]
            )
        return rows


@dataclass(frozen=True, slots=True)
class Followed:
    """Runs as they train: both curves of one run, or the validation curves of several; at most `height` lines."""

    runs: Sequence[Standing]
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if len(self.runs) > 1:
            yield Overlay(self.runs, max(4, min(16, self.height - len(self.runs) - 7)))
        else:
            yield self._single(self.runs[0])
        if any(run.state == "running" for run in self.runs):
            yield Text("drawn anew during training; q ends", "dim")

    def _single(self, run: Standing) -> RenderableType:
        curves, best = run.curves, run.curves.best
        lines = [("train", "blue", curves.train), ("validation", "yellow", curves.validation)]
        chart = Chart(
            [Line(name, colour, [(point.step, point.bpc) for point in points]) for name, colour, points in lines],
            x_label="steps",
            y_label="bpc",
            height=max(4, min(16, self.height - 7)),
        )
        minutes, characters = (run.seconds or 0) / 60, shortened(run.characters or 0)
        reached = f"{run.state}, step {run.step or 0:,}, {characters} characters, {minutes:.1f} min"
        told = "nothing validated yet" if best is None else f"best {best.bpc:.4f} bpc at step {best.step:,}"
        return Group(chart, Text(f"{visible(run.name, kept='')}: {reached}; {told}", overflow="fold"))


def validation_line(name: str, point: Point) -> str:
    """Returns one validation in words; `name` is that of its run, or empty where there is only one."""
    named = f"{name}: " if name else ""
    return f"{named}step {point.step:,}, {point.characters:,.0f} characters, validation {point.bpc:.4f} bpc"


def _shown(run: Standing) -> Sequence[Point]:
    return run.curves.validation or run.curves.train


def _width(name: int, others: Sequence[int]) -> int:
    """Returns the width of a row with a name of so many cells before the other columns."""
    return _BEFORE + name + sum(2 + each for each in others)


def _fitting(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "\u2026"
