"""`charrnn inspect TEXT`: the text coloured by what units do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.cli.output import rounded
from charrnn.cli.view import Given, Result, View

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.record import Unit


def _measure(subject: Subject, asked: Given) -> Result:
    """Colours the text by the units that were named, or by those whose values vary most."""
    import numpy as np

    from charrnn.display.heat import Picture
    from charrnn.neurons.record import limits, liveliest, title

    units = subject.units(asked.unit) or liveliest(subject.engine, subject.ids, asked.units)
    values = _values(subject.engine, subject.ids, units, subject.start)
    shown, model = subject.text[subject.start :], subject.loaded.of_units

    def pictures(_on_page: bool) -> list[Picture]:
        return [
            Picture(title(unit, model), shown, values[unit], *limits(unit.kind, model), palette=asked.colours)
            for unit in units
        ]

    return Result(
        subject,
        ", ".join(map(str, units)),
        pictures,
        lambda: {"text": shown, "units": {str(unit): rounded(values[unit]) for unit in units}},
        lambda: {**subject.as_arrays(), **{str(unit): np.array(values[unit], np.float32) for unit in units}},
    )


def _values(engine: Any, ids: Any, units: list[Unit], start: int) -> dict[Unit, list[float]]:
    import numpy as np

    from charrnn.neurons.record import check_finite, record

    values: dict[Unit, list[float]] = {unit: [] for unit in units}
    for taken in record(engine, ids, list(dict.fromkeys(unit.part for unit in units))):
        for unit in units:
            values[unit] += taken[unit.part][:, unit.index].tolist()
    for unit, all_values in values.items():
        check_finite(f"{unit} is", np.array(all_values))
    return {unit: all_values[start:] for unit, all_values in values.items()}


VIEW = View(
    "Text",
    None,
    _measure,
    is_coloured=lambda _asked: True,
    shows="The text coloured by each --unit, or by the liveliest.",
)
