"""The state of a model after chosen places of a text, or after whole texts: h of all layers and, of an lstm, tanh(c).

Memory depends on the number of places and on the model.

Shape letters: N places or texts, D units of the state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import Floats, Part, Report, Unit, check_finite, parts_of, record, units_of
from charrnn.neurons.statistics import Doubles
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]

_TEXTS = 20  # texts between two reports of progress


def state_units(config: ModelConfig) -> list[Unit]:
    """Returns the D units of a state, in the order of its columns."""
    return units_of(config, make_cell(config).state_names)


def states_in(engine: RecordingEngine, ids: Ids, places: npt.NDArray[np.int64], report: Report) -> Doubles:
    """Returns the state after the characters at `places` (N,), ascending, of a text read from its start: (N, D)."""
    parts, taken, start, end = _parts(engine.config), list[Floats](), 0, int(places[-1]) + 1
    for block in record(engine, ids[:end], parts):
        stop = start + len(block[parts[0]])
        rows = places[slice(*np.searchsorted(places, [start, stop]))] - start
        taken.append(np.concatenate([block[part][rows] for part in parts], 1))
        start = stop
        report("reading", stop, end)
    return _finite(taken)


def states_after(engine: RecordingEngine, texts: Sequence[Ids], report: Report) -> Doubles:
    """Returns the state (N, D) after each of the texts, read from the zero state. No text may be empty."""
    parts, taken = _parts(engine.config), list[Floats]()
    for number, text in enumerate(texts, start=1):
        (last,) = deque(record(engine, text, parts), maxlen=1)
        taken.append(np.concatenate([last[part][-1:] for part in parts], 1))
        if number % _TEXTS == 0 or number == len(texts):
            report("reading texts", number, len(texts))
    return _finite(taken)


def _parts(config: ModelConfig) -> list[Part]:
    return parts_of(config, make_cell(config).state_names)


def _finite(taken: list[Floats]) -> Doubles:
    states = np.concatenate(taken).astype(np.float64)
    check_finite("the state is", states)
    return states
