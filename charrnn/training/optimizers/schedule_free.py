"""Schedule-free AdamW: an average in the place of a learning rate that falls.

    y_t = (1 - beta1) z_t + beta1 x_t                        where gradients g_t are taken: the weights in training
    v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
    z_{t+1} = z_t - gamma_t (g_t / (sqrt(v_t / (1 - beta2^t)) + epsilon) + lambda y_t)
    c_{t+1} = gamma_t^2 / sum_{i <= t} gamma_i^2
    x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}            what is validated and kept

(Defazio et al. 2024, arXiv 2405.15682, algorithm 1; there the correction of v for its first steps is a factor of
gamma_t, and so in c too, here it stands where Adam has it.) x is held beside y and z rather than computed from them, so
that it is a mean and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.arithmetic import EPSILON, Number
from charrnn.training.optimizers.rule import Arrays, Rule, Scalars, by_rule, zeros

_MOST = 1e18  # its square is a float32
_LEAST = 1e-37


def _update(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    """The weights are y; the learning rate is warmed up by whoever gives it."""
    z, x, second, sums = (arrays.state[name] for name in ("z", "x", "exp_avg_sq", "weight_sum"))
    rate, share = now.rate, now.share
    into_x: Number
    if isinstance(rate, Tensor):
        rate = rate.clamp(max=_MOST)
        weight = rate * rate * share
        # Without `alpha` torch would take a tensor for a number of the host, and ask the device for it.
        torch._foreach_add_(sums, weight, alpha=1.0)
        into_x = weight / sums[0].clamp(min=_LEAST)
    else:
        rate = min(rate, _MOST)
        torch._foreach_add_(sums, rate * rate)
        into_x = min(1.0, rate * rate / max(float(sums[0]), _LEAST))
    torch._foreach_mul_(second, 1 - (1 - config.beta2) * share)
    squares = torch._foreach_mul(arrays.gradients, arrays.gradients)
    torch._foreach_add_(second, torch._foreach_mul(squares, (1 - config.beta2) * share))
    changes = torch._foreach_div(second, 1 - config.beta2**now.step)
    torch._foreach_sqrt_(changes)
    torch._foreach_add_(changes, EPSILON)
    changes = torch._foreach_div(arrays.gradients, changes)
    if now.weight_decay:
        torch._foreach_add_(changes, arrays.weights, alpha=min(now.weight_decay, _MOST))
    torch._foreach_sub_(z, torch._foreach_mul(changes, rate * share))
    torch._foreach_mul_(x, 1 - into_x)
    torch._foreach_add_(x, torch._foreach_mul(z, into_x))
    torch._foreach_copy_(arrays.weights, torch._foreach_lerp(x, z, 1 - config.beta1))


def _rule(_config: TrainingConfig) -> Rule:
    """Before the first update x and z are the initial weights."""
    return Rule(_update, {**zeros("exp_avg_sq"), "weight_sum": _zero, "z": torch.clone, "x": torch.clone})


def _zero(weights: Tensor) -> Tensor:
    return torch.zeros((), device=weights.device)


OPTIMIZER = by_rule(_rule, kept=3, average="x")
