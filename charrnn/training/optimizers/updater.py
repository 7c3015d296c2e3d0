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

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.optimizers.rule import LARGEST, Closure, Group, Number, Scalars

_PREFIX = "optimizer."
_STEP = "step"


class Updater:
    """Updates the arrays of a model that learn by the optimizer of a configuration."""

    def __init__(
        self,
        config: TrainingConfig,
        arrays: Mapping[str, Tensor],
        *,
        is_narrow: bool = False,
        asks_nothing: bool = False,
    ) -> None:
        """`is_narrow` lets matrix products be made of bfloat16 numbers; `asks_nothing` keeps all that a step reads on
        the arrays' device, so that it can be recorded as a graph.
        """
        optimizer = find_optimizer(config.optimizer)
        self._arrays, self._average, self._asks_nothing = arrays, optimizer.average, asks_nothing
        groups = optimizer.groups(config, arrays, is_narrow=is_narrow)
        self._parts = [_Part(group, arrays) for group in groups if group.names]
        device = next(iter(arrays.values())).device if asks_nothing else None
        self._step = torch.zeros((), device=device)
        self._rate: Number = torch.zeros((), device=device) if asks_nothing else 0.0
        self.set_rate(config.learning_rate)

    @property
    def period(self) -> int:
        """Updates are of this many kinds, which follow each other in turn."""
        return max(part.group.rule.period for part in self._parts)

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
        closure: Closure | None = None,
    ) -> None:
        """One update of every array from the gradients, which are in the arrays' order and finite.

        `turn` is the number of steps before this one. Where a step asks nothing, it changes nothing if `is_bad` is
        true. `closure` is for rules that need more than the gradient.
        """
        by_name = dict(zip(self._arrays, gradients, strict=True))
        share: Number = 1.0
        if self._asks_nothing:
            share = torch.ones_like(self._step) if is_bad is None else 1.0 - is_bad.float()
        _count(self._step, share)
        # None were made where all were bad, and nothing is changed then.
        made = self._step.clamp(min=1) if self._asks_nothing else float(self._step)
        for part in self._parts:
            group, rule = part.group, part.group.rule
            rate = self._rate if group.ratio == 1.0 else self._rate * group.ratio
            scalars = Scalars(rate, group.weight_decay, step=made, share=share, turn=turn, closure=closure)
            if self._asks_nothing:
                update = rule.on_device
            else:
                update = rule.on_cpu() if part.is_plain else None
            (update or rule.update)(part.weights, [by_name[name] for name in group.names], part.state, scalars)

    def averages(self) -> list[Tensor]:
        """The averages of the arrays that the optimizer keeps to be validated; none, where it keeps none."""
        kept = self._by_name()
        return [kept[f"{self._average}.{name}"] for name in self._arrays] if self._average else []

    def tensors(self) -> list[Tensor]:
        """Every tensor that an update changes, but for the arrays themselves."""
        return list(self._by_name().values())

    def _by_name(self) -> dict[str, Tensor]:
        kept = {
            f"{what}.{name}": value
            for part in self._parts
            for what, values in part.state.items()
            for name, value in zip(part.group.names, values, strict=True)
        }
        return {_STEP: self._step, **kept}

    def to_numpy(self) -> dict[str, npt.NDArray[Any]]:
        """The state: `optimizer.<what>.<parameter>` as the parameter is shaped, and `optimizer.step` ()."""
        return {f"{_PREFIX}{name}": value.cpu().numpy() for name, value in self._by_name().items()}

    @torch.no_grad()
    def load(self, saved: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of `to_numpy`. Tensors stay where they are: a graph may know them. Raises KeyError or ValueError
        where arrays do not fit.
        """
        for name, value in self._by_name().items():
            array = saved[f"{_PREFIX}{name}"]
            if array.shape != tuple(value.shape):
                raise ValueError(f"optimizer.{name} has the shape {array.shape}, not {tuple(value.shape)}")
            value.copy_(torch.from_numpy(np.array(array)))


class _Part:
    """The arrays of a group, their state, and whether compiled code can update them."""

    def __init__(self, group: Group, arrays: Mapping[str, Tensor]) -> None:
        self.group = group
        self.weights = [arrays[name] for name in group.names]
        self.state = {what: [first(array) for array in self.weights] for what, first in group.rule.state.items()}
        self.is_plain = all(
            array.device.type == "cpu" and array.dtype == torch.float32 and array.is_contiguous()
            for array in self.weights
        )


def _count(step: Tensor, share: Number) -> None:
    step += share
