"""Hessian-free optimisation: each step minimises a quadratic model of the loss, by conjugate gradients.

    q(d) = f(w) + g^T d + d^T G d / 2                        G the Gauss-Newton matrix, of some of the lanes
    d    = argmin q(d) + lambda |d|^2 / 2 + mu lambda D(d)   D the change of the states, structural damping
    M    = diag(G + lambda)^0.75                             preconditions the search, which begins from 0.95 times
                                                             the last one's end
    lambda <- 3/2 lambda where rho < 1/4,  2/3 lambda where rho > 3/4,     rho = (f(w + d) - f(w)) / (q(d) - q(0))

Of the iterates on the way to d the latest is taken before which the loss does not get lower, going backwards, and then
a line search shortens it until f(w + a d) <= f(w) + 0.01 a g^T d; where none does, the weights stay.

Martens 2010, "Deep learning via Hessian-free optimization"; Martens & Sutskever 2011, "Learning recurrent neural
networks with Hessian-free optimization", section 3.2 for structural damping; Sutskever, Martens & Hinton 2011,
"Generating text with recurrent neural networks", trained the first recurrent network of characters so. As in Martens'
own code rho is without damping. The diagonal of G takes the place of his sum of squared gradients (`curvature.py`).

Shape letters: N weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.conjugate_gradients import Iterate, minimise
from charrnn.training.optimizers.rule import Arrays, Group, Objective, Optimizer, Rule, Scalars, zeros

_DECAY = 0.95
_POWER = 0.75
_SAMPLES = 4  # of random signs for the diagonal
_LEAST_GAIN = 1e-2
_SHORTER, _SHORTENINGS = 0.8, 60
_LOW, _HIGH = 0.25, 0.75
_MORE, _LESS = 3 / 2, 2 / 3
_LEAST_DAMPING, _MOST_DAMPING = 1e-10, 1e10


class Trial(NamedTuple):
    """A change of the weights that was tried, and the loss with it."""

    change: Tensor
    loss: float


def next_damping(damping: float, ratio: float) -> float:
    """Returns lambda for the next step after a step that reduced the loss `ratio` times as much as the model said.

    A ratio that is not a number counts as a bad one.
    """
    if ratio > _HIGH:
        damping *= _LESS
    elif not ratio >= _LOW:
        damping *= _MORE
    return min(max(damping, _LEAST_DAMPING), _MOST_DAMPING)


def _update(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    objective = now.objective
    assert objective is not None, "a step needs more than a gradient"
    lambdas, directions = arrays.state["damping"], arrays.state["direction"]
    damping = float(lambdas[0])
    gradient, place = _flat(arrays.gradients), _Place(arrays.weights)
    before = objective.loss()
    curvature = objective.curvature(arrays.weights, now.turn)
    structural = config.structural_damping * damping

    def product(vector: Tensor) -> Tensor:
        return curvature.product(vector, structural).add_(vector, alpha=damping)

    preconditioner = (curvature.diagonal(now.turn, _SAMPLES) + damping) ** _POWER
    start = _DECAY * _flat(directions)
    found = minimise(product, -gradient, start, preconditioner, config.cg_steps)
    tried = _backtracked(found, objective, place)
    slope = float(gradient @ tried.change)
    predicted = slope + 0.5 * float(tried.change @ curvature.product(tried.change))
    ratio = (tried.loss - before) / predicted if predicted < 0.0 else -math.inf
    rate = float(now.rate)
    if rate != 1.0 or not (slope < 0.0 and tried.loss <= before + _LEAST_GAIN * slope):
        shorter = rate if rate != 1.0 else _SHORTER  # than what was tried already
        rate = _line_search(objective, place, tried.change, before, slope, shorter)
    place.move(tried.change, rate)
    for array in lambdas:
        array.fill_(next_damping(damping, ratio))
    place.copy(found[-1].x, directions)


def _backtracked(found: list[Iterate], objective: Objective, place: _Place) -> Trial:
    """Returns the latest iterate before which the loss is not lower, going backwards from the last one."""
    best = Trial(found[-1].x, _tried(objective, place, found[-1].x, 1.0))
    for iterate in reversed(found[:-1]):
        loss = _tried(objective, place, iterate.x, 1.0)
        if math.isfinite(best.loss) and not loss < best.loss:
            break
        best = Trial(iterate.x, loss)
    return best


def _line_search(
    objective: Objective, place: _Place, change: Tensor, before: float, slope: float, rate: float
) -> float:
    """Returns the first length from `rate` on, each 0.8 times the one before, that gains enough; 0 where none does."""
    if not slope < 0.0:
        return 0.0
    for _ in range(_SHORTENINGS):
        if _tried(objective, place, change, rate) <= before + _LEAST_GAIN * rate * slope:
            return rate
        rate *= _SHORTER
    return 0.0


def _tried(objective: Objective, place: _Place, change: Tensor, rate: float) -> float:
    """Returns the loss with the weights changed by `rate` times `change`, and changes them back."""
    place.move(change, rate)
    loss = objective.loss()
    place.move_back()
    return loss


class _Place:
    """Where the weights were when the step began, and moves from there."""

    def __init__(self, weights: list[Tensor]) -> None:
        # Autograd would count moves, and no longer differentiate a pass made before them, though they are taken back.
        self._weights = [array.data for array in weights]
        self._before = [array.detach().clone() for array in weights]

    def move(self, change: Tensor, rate: float) -> None:
        """Sets the weights to those before plus `rate` times a flat `change` (N,)."""
        self.move_back()
        if rate:
            torch._foreach_add_(self._weights, self._shaped(change), alpha=rate)

    def move_back(self) -> None:
        """Sets the weights to those before."""
        torch._foreach_copy_(self._weights, self._before)

    def copy(self, vector: Tensor, arrays: list[Tensor]) -> None:
        """Copies a flat vector (N,) to arrays of the weights' shapes."""
        torch._foreach_copy_(arrays, self._shaped(vector))

    def _shaped(self, vector: Tensor) -> list[Tensor]:
        parts = torch.split(vector, [array.numel() for array in self._before])
        return [part.view_as(array) for part, array in zip(parts, self._before, strict=True)]


def _flat(arrays: list[Tensor]) -> Tensor:
    return torch.cat([array.detach().flatten() for array in arrays])


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], _is_narrow: bool) -> list[Group]:
    """All arrays in one group: a search is over all of them."""

    def damping(array: Tensor) -> Tensor:
        return torch.full((), config.damping, device=array.device)

    return [Group(list(arrays), Rule(_update, {**zeros("direction"), "damping": damping}))]


OPTIMIZER = Optimizer(_groups, kept=1)
