"""Shows the runs that lie in a folder as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from charrnn.checkpoints.runs import Standing
from charrnn.display.safe import visible

_SHORT = {"characters": "chars", "minutes": "min", "best bpc": "bpc"}
_WORDS = ("name", "corpus", "model", "state")
"""The columns that are aligned to the left."""
_DROPPED = ("corpus", "minutes", "characters", "model", "size", "age", "best bpc")
_SHORTEST_CORPUS = 8
_WIDEST = 10_000
_ASIDE = ("name", "best bpc", "age", "size")


def shortened(number: float) -> str:
    """Returns a number of characters with three digits, such as "6.97M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{max(0, 2 - int(math.log10(max(scaled, 1.0) * 1.0005)))}f}{unit}"
    return f"{number:.0f}"


def size_of(num_bytes: float) -> str:
    """Returns a size on disk, such as "4.95 MB"."""
    text = shortened(num_bytes)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


def age_of(seconds: float) -> str:
    """Returns a time span in its largest unit, such as "4 min"."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def _cells(run: Standing, now: float) -> dict[str, str]:
    """Returns what the table says of a run, by column."""
    model, members = run.model, f"{run.members} x " if run.members > 1 else ""
    return {
        "name": visible(run.name, kept=""),
        "corpus": visible(run.corpus or "-", kept=""),
        "model": f"{members}{model['cell']} {model['num_layers']}x{model['hidden_size']}" if model else "-",
        "characters": "-" if run.characters is None else shortened(run.characters),
        "minutes": "-" if run.seconds is None else f"{run.seconds / 60:.1f}",
        "best bpc": "-" if run.best_nats is None else f"{run.best_nats / math.log(2):.4f}",
        "age": age_of(now - run.changed),
        "state": run.state,
        "size": size_of(run.bytes),
    }


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, as wide as the terminal allows: columns are shortened and left out, but never a number."""

    rows: Sequence[dict[str, str]]
    dropped: Sequence[str] = _DROPPED
    """The columns that are left out where the terminal is too narrow, the first of them first."""
    is_whole: bool = False
    """Whether nothing is shortened or left out, since the lines do not go to a terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._fitted(_WIDEST if self.is_whole else options.max_width)

    def _fitted(self, most: int) -> Iterator[Text]:
        """Yields the lines, none wider than `most` cells unless names alone are."""
        shown = {name: name for name in self.rows[0]}
        widths = self._widths(shown)
        gap = 2
        for gap, headings in ((2, {}), (2, _SHORT), (1, _SHORT)):
            shown = {name: headings.get(name, name) for name in shown}
            widths = self._widths(shown)
            if self._width(widths, gap) <= most:
                break
        for name in ("", *self.dropped):
            if name in shown:
                del shown[name], widths[name]
            over = self._width(widths, gap) - most
            if over > 0 and widths.get("corpus", 0) - over >= _SHORTEST_CORPUS:
                widths["corpus"] -= over
                over = 0
            if over <= 0:
                break
        yield self._line(shown, widths, gap, "bold")
        for row in self.rows:
            yield self._line({name: row[name] for name in shown}, widths, gap, "")

    def _widths(self, shown: dict[str, str]) -> dict[str, int]:
        return {name: max(map(cell_len, (shown[name], *(row[name] for row in self.rows)))) for name in shown}

    def _width(self, widths: dict[str, int], gap: int) -> int:
        return sum(widths.values()) + gap * (len(widths) - 1)

    def _line(self, cells: dict[str, str], widths: dict[str, int], gap: int, style: str) -> Text:
        parts = []
        for name, text in cells.items():
            width = widths[name]
            if name not in _WORDS:
                text = text.rjust(width)
            elif cell_len(text) > width:
                text = set_cell_size(text, width - 1) + "\u2026"
            parts.append(set_cell_size(text, width))
        return Text((" " * gap).join(parts).rstrip(), style, no_wrap=True, overflow="ignore")


def table_of(runs: Sequence[Standing], now: float, *, is_whole: bool = False) -> Iterator[object]:
    """Yields the table of the runs, then that of those set aside, then what is damaged.

    The order is that of `runs`; `now` is in seconds since 1970. See `Table` for `is_whole`.
    """
    current, aside = ([run for run in runs if run.is_aside is is_aside] for is_aside in (False, True))
    if current:
        yield Table([_cells(run, now) for run in current], is_whole=is_whole)
    if aside:
        total = size_of(sum(run.bytes for run in aside))
        cells = [_cells(run, now) for run in aside]
        yield Group(
            Text(f"Set aside by --fresh, {total} in all; charrnn deletes none of it, rm -r does:", "dim"),
            Table([{name: row[name] for name in _ASIDE} for row in cells], ("age", "best bpc"), is_whole),
        )
    problems = [Text(visible(run.problem, kept=""), "dim") for run in runs if run.problem is not None]
    if problems:
        yield Text("\n").join(problems)
