"""`charrnn inspect --ablate`: whether the model uses what its units know."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.output import View, put, write_arrays
from charrnn.cli.reading import check_length
from charrnn.errors import UsageError

if TYPE_CHECKING:
    import re

    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.reading import Reading
    from charrnn.display.report import Piece
    from charrnn.neurons.ablate import Ablation, Cost
    from charrnn.neurons.labels import Label
    from charrnn.neurons.record import Unit

ABLATE = typer.Option(
    "--ablate",
    help="Hold units at their means, each alone, and measure the price in bits, where labels hold, where they end and "
    "elsewhere: those of --unit, or with --find those that were found.",
    rich_help_panel="Text",
)
LENGTH = 50_000


def check(*, is_asked: bool, units: Sequence[str], find: bool) -> None:
    """Raises UsageError where there is nothing to hold."""
    if is_asked and not units and not find:
        raise UsageError("--ablate needs to know which units to hold", "name them with --unit, or add --find")


def measure(reading: Reading, asked: Mapping[Unit, Sequence[Label]], *, start: int) -> list[Ablation]:
    """The price of each unit, with a bar where that takes long."""
    import numpy as np

    from charrnn.display.progress import WorkDisplay
    from charrnn.neurons.ablate import ablate

    with closing(WorkDisplay()) as work, np.errstate(over="ignore", invalid="ignore"):
        return ablate(
            reading.loaded.model,
            reading.loaded.parameters,
            reading.ids,
            asked,
            start=start,
            progress=lambda done, total: work("holding units", done, total),
        )


def show(reading: Reading, units: Sequence[Unit], own: dict[str, re.Pattern[str]], view: View) -> None:
    """Holds each of `units`, alone, and prints what that costs."""
    from charrnn.neurons.labels import labels_of

    check_length(reading.characters, "to measure a price on", LENGTH)
    labels = labels_of(reading.text, own)
    ablations = measure(reading, dict.fromkeys(units, labels), start=reading.start)
    if view.npz is not None:
        write_arrays(view.npz, {"characters": reading.characters, **arrays(ablations)})
    if view.as_json:
        body = {"checkpoint": str(reading.path), "characters": reading.characters}
        print(json.dumps({**body, "ablations": numbers(ablations, reading.loaded)}))
    put(_pieces(ablations, reading.loaded), reading.heading(", ".join(map(str, units))), view)


def _pieces(ablations: Sequence[Ablation], loaded: Checkpoint) -> Iterator[Piece]:
    from charrnn.display.ablate import ablation_pieces, meaning

    for one in ablations:
        yield from ablation_pieces(one, characters_of(loaded))
    yield meaning()


def characters_of(loaded: Checkpoint) -> list[str]:
    """The vocabulary's characters by id; in byte mode one for each byte."""
    if loaded.vocabulary.kind == "bytes":
        return [chr(byte) for byte in range(256)]
    return [loaded.vocabulary.decode([id_]) for id_ in range(len(loaded.vocabulary))]


def numbers(ablations: Sequence[Ablation], loaded: Checkpoint) -> list[dict[str, Any]]:
    """As JSON has them; what is not a number is null."""
    characters = characters_of(loaded)
    return [
        {
            "unit": str(one.unit),
            "held_at": one.held_at,
            "overall": asdict(one.overall),
            "uses": [_finite({**asdict(use), "is_used": use.is_used}) for use in one.uses],
            "dearest": [
                {"character": characters[id_], "bits": bits, "count": count} for id_, bits, count in one.dearest
            ],
        }
        for one in ablations
    ]


def arrays(ablations: Sequence[Ablation]) -> dict[str, Any]:
    """The same as arrays, a row for each unit and label; costs are bits, low, high and how many places."""
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
