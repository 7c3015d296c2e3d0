"""What the units of a model did while it read a text, as numpy arrays: `Pretrained.record` returns it.

Shape letters: T characters, L layers, H hidden size, N units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.display.notebook import coloured, table
from charrnn.errors import UsageError
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import Columns, Floats, Unit, limits, record_units, title, units_named
from charrnn.settings.config import ModelConfig
from charrnn.wording import count

_SHOWN = 600


@dataclass(frozen=True, slots=True)
class UnitPicture:
    """A text coloured by the values of one unit. A notebook draws it; `_repr_html_` returns the HTML."""

    unit: str
    text: str
    values: Floats
    low: float
    high: float

    def __repr__(self) -> str:
        return f"<picture of {self.unit} over {count(len(self.text), 'character')}; a notebook draws it>"

    def _repr_html_(self) -> str:
        return coloured(self.unit, self.text, self.values.tolist(), self.low, self.high)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The values of units after each character of a text.

    `recording["L2.c17"]` is one unit (T,), `recording["L2.c"]` a layer's units of a kind (T, H), and `recording["c"]`
    those of all layers (T, L, H). A unit is named by its layer (from 1), its kind and its index (from 0).
    """

    text: str
    """The characters that were read, of which there are T: `text[t]` is the one after which a value stands at t. Of a
    model of bytes, it has one character for each byte."""
    values: Floats
    """All values (T, N), float32, a column for each of `names`. An lstm's memory stands as tanh(c), which is between -1
    and 1; so does an h that has no bounds."""
    units: Sequence[Unit]
    config: ModelConfig

    @property
    def names(self) -> list[str]:
        """The names of the columns, such as "L1.h0"."""
        return [str(unit) for unit in self.units]

    @property
    def h(self) -> Floats:
        """The outputs h of all layers (T, L, H)."""
        return self["h"]

    @property
    def c(self) -> Floats:
        """The memories of all layers of an lstm, as tanh(c), (T, L, H)."""
        return self["c"]

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, name: str) -> Floats:
        wanted = units_named(name, self.config)
        places = {unit: place for place, unit in enumerate(self.units)}
        missing = next((unit for unit in wanted if unit not in places), None)
        if missing is not None:
            raise UsageError(f"{missing} was not recorded", f'record it with units=["{name}"], among others')
        columns = [places[unit] for unit in wanted]
        if name == str(wanted[0]):
            return self.values[:, columns[0]]
        is_row = columns == [*range(columns[0], columns[0] + len(columns))]
        taken = self.values[:, columns[0] : columns[-1] + 1] if is_row else self.values[:, columns]
        return taken if name.startswith("L") else taken.reshape(len(taken), self.config.num_layers, -1)

    def picture(self, unit: str, begin: int = 0, end: int = _SHOWN) -> UnitPicture:
        """Returns the characters from `begin` to `end`, coloured by one unit, for a notebook to draw."""
        (parsed,) = units_named(unit, self.config)[:1]
        low, high = limits(parsed.kind, self.config)
        name = title(parsed, self.config)
        return UnitPicture(name, self.text[begin:end], self[str(parsed)][begin:end], low, high)

    def __repr__(self) -> str:
        units = count(len(self.units), "unit")
        return f"<recording of {units} over {count(len(self), 'character')}, {self.values.nbytes / 1e6:.1f} MB>"

    def _repr_html_(self) -> str:
        shown = self.values[:_SHOWN]
        liveliest = str(self.units[int(shown.std(0).argmax())])
        rows = {
            "recording": f"{count(len(self), 'character')}, {count(len(self.units), 'unit')}: "
            f"{self.names[0]} to {self.names[-1]}",
            "values": f"float32 {self.values.shape}, {self.values.nbytes / 1e6:.1f} MB",
        }
        return table(rows) + self.picture(liveliest)._repr_html_()


def recording(
    engine: RecordingEngine,
    ids: npt.NDArray[np.integer],
    text: str,
    names: Sequence[str] | None,
    before: Sequence[int] = (),
) -> Recording:
    """Returns the recording of the units called `names`, by default of every state, while the engine reads `ids` (T,).

    It reads `before` first, which is not recorded. The memory it takes is 4 T N bytes.
    """
    config = engine.config
    if isinstance(names, str):
        names = [names]
    names = make_cell(config).state_names if names is None else names
    wanted = [unit for name in names for unit in units_named(name, config)]
    units = list(dict.fromkeys(wanted))
    if not units or not len(ids):
        raise UsageError("there is nothing to record", "give a text of at least one character, and at least one unit")
    values, done = np.empty((len(ids), len(units)), np.float32), -len(before)
    for taken in record_units(engine, np.concatenate([np.asarray(before, ids.dtype), ids]), Columns(units)):
        kept = taken[max(0, -done) :]
        values[max(0, done) : max(0, done) + len(kept)] = kept
        done += len(taken)
    return Recording(text, values, units, config)
