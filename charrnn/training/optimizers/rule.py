"""What an optimizer is made of: groups of named arrays, and the rule that updates the arrays of a group.

A rule is a function of arrays and numbers. The numbers are Python's where the host makes the step, and tensors of the
device where a step must ask the host for nothing; what is in `arithmetic.py` takes both, so that a rule is written
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from charrnn.native.window import Library
from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.arithmetic import Number
from charrnn.training.optimizers.curvature import GaussNewton


class Objective(Protocol):
    """The loss of a step's window with the weights as they are, for rules that need more than its gradient."""

    def loss(self) -> float:
        """Returns what the gradient is the gradient of, computed anew."""

    def curvature(self, weights: list[Tensor], turn: int) -> GaussNewton:
        """Returns the loss's curvature by `weights`, of some of the window's lanes; others with each `turn`."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """What an update changes, and the gradients that it goes by, which are finite."""

    weights: list[Tensor]
    gradients: list[Tensor]
    state: Mapping[str, list[Tensor]]


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
    objective: Objective | None
    """For rules that need more than the gradient, where the caller offers it."""


Update = Callable[[TrainingConfig, Arrays, Scalars], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One update rule, and the arrays that it keeps."""

    update: Update
    state: Mapping[str, Callable[[Tensor], Tensor]]
    """By name, what makes the first array kept for a parameter of the parameter."""
    period: int = 1
    """Updates are of this many kinds, which follow each other in turn."""
    compiled: Callable[[Library, TrainingConfig, Arrays, Scalars], None] | None = None
    """The same update by compiled code, for contiguous float32 arrays on a CPU."""
    fused: Update | None = None
    """The same update by a kernel of torch's own that asks the host for nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Arrays that are updated by one rule with the same numbers."""

    names: list[str]
    rule: Rule
    weight_decay: float = 0.0
    ratio: float = 1.0
    """Its learning rate as a share of the optimizer's."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """All that is known about an optimizer; each file of a rule defines one as OPTIMIZER."""

    groups: Callable[[TrainingConfig, Mapping[str, Tensor], bool], list[Group]]
    """Splits the arrays that learn; the last argument lets matrix products be made of bfloat16 numbers."""
    kept: int
    """Arrays of a weight's size that it keeps for each weight."""
    average: str | None = None
    """Which of them is an average of the weights that is to be validated in their place."""


def by_rule(rule: Callable[[TrainingConfig], Rule], *, kept: int, average: str | None = None) -> Optimizer:
    """The optimizer that updates all arrays by one rule."""
    return Optimizer(lambda config, arrays, _: by_decay(config, arrays, rule(config)), kept, average)


def by_decay(config: TrainingConfig, arrays: Mapping[str, Tensor], rule: Rule, ratio: float = 1.0) -> list[Group]:
    """Two groups: what decays, and what is spared: biases, and angles, of which a smaller one is not a simpler one."""
    spared = [name for name, array in arrays.items() if array.dim() <= 1 or name.endswith("skew_hh")]
    decayed = [name for name in arrays if name not in spared]
    return [Group(decayed, rule, config.weight_decay, ratio), Group(spared, rule, 0.0, ratio)]


def zeros(*names: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """The state of a rule that keeps these arrays, zero at first."""
    return dict.fromkeys(names, torch.zeros_like)
