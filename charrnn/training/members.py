"""The members of an ensemble that a run keeps: each one's best weights, and what the held-out part costs it.

Of a member that is finished, the nats of each held-out character are kept, so that a validation computes the one in
training alone. After a resume they are computed again from the weights, which gives the same numbers.

Shape letters: N held-out characters but the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.evaluation.bpc import score
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig
from charrnn.text.stored import TextIds
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.distributed import World

Arrays = Mapping[str, npt.NDArray[Any]]
Losses = npt.NDArray[np.float32]

_STATE, _STUDENT = "members.", "student."
_PIECE = 1 << 18


class Members:
    """The best weights so far of each member, the one in training included, in their order."""

    def __init__(
        self, model: ModelConfig, vocabulary: Vocabulary, held_out: TextIds, device: torch.device, world: World
    ) -> None:
        self._model, self._vocabulary, self._held_out = model, vocabulary, held_out
        self._device, self._world = device, world
        self.weights: list[Arrays] = []
        self.student: Arrays | None = None
        """The best weights of the student that learns from them, so far."""
        self._losses: list[Losses | None] = []

    def empty_losses(self) -> Losses:
        """Returns room for what each held-out character costs, (N,)."""
        return np.zeros(max(0, len(self._held_out) - 1), np.float32)

    def keep(self, member: int, weights: Arrays, losses: Losses | None) -> None:
        """Keeps a copy of the weights of a member (from 1), in the place of those that were kept of it."""
        self.weights[member - 1 :] = [{name: np.array(array) for name, array in weights.items()}]
        self._losses[member - 1 :] = [losses]

    def joint_nats(self, count: int, losses: Losses | None = None) -> float:
        """Returns the nats a held-out character of the average of the first `count` members kept, and of one more model
        where its `losses` are given. Every process must call this, and all get the same."""
        found = 0.0
        if self._world.is_first:
            each = [self._losses_of(place) for place in range(count)] + ([] if losses is None else [losses])
            found = mean_nats(each)
        return self._world.first_says(found)

    def _losses_of(self, place: int) -> Losses:
        if (known := self._losses[place]) is None:
            model = CharacterModel(self._model, len(self._vocabulary), self._vocabulary.end)
            model.load_arrays(self.weights[place])
            known = self._losses[place] = self.empty_losses()
            score(model.to(self._device), self._held_out, losses=known)
        return known

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the weights that are kept, as a `last` checkpoint holds them: `members.<k>.<name>` and
        `student.<name>`."""
        student = {f"{_STUDENT}{name}": array for name, array in (self.student or {}).items()}
        return student | {
            f"{_STATE}{number}.{name}": array
            for number, weights in enumerate(self.weights, 1)
            for name, array in weights.items()
        }

    def load(self, state: Arrays) -> None:
        """Takes back what `state` gave. Raises KeyError or ValueError where arrays do not fit."""
        kept, shapes = kept_members(state), parameter_shapes(self._model, len(self._vocabulary))
        student = {name.removeprefix(_STUDENT): array for name, array in state.items() if name.startswith(_STUDENT)}
        for weights in [*kept, student] if student else kept:
            if {name: array.shape for name, array in weights.items()} != shapes:
                raise ValueError("the arrays of a member are not those of the model")
        self.weights, self._losses = list(kept), [None] * len(kept)
        self.student = student or None


def kept_members(state: Arrays) -> list[Arrays]:
    """Returns the members' weights in the state of a `last` checkpoint."""
    names = [name.split(".", 2)[1:] for name in state if name.startswith(_STATE)]
    numbers = sorted({int(number) for number, _ in names})
    return [
        {name: state[f"{_STATE}{number}.{name}"] for each, name in names if int(each) == number} for number in numbers
    ]


def mean_nats(losses: Sequence[Losses]) -> float:
    """Returns the mean of -ln of the average of exp(-loss), over what each of several models makes of N characters."""
    total, size = 0.0, len(losses[0])
    for start in range(0, size, _PIECE):
        likely = np.stack([-each[start : start + _PIECE].astype(np.float64) for each in losses])
        total -= float((np.logaddexp.reduce(likely) - math.log(len(losses))).sum())
    return total / size
