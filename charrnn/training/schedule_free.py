"""Schedule-free AdamW: an average in the place of a learning rate that falls.

    y_t = (1 - beta1) z_t + beta1 x_t                        where gradients g_t are taken: the weights in training
    v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
    z_{t+1} = z_t - gamma_t (g_t / (sqrt(v_t / (1 - beta2^t)) + epsilon) + lambda y_t)
    c_{t+1} = gamma_t^2 / sum_{i <= t} gamma_i^2
    x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}            what is validated and kept

(Defazio et al. 2024, arXiv 2405.15682, algorithm 1; there the correction of v for its first steps is a factor of
gamma_t, and so in c too, here it stands where Adam has it.) x is held beside y and z rather than computed from them, so
that it is a mean and nothing else.

Knows tensors. Refuses to know which weights decay, and the learning rate's warm-up: they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]

_MOST = 1e18  # its square is a float32
_LEAST = 1e-37


def first_state(weights: Tensor, device: torch.device | None) -> State:
    """Before the first update x, y and z are the initial weights; the two sums lie on `device`, or on the CPU."""
    return {
        "step": torch.zeros((), device=device),
        "weight_sum": torch.zeros((), device=device),
        "exp_avg_sq": torch.zeros_like(weights),
        "z": weights.detach().clone(),
        "x": weights.detach().clone(),
    }


def update(
    states: list[State],
    weights: list[Tensor],
    gradients: list[Tensor],
    *,
    rate: float | Tensor,
    betas: tuple[float, float],
    weight_decay: float,
    epsilon: float,
    share: float | Tensor,
) -> None:
    """One update of `weights`, which are y, and of their states.

    Where `rate` is a tensor nothing is asked of the host, and `share` is 1, or 0 for an update that changes nothing.
    """
    z, x, second, steps, sums = (
        [state[name] for state in states] for name in ("z", "x", "exp_avg_sq", "step", "weight_sum")
    )
    beta1, beta2 = betas
    correction: float | Tensor
    into_x: float | Tensor
    if isinstance(rate, Tensor):
        assert isinstance(share, Tensor)
        rate = rate.clamp(max=_MOST)
        weight = rate * rate * share
        # Without `alpha` torch would take a tensor for a number of the host, and ask the device for it.
        torch._foreach_add_(steps, share, alpha=1.0)
        torch._foreach_add_(sums, weight, alpha=1.0)
        # None were made where all were bad, and nothing is changed then.
        correction, into_x = 1 - beta2 ** steps[0].clamp(min=1), weight / sums[0].clamp(min=_LEAST)
    else:
        rate = min(rate, _MOST)
        torch._foreach_add_(steps, 1.0)
        torch._foreach_add_(sums, rate * rate)
        correction, into_x = 1 - beta2 ** float(steps[0]), min(1.0, rate * rate / max(float(sums[0]), _LEAST))
    torch._foreach_mul_(second, 1 - (1 - beta2) * share)
    torch._foreach_add_(second, torch._foreach_mul(torch._foreach_mul(gradients, gradients), (1 - beta2) * share))
    changes = torch._foreach_div(second, correction)
    torch._foreach_sqrt_(changes)
    torch._foreach_add_(changes, epsilon)
    changes = torch._foreach_div(gradients, changes)
    if weight_decay:
        torch._foreach_add_(changes, weights, alpha=min(weight_decay, _MOST))
    torch._foreach_sub_(z, torch._foreach_mul(changes, rate * share))
    torch._foreach_mul_(x, 1 - into_x)
    torch._foreach_add_(x, torch._foreach_mul(z, into_x))
    torch._foreach_copy_(weights, torch._foreach_lerp(x, z, 1 - beta1))
