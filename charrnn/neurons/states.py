"""The state of a model after chosen places of a text, or after whole texts: h of all layers and, of an lstm, tanh(c).

Memory depends on the number of places and on the model. Knows units and places. Refuses to know what is asked of them.

Shape letters: N places or texts, D units of the state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.errors import WeightsTooLarge
from charrnn.neurons.record import Floats, Part, Recorder, Unit, record
from charrnn.neurons.statistics import Doubles
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]
Report = Callable[[str, int, int], None]

_TEXTS = 20  # between two reports


def state_units(config: ModelConfig) -> list[Unit]:
    """The D units of a state, in the order of the columns below."""
    return [Unit(layer, kind, index) for layer, kind in _parts(config) for index in range(config.hidden_size)]


def states_in(engine: Recorder, ids: Ids, places: npt.NDArray[np.int64], report: Report) -> Doubles:
    """After the characters at `places` (N,), in ascending order, of a text read from its beginning: (N, D)."""
    parts, taken, start, end = _parts(engine.config), list[Floats](), 0, int(places[-1]) + 1
    for block in record(engine, ids[:end], parts):
        stop = start + len(block[parts[0]])
        rows = places[slice(*np.searchsorted(places, [start, stop]))] - start
        taken.append(np.concatenate([block[part][rows] for part in parts], 1))
        start = stop
        report("reading", stop, end)
    return _finite(taken)


def states_after(engine: Recorder, texts: Sequence[Ids], report: Report) -> Doubles:
    """After each of the texts, read from the zero state: (N, D). No text may be empty."""
    parts, taken = _parts(engine.config), list[Floats]()
    for number, text in enumerate(texts, start=1):
        (last,) = deque(record(engine, text, parts), maxlen=1)
        taken.append(np.concatenate([last[part][-1:] for part in parts], 1))
        if number % _TEXTS == 0 or number == len(texts):
            report("reading texts", number, len(texts))
    return _finite(taken)


def _parts(config: ModelConfig) -> list[Part]:
    return [(layer, kind) for layer in range(1, config.num_layers + 1) for kind in make_cell(config).state_names]


def _finite(taken: list[Floats]) -> Doubles:
    states = np.concatenate(taken).astype(np.float64)
    if not np.isfinite(states).all():
        raise WeightsTooLarge("the state is")
    return states
