"""Scoring text: the nats a model needs for it, each character but the first scored exactly once.

Training validates with this same function, so there is one number with one definition: the sum of -ln p over all
scored characters, in nats, divided once by their count; bits per character = nats / (N ln 2).

The text is cut into B lanes that are scored side by side. Lane 0 starts from the zero state, as a single stream
does. Every other lane first reads, without scoring, the `WARM_UP` characters before its own start, so that its state
has become what the single stream's would be; the number then does not depend on the lanes to about 1e-7, and with
one lane it is exact. Windows split the work only and change nothing.

Shape letters: T window, B lanes, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from charrnn.recurrent import StackState
from charrnn.vocabulary import Ids

if TYPE_CHECKING:
    from charrnn.model import CharacterModel

WARM_UP = 1024
DEFAULT_WINDOW = 128


@dataclass(frozen=True, slots=True)
class Score:
    """Nats summed over the scored characters, and how many these are."""

    nats: float
    characters: int

    @property
    def nats_per_character(self) -> float:
        """Mean loss."""
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        """bpc."""
        return self.nats / (self.characters * math.log(2))


def default_lanes(characters: int) -> int:
    """Lanes for a text of this length: many enough to be fast, each long beside its warm-up."""
    return max(1, min(64, characters // (2 * WARM_UP)))


def score(
    model: CharacterModel,
    ids: Ids,
    *,
    window: int = DEFAULT_WINDOW,
    lanes: int | None = None,
    device: torch.device | None = None,
    proceed: Callable[[int], bool] | None = None,
) -> Score | None:
    """Scores `ids[1:]`, each given all before it.

    `proceed` is called after each window with the characters scored so far; when it returns False the work is given
    up and the result is None. Raises ValueError for fewer than two ids.
    """
    count = len(ids) - 1
    if count < 1:
        raise ValueError("there is nothing to score: the text has fewer than two characters")
    # A lane shorter than its warm-up would start from a state that is not yet the single stream's.
    lanes = min(lanes or default_lanes(count), max(1, count // WARM_UP))
    device = device or torch.device("cpu")
    length = -(-count // lanes)  # of a lane; the last one may be shorter
    lanes = -(-count // length)  # lanes that hold anything
    total = 0.0
    done = 0
    with torch.inference_mode():
        state = _warm_state(model, ids, lanes, length, window, device)
        for start in range(0, length, window):
            stop = min(start + window, length)
            inputs, targets, valid = _window(ids, lanes, length, start, stop)
            logits, state = model(inputs.to(device), state)
            # In float64 (which Apple's GPUs lack): over millions of characters float32 would lose what the lanes keep.
            exact = logits.flatten(0, 1).to("cpu" if device.type == "mps" else device).double()
            losses = cross_entropy(exact, targets.flatten().to(exact.device), reduction="none")
            total += float(losses[valid.flatten().to(exact.device)].sum())
            done += int(valid.sum())
            if proceed is not None and not proceed(done):
                return None
    assert done == count, f"scored {done} of {count} characters"
    return Score(total, count)


def _window(
    ids: Ids, lanes: int, length: int, start: int, stop: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, targets and which of them lie within the text, all (T, B)."""
    places = np.arange(start, stop)[:, None] + np.arange(lanes)[None, :] * length
    valid = places < len(ids) - 1
    places = np.minimum(places, len(ids) - 2)
    # Fancy indexing of a memory map reads only these places.
    inputs, targets = ids[places].astype(np.int64), ids[places + 1].astype(np.int64)
    return torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(valid)


def _warm_state(
    model: CharacterModel, ids: Ids, lanes: int, length: int, window: int, device: torch.device
) -> StackState:
    """The state in which each lane starts: zero for lane 0, run through the text before for the others."""
    state = model.zero_state(1)
    if lanes == 1:
        return state
    others = model.zero_state(lanes - 1)
    starts = np.arange(1, lanes)[None, :] * length - WARM_UP
    for start in range(0, WARM_UP, window):
        places = np.arange(start, min(start + window, WARM_UP))[:, None] + starts
        _, others = model(torch.from_numpy(ids[places].astype(np.int64)).to(device), others)
    return tuple(
        tuple(torch.cat(pair) for pair in zip(first, rest, strict=True))
        for first, rest in zip(state, others, strict=True)
    )
