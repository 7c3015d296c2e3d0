"""Stochastic gradient descent, with momentum if asked for.

b_t = mu b_{t-1} + g_t + lambda w_{t-1}
w_t = w_{t-1} - gamma b_t
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.rule import Group, Optimizer, Rule, Scalars, by_decay, zeros


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: Mapping[str, list[Tensor]],
    scalars: Scalars,
    *,
    config: TrainingConfig,
) -> None:
    """By torch's fused kernel, which takes the rate from the host or the device."""
    share = scalars.share
    torch._fused_sgd_(
        weights, gradients, state.get("momentum_buffer", []), weight_decay=scalars.weight_decay,
        momentum=config.momentum, lr=scalars.rate, dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
        found_inf=1 - share if isinstance(share, Tensor) else None,
    )  # fmt: skip


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], *, is_narrow: bool) -> list[Group]:
    kept = zeros("momentum_buffer") if config.momentum else {}
    return by_decay(config, arrays, Rule(partial(_update, config=config), kept))


OPTIMIZER = Optimizer(_groups, kept=1)
