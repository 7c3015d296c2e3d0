"""One optimizer at work on the arrays of a model: their state, and where its rules run.

A rule runs in compiled code where the host makes the step and there is such code, in a kernel of torch's own where the
device makes it and there is one, and as it is written out otherwise. It is the same update each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.native import window
from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.arithmetic import LARGEST, Number
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.optimizers.rule import Arrays, Objective, Scalars

_PREFIX = "optimizer."


class Updater:
    """Updates the arrays of a model that learn by the optimizer of a configuration."""

    def __init__(
        self,
        config: TrainingConfig,
        arrays: Mapping[str, Tensor],
        *,
        is_narrow: bool = False,
        on_device: bool = False,
    ) -> None:
        """`is_narrow` lets matrix products be made of bfloat16 numbers; `on_device` keeps all that a step reads on
        the arrays' device: it asks the host for nothing, and can be recorded as a graph.
        """
        self._config, self._arrays, self._on_device = config, arrays, on_device
        optimizer = find_optimizer(config.optimizer)
        self._groups = [group for group in optimizer.groups(config, arrays, is_narrow) if group.names]
        self._state = [
            {what: [first(arrays[name].detach()) for name in group.names] for what, first in group.rule.state.items()}
            for group in self._groups
        ]
        device = next(iter(arrays.values())).device if on_device else None
        self._step = torch.zeros((), device=device)
        self._rate: Number = torch.zeros((), device=device) if on_device else 0.0
        self.set_rate(config.learning_rate)
        # By the names in a checkpoint.
        self._kept = {f"{_PREFIX}step": self._step} | {
            f"{_PREFIX}{what}.{name}": array
            for group, state in zip(self._groups, self._state, strict=True)
            for what, arrays in state.items()
            for name, array in zip(group.names, arrays, strict=True)
        }
        self.averages = [self._kept[f"{_PREFIX}{optimizer.average}.{name}"] for name in arrays if optimizer.average]
        """The averages of the arrays that the optimizer keeps to be validated; none, where it keeps none."""
        self.period = max(group.rule.period for group in self._groups)
        """Updates are of this many kinds, which follow each other in turn."""
        self._can_compile = not on_device and all(
            array.device.type == "cpu" and array.dtype == torch.float32 and array.is_contiguous()
            for array in arrays.values()
        )

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of the steps to come; a recorded step reads the tensor that is filled here."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(min(rate, LARGEST))
        else:
            self._rate = min(rate, LARGEST)

    @torch.no_grad()
    def step(
        self,
        gradients: Sequence[Tensor],
        turn: int,
        *,
        is_bad: Tensor | None = None,
        objective: Objective | None = None,
    ) -> None:
        """One update of every array from the gradients, which are in the arrays' order and finite.

        `turn` is the number of steps before this one. A step on the device changes nothing if `is_bad` is true.
        `objective` is for rules that need more than the gradient.
        """
        share: Number = 1.0
        if self._on_device:
            share = torch.ones_like(self._step) if is_bad is None else 1.0 - is_bad.float()
        _count(self._step, share)
        # None were made where all were bad, and nothing is changed then.
        made = self._step.clamp(min=1) if self._on_device else float(self._step)
        by_name = dict(zip(self._arrays, gradients, strict=True))
        library = window.find_library() if self._can_compile else None
        for group, state in zip(self._groups, self._state, strict=True):
            names, rule = group.names, group.rule
            arrays = Arrays([self._arrays[name] for name in names], [by_name[name] for name in names], state)
            rate = self._rate if group.ratio == 1.0 else self._rate * group.ratio
            now = Scalars(rate, group.weight_decay, made, share, turn, objective)
            if library is not None and rule.compiled is not None:
                rule.compiled(library, self._config, arrays, now)
            else:
                update = rule.fused if self._on_device and rule.fused else rule.update
                update(self._config, arrays, now)

    def tensors(self) -> list[Tensor]:
        """Every tensor that an update changes, but for the arrays themselves."""
        return list(self._kept.values())

    def to_numpy(self) -> dict[str, npt.NDArray[Any]]:
        """The state: `optimizer.<what>.<parameter>` as the parameter is shaped, and `optimizer.step` ()."""
        return {name: array.cpu().numpy() for name, array in self._kept.items()}

    def load(self, saved: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of `to_numpy`. Tensors stay where they are: a graph may know them. Raises KeyError or ValueError
        where arrays do not fit.
        """
        for name, array in self._kept.items():
            if saved[name].shape != tuple(array.shape):
                raise ValueError(f"{name} has the shape {saved[name].shape}, not {tuple(array.shape)}")
            array.copy_(torch.from_numpy(np.array(saved[name])))


def _count(step: Tensor, share: Number) -> None:
    step += share
