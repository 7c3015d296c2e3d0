"""What an optimizer is made of: groups of named arrays, and the rule that updates the arrays of a group.

A rule is a function over lists of tensors. The numbers that it is given (`Scalars`) are Python's where the host makes
the step, and tensors of the device where a step must ask the host for nothing; `add`, `move` and `move_to_squares`
take both, so that a rule is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig

Number = float | Tensor
Tensors = list[Tensor] | tuple[Tensor, ...]
Closure = Callable[[], Tensor]
"""Computes the loss of the step's window anew, with what autograd needs for products with its curvature."""

LARGEST = 1e38
"""torch refuses factors beyond a float32; a run that diverges is told so elsewhere."""
EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Scalars:
    """The numbers of one update of a group."""

    rate: Number
    """Learning rate."""
    weight_decay: float
    step: Number
    """Number of this update, counted from 1."""
    share: Number
    """1; on the device it is 0 for an update that changes nothing, because its gradient was not finite."""
    turn: int
    """Number of steps before this one, those that changed nothing included."""
    closure: Closure | None = None
    """For rules that need more than the gradient, where the caller offers it."""


class Update(Protocol):
    """Updates weights and state in place from gradients, which are finite; `state` has a list for each name."""

    def __call__(
        self, weights: list[Tensor], gradients: list[Tensor], state: Mapping[str, list[Tensor]], scalars: Scalars
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One update rule, with its settings bound."""

    update: Update
    state: Mapping[str, Callable[[Tensor], Tensor]]
    """The arrays that are kept for each parameter, by name, with what makes the first one of the parameter."""
    period: int = 1
    """Updates are of this many kinds, which follow each other in turn."""
    on_cpu: Callable[[], Update | None] = lambda: None
    """Finds the same update made by compiled code for contiguous float32 arrays on a CPU, where it can run."""
    on_device: Update | None = None
    """The same update made by a kernel of torch's own that asks the host for nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Arrays that are updated by one rule with the same numbers."""

    names: list[str]
    rule: Rule
    weight_decay: float = 0.0
    ratio: float = 1.0
    """Its learning rate as a share of the optimizer's."""


class Grouping(Protocol):
    """Splits the arrays that learn into groups. `is_narrow` lets matrix products be made of bfloat16 numbers."""

    def __call__(self, config: TrainingConfig, arrays: Mapping[str, Tensor], *, is_narrow: bool) -> list[Group]: ...


@dataclass(frozen=True, slots=True)
class Optimizer:
    """All that is known about an optimizer; each file of a rule defines one as OPTIMIZER."""

    groups: Grouping
    kept: int
    """Arrays of a weight's size that it keeps for each weight."""
    average: str | None = None
    """Which of them is an average of the weights that is to be validated in their place."""


def by_decay(config: TrainingConfig, arrays: Mapping[str, Tensor], rule: Rule) -> list[Group]:
    """Two groups: matrices, which decay, and what is spared."""
    spared = {name for name, array in arrays.items() if is_spared(name, array)}
    return [
        Group([name for name in arrays if name not in spared], rule, config.weight_decay),
        Group([name for name in arrays if name in spared], rule),
    ]


def is_spared(name: str, array: Tensor) -> bool:
    """Whether weight decay spares an array: biases, and angles, of which a smaller one is not a simpler one."""
    return array.dim() <= 1 or name.endswith("skew_hh")


def zeros(*names: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """The state of a rule that keeps these arrays, zero at first."""
    return dict.fromkeys(names, torch.zeros_like)


def bounded(number: Number) -> Number:
    """A number that torch takes as a factor; one on the device stays as it is."""
    return number if isinstance(number, Tensor) else min(number, LARGEST)


def add(arrays: Tensors, values: Tensors, times: Number) -> None:
    """Adds to each array its value times `times`."""
    if isinstance(times, Tensor):  # as `alpha`, torch would ask the device for the number
        torch._foreach_add_(arrays, torch._foreach_mul(values, times))
    else:
        torch._foreach_add_(arrays, values, alpha=times)


def move(averages: Tensors, values: Tensors, share: Number) -> None:
    """Each average moves by `share` of the way to its value."""
    if isinstance(share, Tensor):
        torch._foreach_mul_(averages, 1 - share)
        add(averages, values, share)
    else:
        torch._foreach_lerp_(averages, values, share)


def move_to_squares(averages: Tensors, values: Tensors, share: Number) -> None:
    """Each average moves by `share` of the way to the square of its value."""
    torch._foreach_mul_(averages, 1 - share)
    if isinstance(share, Tensor):
        add(averages, torch._foreach_mul(values, values), share)
    else:
        torch._foreach_addcmul_(averages, values, values, value=share)
