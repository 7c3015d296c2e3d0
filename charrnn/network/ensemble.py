"""An ensemble in torch: several models of one configuration, read as one whose probabilities are their mean.

It is used where a `CharacterModel` is scored or stepped. Its state is that of all members' layers, one member after the
other. A loss of its logits is that of the mean, so that its gradients are those of the whole.

Shape letters: K members, T time, B lanes, L layers, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.cells.members import count_members, joined, parted
from charrnn.network.layers import StackState
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig


class Ensemble(nn.Module):
    """A distribution over the next character, the mean of those of the members."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, members: int, end: int | None = None) -> None:
        super().__init__()
        self.end, self.config, self.vocabulary_size = end, config, vocabulary_size
        self.members = [CharacterModel(config, vocabulary_size, end) for _ in range(members)]
        self._modules_of_members = nn.ModuleList(self.members)

    @property
    def embedding(self) -> Tensor:
        """An array of the model, which tells its device."""
        return self.members[0].embedding

    @property
    def is_compiled(self) -> bool:
        """Whether compiled code makes its products outside training."""
        return self.members[0].is_compiled

    def arrays(self) -> dict[str, nn.Parameter]:
        """Returns every parameter under the name that it has in an ensemble."""
        return dict(joined([member.arrays() for member in self.members]))

    def load_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes over the values of `arrays`, those of an ensemble."""
        for member, own in zip(self.members, parted(arrays, len(self.members)), strict=True):
            member.load_arrays(own)

    def zero_state(self, lanes: int) -> StackState:
        """Returns the state before the first character, of K L layers."""
        return tuple(layer for member in self.members for layer in member.zero_state(lanes))

    def forward(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """Reads `ids` (T, B): returns the logits of each one's successor (T, B, V), which are the logarithms of the
        averaged probabilities, and the state after the window."""
        total: Tensor | None = None
        after: list[Any] = []
        size = len(state) // len(self.members)
        for number, member in enumerate(self.members):
            logits, new = member(ids, state[number * size : (number + 1) * size])
            likely = logits.float().log_softmax(-1)
            total = likely if total is None else torch.logaddexp(total, likely)
            after += new
        assert total is not None
        return total - math.log(len(self.members)), tuple(after)


def make_model(
    config: ModelConfig, arrays: Mapping[str, npt.NDArray[Any]], vocabulary_size: int, end: int | None = None
) -> CharacterModel | Ensemble:
    """Returns the model of these arrays, which may be an ensemble's, with a copy of them."""
    members = count_members(arrays)
    model: CharacterModel | Ensemble = (
        CharacterModel(config, vocabulary_size, end)
        if members == 1
        else Ensemble(config, vocabulary_size, members, end)
    )
    model.load_arrays(arrays)
    return model
