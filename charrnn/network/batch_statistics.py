"""The statistics of a batch, by which a step of training normalises, and the running ones that they are gathered into.

    step       (z - m_t) / sqrt(v_t + 1e-5), m_t and v_t the mean and the variance of the lanes' B numbers at step t
    running    m <- m + s (mean_t m_t - m),  v <- v + s (mean_t v_t B / (B - 1) - v),  s = max(1/100, 1 / updates)

(Ioffe & Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2: v_t is what the numbers have, and what the running one is
made of does not underestimate the variance of the text's, which with few lanes v_t does by a good part.) With s
the first hundred updates count alike, so that the values that a model begins with are gone after the first, and later
ones are forgotten by a hundredth a step: an update's statistics are means over a whole window, which need little
averaging, and weights that learn should not be normalised by what they were long ago.

A `Measured` is to running statistics what `deferred_gradient.Factor` is to a matrix: it stands in the place of the
array, and the cell does not know.

Shape letters: T window, B lanes, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cells.arrays import EPSILON
from charrnn.cells.parameters import is_statistic

_COUNT = "measured"
_LEAST = 0.01


class Measured:
    """Stands in the place of one product's statistics for one window, and measures them."""

    def __init__(self) -> None:
        self._means: list[Tensor] = []
        self._inverses: list[Tensor] = []  # of deviations
        self._lanes = 0

    def normalise(self, x: Tensor, gain: Tensor) -> Tensor:
        """Normalises `x` (B, R) of one step by its lanes' mean and deviation, times `gain` (R,), and remembers both.

        The result has the type of the gain: under autocast products are narrower than their statistics may be.
        """
        normal, mean, inverse = torch.native_batch_norm(x.to(gain.dtype), gain, None, None, None, True, 0.0, EPSILON)
        self._lanes = len(x)
        self._means.append(mean.detach())
        self._inverses.append(inverse.detach())
        return normal

    def statistics(self) -> Tensor:
        """Returns mean and variance (2, R) over all steps."""
        variances = torch.stack(self._inverses).square().reciprocal() - EPSILON
        return torch.stack((torch.stack(self._means).mean(0), variances.mean(0) * (self._lanes / (self._lanes - 1))))


class Running:
    """The running statistics among a model's arrays. There may be none."""

    def __init__(self, arrays: Mapping[str, Tensor], device: torch.device) -> None:
        self.arrays = {name: array for name, array in arrays.items() if is_statistic(name)}
        """By their names in the layout."""
        self._updates = torch.zeros((), device=device)

    @torch.no_grad()
    def update(self, measured: Sequence[Mapping[str, Measured]], is_bad: Tensor) -> None:
        """Takes in the statistics of a step, of each layer by their names there, unless the step was bad."""
        if not self.arrays:
            return
        self._updates.add_((~is_bad).float())
        share = self._updates.clamp(min=1.0).reciprocal().clamp(min=_LEAST)
        for number, layer in enumerate(measured, start=1):
            for name, each in layer.items():
                running = self.arrays[f"layers.{number}.{name}"]
                running.copy_(torch.where(is_bad, running, running.lerp(each.statistics(), share)))

    def tensors(self) -> list[Tensor]:
        """Returns every tensor that `update` changes."""
        return [*self.arrays.values(), self._updates] if self.arrays else []

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns what there is to save beside the model's arrays."""
        return {_COUNT: self._updates.cpu().numpy().reshape(1)} if self.arrays else {}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes back what `state` gave. Raises KeyError or ValueError where it is not there."""
        if self.arrays:
            self._updates.fill_(state[_COUNT].item())
