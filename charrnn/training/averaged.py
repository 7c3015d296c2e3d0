"""The averages of weights that are validated, sampled and kept in the place of the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig

_AVERAGE = "average."


class Averaged:
    """The averages of some weights; there are none where nothing asks for them."""

    def __init__(self, weights: Mapping[str, Tensor], training: TrainingConfig, others: Sequence[Tensor] = ()) -> None:
        """`others` are averages that somebody else keeps, in the order of the weights; they are exchanged likewise."""
        self._weights = weights
        is_averaged = training.average or training.average_after is not None or training.average_from is not None
        self._own = [array.detach().clone() for array in weights.values()] if is_averaged else []
        self._validated = self._own or others

    def move(self, share: float) -> None:
        """Moves the averages by `share` (0 to 1) of the way to the weights as they are."""
        if self._own and share:
            torch._foreach_lerp_(self._own, [array.detach() for array in self._weights.values()], share)

    @contextlib.contextmanager
    def exchanged(self) -> Iterator[None]:
        """Puts the averages in the place of the weights inside."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        # By value: a GPU's kernels want a layer's weights to stay side by side in memory.
        for array, average in zip(self._weights.values(), self._validated, strict=False):
            kept = array.clone()
            array.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the averages by name."""
        return {
            f"{_AVERAGE}{name}": average.cpu().numpy() for name, average in zip(self._weights, self._own, strict=False)
        }

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes back what `state` gave. Raises KeyError or ValueError where arrays do not fit."""
        for name, average in zip(self._weights, self._own, strict=False):
            average.copy_(like(state[f"{_AVERAGE}{name}"], average.shape))


def like(array: npt.NDArray[Any], shape: Sequence[int]) -> Tensor:
    """Returns a copy of an array as a tensor. Raises ValueError where it has another shape."""
    if array.shape != tuple(shape):
        raise ValueError(f"an array has the shape {array.shape}, not {tuple(shape)}")
    return torch.from_numpy(np.array(array))
