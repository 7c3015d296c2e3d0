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

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.rule import EPSILON, Group, Number, Optimizer, Rule, Scalars, by_decay, zeros

_MOST = 1e18  # its square is a float32
_LEAST = 1e-37


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: Mapping[str, list[Tensor]],
    scalars: Scalars,
    *,
    config: TrainingConfig,
) -> None:
    """`weights` are y; the learning rate is warmed up by whoever gives it."""
    z, x, second, sums = (state[name] for name in ("z", "x", "exp_avg_sq", "weight_sum"))
    beta1, beta2, rate, share = config.beta1, config.beta2, scalars.rate, scalars.share
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
    torch._foreach_mul_(second, 1 - (1 - beta2) * share)
    torch._foreach_add_(second, torch._foreach_mul(torch._foreach_mul(gradients, gradients), (1 - beta2) * share))
    changes = torch._foreach_div(second, 1 - beta2**scalars.step)
    torch._foreach_sqrt_(changes)
    torch._foreach_add_(changes, EPSILON)
    changes = torch._foreach_div(gradients, changes)
    if scalars.weight_decay:
        torch._foreach_add_(changes, weights, alpha=min(scalars.weight_decay, _MOST))
    torch._foreach_sub_(z, torch._foreach_mul(changes, rate * share))
    torch._foreach_mul_(x, 1 - into_x)
    torch._foreach_add_(x, torch._foreach_mul(z, into_x))
    torch._foreach_copy_(weights, torch._foreach_lerp(x, z, 1 - beta1))


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], *, is_narrow: bool) -> list[Group]:
    """Before the first update x and z are the initial weights."""
    kept = {**zeros("exp_avg_sq"), "weight_sum": _zero, "z": _copy, "x": _copy}
    return by_decay(config, arrays, Rule(partial(_update, config=config), kept))


def _zero(weights: Tensor) -> Tensor:
    return torch.zeros((), device=weights.device)


def _copy(weights: Tensor) -> Tensor:
    return weights.detach().clone()


OPTIMIZER = Optimizer(_groups, kept=3, average="x")
