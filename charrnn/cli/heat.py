"""`charrnn inspect TEXT`: the text coloured by what units do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from charrnn.cli.output import View, put, write_arrays
from charrnn.errors import WeightsTooLarge

if TYPE_CHECKING:
    from charrnn.cli.reading import Reading
    from charrnn.neurons.record import Unit
    from charrnn.settings.config import ModelConfig


def show(
    reading: Reading,
    units: list[Unit],
    view: View,
    *,
    most: int,
) -> None:
    """Colours what was read by `units`, or by the `most` liveliest units where none is named."""
    import numpy as np

    from charrnn.neurons.record import liveliest

    with np.errstate(over="ignore", invalid="ignore"):  # `_values` says it in a sentence
        units = units or liveliest(reading.engine, reading.ids, most)
        values = _values(reading.engine, reading.ids, units, reading.start)
    shown = reading.text[reading.start :]
    if view.npz is not None:
        of_units = {str(unit): np.array(values[unit], np.float32) for unit in units}
        write_arrays(view.npz, {**reading.as_arrays(), **of_units})
    if view.as_json:
        rounded = {str(unit): [round(value, 6) for value in values[unit]] for unit in units}
        print(json.dumps({"checkpoint": str(reading.path), "text": shown, "units": rounded}))
    put(
        _pictures(shown, units, values, reading.loaded.model),
        reading.heading(", ".join(map(str, units))),
        view,
    )


def _pictures(text: str, units: list[Unit], values: dict[Unit, list[float]], model: ModelConfig) -> list[Any]:
    from charrnn.display.webpage import Picture
    from charrnn.neurons.record import limits, title

    return [Picture(title(unit, model), text, values[unit], *limits(unit.kind, model)) for unit in units]


def _values(engine: Any, ids: Any, units: list[Unit], start: int) -> dict[Unit, list[float]]:
    import math

    from charrnn.neurons.record import record

    values: dict[Unit, list[float]] = {unit: [] for unit in units}
    for taken in record(engine, ids, list(dict.fromkeys(unit.part for unit in units))):
        for unit in units:
            values[unit] += taken[unit.part][:, unit.index].tolist()
    for unit, all_values in values.items():
        if not all(map(math.isfinite, all_values)):
            raise WeightsTooLarge(f"{unit} is")
    return {unit: all_values[start:] for unit, all_values in values.items()}
