"""An engine is what sampling, scoring and inspecting see of a model.

An engine reads and writes characters for B lanes side by side. Its state is a value: it goes into every call, comes out
new, and only the engine that made it knows what it is. An engine that can take one step has the rest from `Engine`; the
compiled step (`compiled.py`) has its own loops. Torch is not needed.

Shape letters: T characters, B lanes, L layers, H hidden size, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.inference.distribution import draw, log_probabilities, probabilities
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]

_SMALL_TABLE = 1 << 23


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities of what was read, in its shape (T, B) or (T,), logits (B, V) of what comes next, and the state
    there."""

    log_probabilities: Doubles
    logits: Floats
    state: Any


@dataclass(frozen=True, slots=True)
class Written:
    """Ids (T, B) that were drawn, their log-probabilities (T, B) under the model itself (temperature 1, nothing cut),
    the logits (B, V) of what comes next, and the state there. Where `is_finite` is false the weights are too large to
    compute with, and nothing else means anything."""

    ids: Integers
    log_probabilities: Doubles
    logits: Floats
    state: Any
    is_finite: bool


class Walk:
    """Takes one step after the other from a state, which is a new value each time; others keep their buffers."""

    def __init__(self, engine: Engine, state: Any) -> None:
        self._engine, self._state = engine, state

    def step(self, ids: npt.ArrayLike) -> Floats:
        """Reads one character in each lane (B,): logits (B, V) of the next, good until the next call."""
        logits, self._state = self._engine.step(ids, self._state)
        return logits

    def state(self) -> Any:
        """Returns the state as it is now, a value."""
        return self._state


class Engine(ABC):
    """A model that reads and writes. A step is enough for all of it; some engines have loops of their own."""

    most_lanes = 64
    """Lanes that are good to have side by side; more do not go faster, or do not go at all."""
    vocabulary_size: int
    """The number of characters, V."""

    @abstractmethod
    def zero_state(self, lanes: int = 1) -> Any:
        """Returns the state before the first character."""

    @abstractmethod
    def step(self, ids: npt.ArrayLike, state: Any) -> tuple[Floats, Any]:
        """Reads one character in each lane: ids (B,) -> logits of the next (B, V), new state."""

    def take(self, state: Any, lanes: Sequence[int]) -> Any:
        """Returns the state of these lanes, in this order; a lane may be named several times."""
        chosen = list(lanes)
        return tuple(tuple(array[chosen] for array in layer) for layer in state)

    def join(self, states: Sequence[Any]) -> Any:
        """Returns one state of the lanes of several, in their order."""
        return tuple(
            tuple(np.concatenate(arrays) for arrays in zip(*layers, strict=True))
            for layers in zip(*states, strict=True)
        )

    def walk(self, state: Any) -> Walk:
        """Returns what takes steps from `state` on."""
        return Walk(self, state)

    def read(self, ids: npt.ArrayLike, state: Any) -> tuple[Floats, Any]:
        """Reads `ids` (T, B), or (T,) in one lane: logits of the next character (B, V), new state."""
        walk, logits = self.walk(state), None
        for row in _rows(ids):
            logits = walk.step(row)
        assert logits is not None, "there is nothing to read"
        return logits.copy(), walk.state()

    def score(self, ids: npt.ArrayLike, state: Any, logits: Floats | None = None) -> Scored:
        """Reads `ids` (T, B), or (T,) in one lane, and says how likely each was, given all before it in its lane.

        `logits` (B, V) are those after the characters before; without them the first log-probabilities are not numbers.
        """
        walk, rows = self.walk(state), _rows(ids)
        found = np.full(rows.shape, np.nan)
        for place, row in enumerate(rows):
            if logits is not None:
                found[place] = log_probabilities(logits)[np.arange(len(row)), row]
            logits = walk.step(row)
        assert logits is not None, "there is nothing to read"
        return Scored(found if np.ndim(ids) == 2 else found[:, 0], logits.copy(), walk.state())

    def write(self, logits: Floats, state: Any, settings: Sequence[SamplingConfig], uniforms: Doubles) -> Written:
        """Draws and reads characters in each lane, from `logits` (B, V) on.

        `settings` has one entry a lane (temperature, top_k, top_p and min_p are what counts here); `uniforms` (T, B)
        holds the random numbers, in [0, 1).
        """
        walk = self.walk(state)
        T, B = uniforms.shape
        ids, likely, is_finite = np.zeros((T, B), np.int32), np.full((T, B), np.nan), True
        for t in range(T):
            if not np.isfinite(logits).all():
                is_finite = False
                break
            for b, config in enumerate(settings):
                ids[t, b] = draw(probabilities(logits[b], config), float(uniforms[t, b]))
            likely[t] = log_probabilities(logits)[np.arange(B), ids[t]]
            logits = walk.step(ids[t])
        return Written(ids, likely, logits.copy(), walk.state(), is_finite)


class RecordingEngine(Engine):
    """An engine that tells what its units do."""

    config: ModelConfig

    @abstractmethod
    def record(self, ids: npt.ArrayLike, state: Any) -> tuple[dict[str, Floats], Any]:
        """Reads `ids` (T,): every unit's value after each, by kind (T, L, H), and the new state."""


def _rows(ids: npt.ArrayLike) -> Integers:
    rows = np.asarray(ids, np.int32)
    return rows[:, None] if rows.ndim == 1 else rows


def is_small_table(table: int, others: int) -> bool:
    """Whether a table of the first layer's input product for every character (bytes) is worth its room beside the other
    arrays: with a large vocabulary the product itself is read faster."""
    return table <= max(_SMALL_TABLE, others // 4)
