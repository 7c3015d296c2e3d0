"""RMSprop (Hinton 2012, Neural Networks for Machine Learning, lecture 6e), with momentum if asked for.

d_t = g_t + lambda w_{t-1}
v_t = beta2 v_{t-1} + (1 - config.beta2) d_t^2
b_t = mu b_{t-1} + d_t / (sqrt(v_t) + epsilon)
w_t = w_{t-1} - gamma b_t
"""

from __future__ import annotations

import torch

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.arithmetic import (
    EPSILON,
    LARGEST,
    Tensors,
    add,
    add_quotients,
    bounded,
    move_to_squares,
)
from charrnn.training.optimizers.rule import Arrays, Rule, Scalars, by_rule, zeros


def _update(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    second, rate = arrays.state["square_avg"], bounded(now.rate * now.share)
    directions: Tensors = arrays.gradients
    if now.weight_decay:
        directions = torch._foreach_add(directions, arrays.weights, alpha=min(now.weight_decay, LARGEST))
    move_to_squares(second, directions, (1 - config.beta2) * now.share)
    roots = torch._foreach_sqrt(second)
    torch._foreach_add_(roots, EPSILON)
    if config.momentum:
        changes = arrays.state["momentum_buffer"]
        torch._foreach_mul_(changes, 1 - (1 - config.momentum) * now.share)
        add_quotients(changes, directions, roots, now.share)
        add(arrays.weights, changes, -rate)
    else:
        add_quotients(arrays.weights, directions, roots, -rate)


def _rule(config: TrainingConfig) -> Rule:
    return Rule(_update, zeros("square_avg", *(["momentum_buffer"] if config.momentum else [])))


OPTIMIZER = by_rule(_rule, kept=2)
