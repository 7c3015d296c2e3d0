"""RMSprop (Hinton 2012, Neural Networks for Machine Learning, lecture 6e), with momentum if asked for.

d_t = g_t + lambda w_{t-1}
v_t = beta2 v_{t-1} + (1 - config.beta2) d_t^2
b_t = mu b_{t-1} + d_t / (sqrt(v_t) + epsilon)
w_t = w_{t-1} - gamma b_t
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.rule import (
    EPSILON,
    LARGEST,
    Group,
    Optimizer,
    Rule,
    Scalars,
    add,
    bounded,
    by_decay,
    move_to_squares,
    zeros,
)


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: Mapping[str, list[Tensor]],
    scalars: Scalars,
    *,
    config: TrainingConfig,
) -> None:
    second, share, rate = state["square_avg"], scalars.share, bounded(scalars.rate * scalars.share)
    directions: list[Tensor] | tuple[Tensor, ...] = gradients
    if scalars.weight_decay:
        directions = torch._foreach_add(gradients, weights, alpha=min(scalars.weight_decay, LARGEST))
    move_to_squares(second, directions, (1 - config.beta2) * share)
    roots = torch._foreach_sqrt(second)
    torch._foreach_add_(roots, EPSILON)
    if config.momentum:
        changes = state["momentum_buffer"]
        torch._foreach_mul_(changes, 1 - (1 - config.momentum) * share)
        add(changes, torch._foreach_div(directions, roots), share)
        add(weights, changes, -rate)
    else:
        torch._foreach_add_(weights, torch._foreach_div(torch._foreach_mul(directions, -rate), roots))


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], *, is_narrow: bool) -> list[Group]:
    kept = zeros("square_avg", "momentum_buffer") if config.momentum else zeros("square_avg")
    rule = Rule(partial(_update, config=config), kept)
    return by_decay(config, arrays, rule)


OPTIMIZER = Optimizer(_groups, kept=2)
