"""`charrnn inspect --ablate`: whether the model uses what its units know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import LABEL, LABEL_FILE
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.display.report import Section
    from charrnn.neurons.ablate import Ablation, Cost
    from charrnn.neurons.labels import Label
    from charrnn.neurons.record import Unit

ABLATE = Option(
    "--ablate",
    bool,
    "Hold units at their means, each alone, and measure the price in bits, where labels hold, where they end and "
    "elsewhere: those of --unit, or with --find those that were found.",
)
LENGTH = 50_000


def _check(asked: Given) -> None:
    if not asked.unit:
        raise UsageError("--ablate needs to know which units to hold", "name them with --unit, or add --find")


def measure(subject: Subject, asked: Mapping[Unit, Sequence[Label]], *, start: int) -> list[Ablation]:
    """Returns what holding each unit at its mean costs, for its labels."""
    from charrnn.neurons.ablate import ablate

    loaded = subject.loaded
    return ablate(
        loaded.model, loaded.parameters, subject.ids, asked,
        start=start, end=loaded.vocabulary.end, report=subject.report,
    )  # fmt: skip


def _measure(subject: Subject, asked: Given) -> Result:
    """Holds each unit that was named at its mean, one at a time, and measures what that costs."""
    from charrnn.display.ablate import ablation_pieces, meaning

    units, labels = subject.units(asked.unit), subject.labels(asked, "to measure a price on", LENGTH)
    characters = {"characters": subject.characters}
    ablations = measure(subject, dict.fromkeys(units, labels), start=subject.start)

    def sections(_on_page: bool) -> list[Section]:
        return [*(piece for one in ablations for piece in ablation_pieces(one, subject.names_of_ids)), *meaning()]

    return Result(
        subject,
        ", ".join(map(str, units)),
        sections,
        lambda: {**characters, "ablations": numbers(ablations, subject)},
        lambda: {**characters, **arrays(ablations)},
    )


def numbers(ablations: Sequence[Ablation], subject: Subject) -> list[dict[str, Any]]:
    """Returns the ablations as JSON objects; NaN becomes null."""
    return [
        {
            "unit": str(one.unit),
            "held_at": one.held_at,
            "overall": _finite(asdict(one.overall)),
            "uses": [_finite({**asdict(use), "is_used": use.is_used}) for use in one.uses],
            "dearest": [
                {"character": subject.names_of_ids[id_], "bits": bits, "count": count}
                for id_, bits, count in one.dearest
            ],
        }
        for one in ablations
    ]


def arrays(ablations: Sequence[Ablation]) -> dict[str, Any]:
    """Returns the ablations as arrays, a row for each unit and label; a cost is bits, low, high, number of places."""
    import numpy as np

    rows = [(one, use) for one in ablations for use in one.uses]

    def costs(each: list[Cost]) -> Any:
        return np.array([[cost.bits, cost.low, cost.high, cost.characters] for cost in each]).reshape(-1, 4)

    return {
        "held.units": np.array([str(one.unit) for one in ablations], np.str_),
        "held.at": np.array([one.held_at for one in ablations]),
        "held.overall": costs([one.overall for one in ablations]),
        "uses.unit": np.array([str(one.unit) for one, _ in rows], np.str_),
        "uses.label": np.array([use.label for _, use in rows], np.str_),
        "uses.ends": costs([use.ends for _, use in rows]),
        "uses.inside": costs([use.inside for _, use in rows]),
        "uses.outside": costs([use.outside for _, use in rows]),
        "uses.compared": np.array([use.compared for _, use in rows]),
        "uses.is_used": np.array([use.is_used for _, use in rows], bool),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


VIEW = View(
    "Ablation",
    ABLATE,
    _measure,
    options=(LABEL, LABEL_FILE),
    length=LENGTH,
    check=_check,
    shows="What it costs to hold units still: whether the model uses them.",
)
