"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2), cautious if asked for.

    m_t = beta1 m_{t-1} + (1 - beta1) g_t
    v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
    u_t = (m_t / (1 - beta1^t)) / (sqrt(v_t / (1 - beta2^t)) + epsilon)
    w_t = (1 - gamma lambda) w_{t-1} - gamma phi_t u_t

phi_t is 1; a cautious update (Liang et al. 2024, arXiv 2411.16085, algorithm 1) leaves out what would move against the
gradient: phi_t is 0 where m_t g_t <= 0, and elsewhere one over the share of numbers that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from charrnn.native import window
from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers.rule import (
    EPSILON,
    Group,
    Optimizer,
    Rule,
    Scalars,
    Update,
    add,
    bounded,
    by_decay,
    move,
    move_to_squares,
    zeros,
)

State = Mapping[str, list[Tensor]]
_LEAST_LEFT = 1e-3


def rule(config: TrainingConfig) -> Rule:
    """The rule with the settings of `config`."""
    return Rule(
        partial(_update, config=config),
        zeros("exp_avg", "exp_avg_sq"),
        on_cpu=partial(_find_compiled, config=config),
        on_device=None if config.cautious else partial(_update_by_torch, config=config),
    )


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: State,
    scalars: Scalars,
    *,
    config: TrainingConfig,
) -> None:
    first, second, share = state["exp_avg"], state["exp_avg_sq"], scalars.share
    beta1, beta2 = config.beta1, config.beta2
    move(first, gradients, (1 - beta1) * share)
    move_to_squares(second, gradients, (1 - beta2) * share)
    changes = torch._foreach_div(second, 1 - beta2**scalars.step)
    torch._foreach_sqrt_(changes)
    torch._foreach_add_(changes, EPSILON)
    changes = torch._foreach_div(first, changes)
    if config.cautious:
        along = torch._foreach_mul(first, gradients)
        torch._foreach_sign_(along)
        torch._foreach_clamp_min_(along, 0.0)  # 1 where the momentum goes along with the gradient, else 0
        left = torch._foreach_norm(along, 1)
        torch._foreach_div_(left, [float(array.numel()) for array in along])
        torch._foreach_clamp_min_(left, _LEAST_LEFT)
        torch._foreach_div_(along, left)
        torch._foreach_mul_(changes, along)
    torch._foreach_mul_(weights, 1 - bounded(scalars.rate * scalars.weight_decay * share))
    add(weights, changes, -bounded(scalars.rate * share / (1 - beta1**scalars.step)))


def _find_compiled(*, config: TrainingConfig) -> Update | None:
    library = window.find_library()
    return library and partial(_update_compiled, library=library, config=config)


def _update_compiled(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: State,
    scalars: Scalars,
    *,
    library: window.Library,
    config: TrainingConfig,
) -> None:
    """By native/update.c, in two passes over memory."""
    beta1, beta2 = config.beta1, config.beta2
    for array, gradient, first, second in zip(weights, gradients, state["exp_avg"], state["exp_avg_sq"], strict=True):
        kept = gradient.contiguous()
        update = window.Update(
            size=array.numel(), weights=array.data_ptr(), gradient=kept.data_ptr(), first=first.data_ptr(),
            second=second.data_ptr(), learning_rate=scalars.rate, beta1=beta1, beta2=beta2, epsilon=EPSILON,
            weight_decay=scalars.weight_decay, first_correction=1 - beta1**scalars.step,
            second_correction=1 - beta2**scalars.step, is_cautious=config.cautious,
        )  # fmt: skip
        library.run(library.update, update, torch.get_num_threads())


def _update_by_torch(
    weights: list[Tensor], gradients: list[Tensor], state: State, scalars: Scalars, *, config: TrainingConfig
) -> None:
    """By torch's fused kernel, in one pass over memory."""
    rate, step, share = scalars.rate, scalars.step, scalars.share
    assert isinstance(rate, Tensor)
    assert isinstance(step, Tensor)
    assert isinstance(share, Tensor)
    torch._fused_adamw_(
        weights, gradients, state["exp_avg"], state["exp_avg_sq"], [], [step] * len(weights), lr=rate,
        beta1=config.beta1, beta2=config.beta2, weight_decay=scalars.weight_decay, eps=EPSILON, amsgrad=False,
        maximize=False, found_inf=1 - share,
    )  # fmt: skip


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], *, is_narrow: bool) -> list[Group]:
    return by_decay(config, arrays, rule(config))


OPTIMIZER = Optimizer(_groups, kept=2)
