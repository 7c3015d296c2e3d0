"""An engine made of engines: several models that read side by side, and whose probabilities are averaged.

The logits of an ensemble are the logarithms of the averaged probabilities, which are normalised. Its state is a tuple
of the members' states.

Shape letters: K members, T characters, B lanes, L layers, H hidden size of a member, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.members import as_one
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.engine import Doubles, Floats, RecordingEngine, Scored, Walk

State = tuple[Any, ...]


def averaged(likely: Sequence[Doubles]) -> Doubles:
    """Returns the logarithms of the mean of probabilities, given as logarithms of one shape, K of them."""
    with np.errstate(invalid="ignore"):  # what is not a number stays so, without a warning
        total = np.logaddexp.reduce(np.stack(likely))
    mean: Doubles = total - math.log(len(likely))
    return mean


class EnsembleEngine(RecordingEngine):
    """Members of one configuration and vocabulary as one model; a layer has the units of all of them in turn."""

    def __init__(self, members: Sequence[RecordingEngine]) -> None:
        self.members = list(members)
        self.config = as_one(members[0].config, len(members))
        self.vocabulary_size = members[0].vocabulary_size
        self.most_lanes = min(member.most_lanes for member in members)

    def zero_state(self, lanes: int = 1) -> State:
        """Returns the state before the first character."""
        return tuple(member.zero_state(lanes) for member in self.members)

    def take(self, state: State, lanes: Sequence[int]) -> State:
        """Returns the state of these lanes, in this order; a lane may be named several times."""
        return tuple(member.take(each, lanes) for member, each in zip(self.members, state, strict=True))

    def join(self, states: Sequence[State]) -> State:
        """Returns one state of the lanes of several, in their order."""
        return tuple(member.join(each) for member, each in zip(self.members, zip(*states, strict=True), strict=True))

    def step(self, ids: npt.ArrayLike, state: State) -> tuple[Floats, State]:
        """Reads one character in each lane: ids (B,) -> logits of the next (B, V), new state."""
        taken = [member.step(ids, each) for member, each in zip(self.members, state, strict=True)]
        return _together([logits for logits, _ in taken]), tuple(after for _, after in taken)

    def walk(self, state: State) -> _EnsembleWalk:
        """Returns what takes steps from `state` on."""
        return _EnsembleWalk([member.walk(each) for member, each in zip(self.members, state, strict=True)])

    def read(self, ids: npt.ArrayLike, state: State) -> tuple[Floats, State]:
        """Reads `ids` (T, B), or (T,) in one lane: logits of the next character (B, V), new state."""
        taken = [member.read(ids, each) for member, each in zip(self.members, state, strict=True)]
        return _together([logits for logits, _ in taken]), tuple(after for _, after in taken)

    def score(self, ids: npt.ArrayLike, state: State, logits: Floats | None = None) -> Scored:
        """Reads `ids` (T, B), or (T,) in one lane, and says how likely each was. See `Engine.score`."""
        found = [member.score(ids, each) for member, each in zip(self.members, state, strict=True)]
        likely = averaged([each.log_probabilities for each in found])
        if logits is not None:  # those of the members before are not known, and not needed
            first = np.atleast_1d(np.asarray(ids)[0])
            likely[0] = np.reshape(log_probabilities(logits)[np.arange(len(first)), first], likely[0].shape)
        return Scored(likely, _together([each.logits for each in found]), tuple(each.state for each in found))

    def record(self, ids: npt.ArrayLike, state: State) -> tuple[dict[str, Floats], State]:
        """Reads `ids` (T,): every unit's value after each, by kind (T, L, K H), and the new state."""
        taken = [member.record(ids, each) for member, each in zip(self.members, state, strict=True)]
        kinds = taken[0][0]
        values = {kind: np.concatenate([each[kind] for each, _ in taken], axis=2) for kind in kinds}
        return values, tuple(after for _, after in taken)


class _EnsembleWalk(Walk):
    """Steps of all members side by side."""

    def __init__(self, walks: Sequence[Walk]) -> None:
        self._walks = walks

    def step(self, ids: npt.ArrayLike) -> Floats:
        """Reads one character in each lane (B,): logits (B, V) of the next."""
        return _together([walk.step(ids) for walk in self._walks])

    def state(self) -> State:
        """Returns the state as it is now, a value."""
        return tuple(walk.state() for walk in self._walks)


def _together(logits: Sequence[Floats]) -> Floats:
    """Returns the logits (B, V) of an ensemble from those of its members."""
    return averaged([log_probabilities(each) for each in logits]).astype(np.float32)
