"""`charrnn inspect TEXT`: the text coloured by what units do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.output import View, arrays_of_text, put, write_arrays
from charrnn.errors import CheckpointError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.neurons.record import Unit


def show(
    engine: Any,
    ids: Any,
    text: str,
    loaded: Checkpoint,
    path: Path,
    units: list[Unit],
    view: View,
    *,
    start: int,
    most: int,
) -> None:
    """Colours `text`, the characters of `ids`, from `start` on: by the `most` liveliest units where none is named."""
    import numpy as np

    from charrnn.neurons.record import liveliest

    with np.errstate(over="ignore", invalid="ignore"):  # `_values` says it in a sentence
        units = units or liveliest(engine, ids, most)
        values = _values(engine, ids, units, start)
    shown = text[start:]
    if view.npz is not None:
        of_units = {str(unit): np.array(values[unit], np.float32) for unit in units}
        write_arrays(view.npz, {**arrays_of_text(ids[start:], start, loaded.vocabulary), **of_units})
    if view.as_json:
        rounded = {str(unit): [round(value, 6) for value in values[unit]] for unit in units}
        print(json.dumps({"checkpoint": str(path), "text": shown, "units": rounded}))
    put(_pictures(shown, units, values), f"{path.resolve().parent.name}: {', '.join(map(str, units))}", view)


def _pictures(text: str, units: list[Unit], values: dict[Unit, list[float]]) -> list[Any]:
    from charrnn.display.webpage import Picture
    from charrnn.neurons.record import limits

    return [Picture(unit.title, text, values[unit], *limits(unit.kind)) for unit in units]


def _values(engine: Any, ids: Any, units: list[Unit], start: int) -> dict[Unit, list[float]]:
    import math

    from charrnn.neurons.record import record

    values: dict[Unit, list[float]] = {unit: [] for unit in units}
    for taken in record(engine, ids, list(dict.fromkeys(unit.part for unit in units))):
        for unit in units:
            values[unit] += taken[unit.part][:, unit.index].tolist()
    for unit, all_values in values.items():
        if not all(map(math.isfinite, all_values)):
            raise CheckpointError(f"{unit} is not finite: the weights are too large to compute with", "train again")
    return {unit: all_values[start:] for unit, all_values in values.items()}
