"""Stochastic gradient descent, with momentum if asked for.

b_t = mu b_{t-1} + g_t + lambda w_{t-1}
w_t = w_{t-1} - gamma b_t
"""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.rule import Arrays, Rule, Scalars, by_rule, zeros


def _update(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    """By torch's fused kernel, which takes the rate from the host or the device."""
    torch._fused_sgd_(
        arrays.weights, arrays.gradients, arrays.state.get("momentum_buffer", []), weight_decay=now.weight_decay,
        momentum=config.momentum, lr=now.rate, dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
        found_inf=1 - now.share if isinstance(now.share, Tensor) else None,
    )  # fmt: skip


def _rule(config: TrainingConfig) -> Rule:
    return Rule(_update, zeros("momentum_buffer") if config.momentum else {})


OPTIMIZER = by_rule(_rule, kept=1)
