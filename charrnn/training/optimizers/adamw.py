"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2), cautious if asked for.

    m_t = beta1 m_{t-1} + (1 - beta1) g_t
    v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
    u_t = (m_t / (1 - beta1^t)) / (sqrt(v_t / (1 - beta2^t)) + epsilon)
    w_t = (1 - gamma lambda) w_{t-1} - gamma phi_t u_t

phi_t is 1; a cautious update (Liang et al. 2024, arXiv 2411.16085, algorithm 1) leaves out what would move against the
gradient: phi_t is 0 where m_t g_t <= 0, and elsewhere one over the share of numbers that are left.
"""

from __future__ import annotations

import torch

from charrnn.native import window
from charrnn.native.crew import most_threads
from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.arithmetic import EPSILON, add, bounded, move, move_to_squares
from charrnn.training.optimizers.rule import Arrays, Rule, Scalars, by_rule, zeros

_LEAST_LEFT = 1e-3


def rule(config: TrainingConfig) -> Rule:
    """Returns the rule of AdamW with the settings of `config`."""
    state = zeros("exp_avg", "exp_avg_sq")
    return Rule(_update, state, compiled=_update_compiled, fused=None if config.cautious else _update_fused)


def _update(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    first, second, share = arrays.state["exp_avg"], arrays.state["exp_avg_sq"], now.share
    move(first, arrays.gradients, (1 - config.beta1) * share)
    move_to_squares(second, arrays.gradients, (1 - config.beta2) * share)
    changes = torch._foreach_div(second, 1 - config.beta2**now.step)
    torch._foreach_sqrt_(changes)
    torch._foreach_add_(changes, EPSILON)
    changes = torch._foreach_div(first, changes)
    if config.cautious:
        along = torch._foreach_mul(first, arrays.gradients)
        torch._foreach_sign_(along)
        torch._foreach_clamp_min_(along, 0.0)  # 1 where the momentum goes along with the gradient, else 0
        left = torch._foreach_norm(along, 1)
        torch._foreach_div_(left, [float(array.numel()) for array in along])
        torch._foreach_clamp_min_(left, _LEAST_LEFT)
        torch._foreach_div_(along, left)
        torch._foreach_mul_(changes, along)
    torch._foreach_mul_(arrays.weights, 1 - bounded(now.rate * now.weight_decay * share))
    add(arrays.weights, changes, -bounded(now.rate * share / (1 - config.beta1**now.step)))


def _update_compiled(library: window.Library, config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    """Updates the arrays by native/update.c, in two passes over memory."""
    moments = arrays.state["exp_avg"], arrays.state["exp_avg_sq"]
    for weights, gradient, first, second in zip(arrays.weights, arrays.gradients, *moments, strict=True):
        kept = gradient.contiguous()
        update = window.Update(
            size=weights.numel(), weights=weights.data_ptr(), gradient=kept.data_ptr(), first=first.data_ptr(),
            second=second.data_ptr(), learning_rate=now.rate, beta1=config.beta1, beta2=config.beta2, epsilon=EPSILON,
            weight_decay=now.weight_decay, first_correction=1 - config.beta1**now.step,
            second_correction=1 - config.beta2**now.step, is_cautious=config.cautious,
            most_threads=most_threads(),
        )  # fmt: skip
        library.update(update)


def _update_fused(config: TrainingConfig, arrays: Arrays, now: Scalars) -> None:
    """Updates the arrays by torch's fused kernel, in one pass over memory."""
    steps = [now.step] * len(arrays.weights)
    torch._fused_adamw_(
        arrays.weights, arrays.gradients, arrays.state["exp_avg"], arrays.state["exp_avg_sq"], [],
        steps, lr=now.rate, found_inf=1 - now.share,  # type: ignore[arg-type]
        beta1=config.beta1, beta2=config.beta2, weight_decay=now.weight_decay, eps=EPSILON, amsgrad=False,
        maximize=False,
    )  # fmt: skip


OPTIMIZER = by_rule(rule, kept=2)
