"""What the project asks of a GPU, as data, and whether the figures of a day meet it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.gpu.scale import FULL, MARK
from tests.benchmarks.gpu.time_to_loss import WINDOWED

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure that is to be at least, or at most, so much."""

    words: str
    part: str
    """Of the figures, whose rows are looked through."""
    where: Mapping[str, object]
    """What the row says otherwise; of several rows the best counts."""
    column: str
    at_least: float | None = None
    at_most: float | None = None

    def judged(self, figures: Mapping[str, Any]) -> Row:
        """The goal, the figure, and whether it is met: None where nothing was measured."""
        rows = [row for row in figures.get(self.part, []) if self.where.items() <= row.items()]
        found = [row[self.column] for row in rows if isinstance(row.get(self.column), int | float)]
        row: Row = {"goal": self.words, "figure": None, "met": None}
        if found and self.at_least is not None:
            row |= {"figure": max(found), "met": max(found) >= self.at_least}
        elif found and self.at_most is not None:
            row |= {"figure": min(found), "met": min(found) <= self.at_most}
        elif any(row.get("below") is False for row in rows):
            row["met"] = False
        return row


def _speed(shape: str, rate: float, ratio: float) -> tuple[Goal, ...]:
    ours = {"shape": shape, "step": "ours"}
    return (
        Goal(words=f"{shape}: at least {rate / 1e6:g} million characters a second", part="speed", where=ours,
             column="c/s", at_least=rate),
        *(
            Goal(words=f"{shape}: at least {ratio:g} times the plain step in {kind}", part="speed", where=ours,
                 column=f"x plain {kind}", at_least=ratio)
            for kind in FULL.kinds
        ),
    )  # fmt: skip


GOALS = (
    *_speed("lstm 2x512 E512 B64 T128", 4e6, 2.0),
    *_speed("lstm 3x1024 E1024 B128 T150", 3e6, 1.5),
    *(
        Goal(words=f"tiny Shakespeare below {MARK} nats, {protocol}, within 60 s of the start of the command",
             part="time", where={"mark": MARK, "protocol": protocol}, column="command", at_most=60.0)
        for protocol in (WINDOWED, "streamed")
    ),
)  # fmt: skip


def judged(figures: Mapping[str, Any]) -> list[Row]:
    """A row for each goal."""
    return [goal.judged(figures) for goal in GOALS]
