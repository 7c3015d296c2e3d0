"""Optimizers over named parameters, and their state as named arrays.

Knows torch.optim and the names of `cells/parameters.py`. Refuses to know the schedule: the learning rate is set from
outside at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from charrnn.config import TrainingConfig

_PREFIX = "optimizer."


def make_optimizer(config: TrainingConfig, arrays: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of `config`; weight decay acts on matrices, biases are spared.

    adamw: Loshchilov & Hutter 2019 (arXiv 1711.05101, algorithm 2). rmsprop: Hinton's lecture 6e with momentum.
    The fused kernels do a whole update in one pass over memory.
    """
    matrices = [array for array in arrays.values() if array.dim() > 1]
    vectors = [array for array in arrays.values() if array.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return torch.optim.RMSprop(groups, lr=config.learning_rate, alpha=config.beta2, momentum=config.momentum)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_arrays(
    optimizer: torch.optim.Optimizer, arrays: Mapping[str, nn.Parameter]
) -> dict[str, npt.NDArray[Any]]:
    """The optimizer's state as `optimizer.<what>.<parameter>` -> array; empty before the first step."""
    return {
        f"{_PREFIX}{what}.{name}": np.asarray(torch.as_tensor(value).detach().cpu().numpy(), np.float32)
        for name, parameter in arrays.items()
        for what, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_arrays(
    optimizer: torch.optim.Optimizer,
    arrays: Mapping[str, nn.Parameter],
    saved: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Restores what `optimizer_arrays` gave."""
    optimizer.state.clear()
    is_fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in arrays.items():
        state: dict[str, Any] = {}
        for key, array in saved.items():
            what, _, owner = key.removeprefix(_PREFIX).partition(".")
            if key.startswith(_PREFIX) and owner == name:
                # The count of steps stays on the CPU unless the fused kernel reads it on the device.
                device = parameter.device if what != "step" or is_fused else torch.device("cpu")
                state[what] = torch.from_numpy(np.array(array)).to(device)
        if state:
            optimizer.state[parameter] = state
