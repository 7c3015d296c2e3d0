"""Finds what the model expects after each character: its likeliest guesses, and the probability of what came next.

The text is run once, in order, from the zero state; guesses are handed out in blocks, so that memory does not grow with
the text. Probabilities are the model's own (temperature 1, nothing cut), a softmax in float64. Among equally likely
characters the lower id goes first, as in sampling. Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078) show such
guesses under their text.

Shape letters: T characters in a block, K guesses a character, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.inference.distribution import log_probabilities
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import Unit, check_finite, is_unbounded

Doubles = npt.NDArray[np.float64]

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Guesses:
    """The K likeliest characters after each of T characters, and how probable the next character was."""

    ids: npt.NDArray[np.int64]
    """The ids of the guesses, the likeliest first, (T, K)."""
    probabilities: Doubles
    """The probabilities of `ids`, (T, K)."""
    log_probabilities: Doubles
    """The log-probability of the character that came next, in nats, (T,); NaN after the last one of the text."""
    ranks: npt.NDArray[np.int64]
    """The place among `ids` of the character that came next, (T,); -1 where it is not among them."""
    values: Doubles | None
    """The values of the unit that was asked for, (T,); None where none was."""


@dataclass(frozen=True, slots=True)
class GuessTally:
    """How good guesses were: the number of `characters` that came, how many of these were the first guess and how many
    among the K, and the sum of their losses in nats."""

    characters: int = 0
    first: int = 0
    among: int = 0
    nats: float = 0.0

    def __add__(self, taken: Guesses) -> Self:
        came = ~np.isnan(taken.log_probabilities)
        return type(self)(
            self.characters + int(came.sum()),
            self.first + int((taken.ranks == 0).sum()),
            self.among + int((taken.ranks >= 0).sum()),
            self.nats - float(taken.log_probabilities[came].sum()),
        )


def guess(
    engine: RecordingEngine,
    ids: Sequence[int] | npt.NDArray[Any],
    start: int,
    count: int,
    number: int,
    unit: Unit | None = None,
    block: int = _BLOCK,
) -> Iterator[Guesses]:
    """Yields, in blocks, the `number` likeliest characters (all, if there are fewer) after each of
    `ids[start : start + count]`, given all of `ids` up to there.

    With `unit`, the guesses also hold its values there (an lstm's c as tanh(c), see `record`). Raises CheckpointError
    where the weights are too large to compute with.
    """
    taken, state = np.asarray(ids), engine.zero_state(1)
    end = min(start + count, len(taken))
    if start:
        _, state = engine.read(taken[:start], state)
    for first in range(start, end, block):
        here = taken[first : min(first + block, end)]
        values = None if unit is None else _values(engine, here, state, unit)
        logits = []
        for id_ in here.tolist():
            row, state = engine.step([id_], state)
            logits.append(row[0].copy())  # an engine may use its buffer again
        scores = np.stack(logits).astype(np.float64)  # (T, V)
        check_finite("a guess is", scores)
        yield _guesses(scores, taken[first + 1 : first + 1 + len(here)], number, values)


def _values(engine: RecordingEngine, ids: npt.NDArray[Any], state: Any, unit: Unit) -> Doubles:
    recorded, _ = engine.record(ids, state)
    values = recorded[unit.kind][:, unit.layer - 1, unit.index].astype(np.float64)
    check_finite(f"{unit} is", values)
    return np.tanh(values) if is_unbounded(unit.kind, engine.config) else values


def _guesses(scores: Doubles, came: npt.NDArray[Any], number: int, values: Doubles | None) -> Guesses:
    """Returns the guesses from logits (T, V) and the ids that came next: (T,), or (T - 1,) at the text's end."""
    T, known = len(scores), np.arange(len(came))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    likely = log_probabilities(scores)
    of_next = np.full(T, np.nan)
    of_next[known] = likely[known, came]
    ranks = np.full(T, -1)
    place, rank = np.nonzero(order[known] == came[:, None])
    ranks[place] = rank
    return Guesses(order, np.exp(np.take_along_axis(likely, order, 1)), of_next, ranks, values)
