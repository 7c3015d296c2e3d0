"""Figures as they are found: each is shown and kept at once, and what is left out is named with the reason."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.steps import free
from tests.benchmarks.training import Row, table

WIDEST = 110  # characters of a text in a table
LEFT_OUT = "left out"


class Skipped(Exception):
    """There is nothing to measure."""


class Piece(NamedTuple):
    """What is measured, or left out, as a whole."""

    part: str
    what: str
    seconds: float
    """That it takes at most, by guess."""
    measure: Callable[[], Iterable[Row]]


class Figures:
    """All that has been found, each row shown and kept as it comes."""

    def __init__(self, head: Row, out: Path | None) -> None:
        self.found: dict[str, Any] = dict(head)
        self._out = out
        if out:
            out.write_text("", "utf-8")
        self._keep(head)

    def add(self, part: str, row: Row) -> None:
        """Numbers keep five digits."""
        row = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}
        self.found.setdefault(part, []).append(row)
        self._keep({"part": part, **row})

    def _keep(self, row: Row) -> None:
        line = json.dumps(row)
        print(line, file=sys.stderr, flush=True)
        if self._out:
            with open(self._out, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def show(self, part: str) -> None:
        """The part's table."""
        rows = [{name: _short(value) for name, value in row.items()} for row in self.found.get(part, [])]
        print(f"\n{part}\n{table(rows)}" if rows else f"\n{part}: nothing", flush=True)

    @property
    def has_failed(self) -> bool:
        """Whether something went wrong, other than that time ran out."""
        return any("failed" in row for rows in self.found.values() if isinstance(rows, list) for row in rows)


def _short(value: object) -> object:
    return f"{value[: WIDEST - 1]}…" if isinstance(value, str) and len(value) > WIDEST else value


def told(error: BaseException) -> str:
    """In a line; where it happened goes to stderr."""
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


def measure(piece: Piece, figures: Figures, left: float) -> None:
    """Adds the piece's rows, or why there are none, with `left` seconds of the budget."""
    out: Row = {"of": piece.part, "what": piece.what}
    if left < piece.seconds:
        figures.add(LEFT_OUT, out | {"skipped": f"{left:.0f} s left, and it may take {piece.seconds:.0f}"})
        return
    try:
        for row in piece.measure():
            figures.add(piece.part, row)
    except Skipped as reason:
        figures.add(LEFT_OUT, out | {"skipped": str(reason)})
    except (Exception, SystemExit) as error:  # a command that fails ends so; the other pieces' figures are wanted too
        figures.add(LEFT_OUT, out | {"failed": told(error)})
    free()
