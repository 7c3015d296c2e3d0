"""The score of a text: nats summed over characters, divided once. This module imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.inference.engine import Engine
from charrnn.text.vocabulary import Ids
from charrnn.wording import count

_BLOCK = 4096


@dataclass(frozen=True, slots=True, repr=False)
class TextScore:
    """Nats summed over the scored characters, and how many these are."""

    nats: float
    characters: int

    @property
    def nats_per_character(self) -> float:
        """The mean loss in nats."""
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        """The mean loss in bits, known as bpc."""
        return self.nats / (self.characters * math.log(2))

    def __repr__(self) -> str:
        return f"<score of {count(self.characters, 'character')}: {self.bits_per_character:.4f} bits per character>"


def nats_of(engine: Engine, ids: Ids) -> float:
    """Returns the nats of `ids` (T,) after the first, each given all before it, read in one stream from zero state."""
    state, logits, likely = engine.zero_state(1), None, []
    for start in range(0, len(ids), _BLOCK):
        scored = engine.score(ids[start : start + _BLOCK], state, logits)
        logits, state = scored.logits, scored.state
        likely.append(scored.log_probabilities)
    return float(-np.concatenate(likely)[1:].sum())
