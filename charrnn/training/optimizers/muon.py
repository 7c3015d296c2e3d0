"""Muon (Jordan et al. 2024): the layers' matrices move along orthogonalised momentum, the other arrays by AdamW.

    m_t = 0.95 m_{t-1} + 0.05 g_t
    w_t = (1 - gamma lambda) w_{t-1} - gamma 0.2 sqrt(larger side) orthogonalised(0.95 m_t + 0.05 g_t)

The momentum of a matrix, a step ahead (Nesterov's), is replaced by the nearest (semi-)orthogonal matrix, found by a few
steps of a Newton-Schulz iteration. The scale makes a learning rate mean the same as Adam's (Liu et al. 2025, arXiv
2502.16982, eq. 4). Here the iteration is cheaper than it was published, at no loss that was seen (experiments.md): it
has three steps, acts on a quarter of a gate at a time, and its direction serves for two updates.

Shape letters: N blocks, R rows, C columns of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from charrnn.native.vectors import Moving
from charrnn.native.vectors import move as move_by
from charrnn.native.window import Library
from charrnn.network.products import multiply
from charrnn.settings.config import TrainingConfig
from charrnn.training.optimizers import adamw
from charrnn.training.optimizers.arithmetic import Tensors, add, bounded, move
from charrnn.training.optimizers.rule import Arrays, Group, Optimizer, Rule, Scalars, by_decay, zeros

_EVERY = 2
_SHARE = 0.05  # of the gradient in the momentum
_ITERATIONS = 3
_PARTS = 4
_QUINTIC = (3.4445, -4.7750, 2.0315)


def _groups(config: TrainingConfig, arrays: Mapping[str, Tensor], is_narrow: bool) -> list[Group]:
    layers = {name: array for name, array in arrays.items() if name.startswith("layers.") and array.dim() == 2}
    recurrent = [array for name, array in arrays.items() if name.endswith(("weight_hh", "skew_hh"))]
    rows, hidden = recurrent[0].shape if recurrent else (0, 1)  # a urnn has no such matrix
    groups = by_decay(config, {name: array for name, array in arrays.items() if name not in layers}, adamw.rule(config))
    for gates, has_gates in ((rows // hidden, True), (1, False)):
        update = partial(_update, gates=gates, is_narrow=is_narrow)
        compiled = partial(_update_compiled, gates=gates, is_narrow=is_narrow)
        rule = Rule(update, zeros("momentum_buffer", "direction"), period=_EVERY, compiled=compiled)
        matrices = {name: array for name, array in layers.items() if (len(array) == rows) == has_gates}
        groups += by_decay(config, matrices, rule, config.muon_ratio)
    return groups


def _update(_config: TrainingConfig, arrays: Arrays, now: Scalars, *, gates: int, is_narrow: bool) -> None:
    momentum, directions, share = arrays.state["momentum_buffer"], arrays.state["direction"], now.share
    move(momentum, arrays.gradients, _SHARE * share)
    if now.turn % _EVERY == 0:
        ahead = torch._foreach_lerp(arrays.gradients, momentum, 1 - _SHARE)
        for alike in _alike(ahead) if isinstance(share, Tensor) else [[n] for n in range(len(ahead))]:
            joined = torch.cat([ahead[n] for n in alike]) if len(alike) > 1 else ahead[alike[0]]
            found = direction_of(joined, gates * len(alike), is_narrow=is_narrow).chunk(len(alike))
            for n, direction in zip(alike, found, strict=True):
                directions[n].lerp_(direction, share)
    torch._foreach_mul_(arrays.weights, 1 - bounded(now.rate * now.weight_decay * share))
    add(arrays.weights, directions, -now.rate * share)


def _update_compiled(
    library: Library, _config: TrainingConfig, arrays: Arrays, now: Scalars, *, gates: int, is_narrow: bool
) -> None:
    """Updates the arrays by native/vectors.c, in two passes over memory beside the iteration."""
    has_turn = now.turn % _EVERY == 0
    keep = 1 - bounded(now.rate * now.weight_decay)
    for weights, gradient, momentum, direction in zip(
        arrays.weights, arrays.gradients, arrays.state["momentum_buffer"], arrays.state["direction"], strict=True
    ):
        kept = gradient.contiguous()
        ahead = torch.empty_like(weights) if has_turn else None
        moving = Moving(size=weights.numel(), momentum=momentum.data_ptr(), gradient=kept.data_ptr(), share=_SHARE)
        moving.to = None if ahead is None else ahead.data_ptr()
        move_by(library.library, moving)
        if ahead is not None:
            direction.copy_(direction_of(ahead, gates, is_narrow=is_narrow, is_compiled=True))
        moving.number, moving.to, moving.gradient = 1, weights.data_ptr(), direction.data_ptr()
        moving.keep, moving.rate = keep, now.rate
        move_by(library.library, moving)


def _alike(arrays: Tensors) -> list[list[int]]:
    """Places of arrays of one shape: on a device they go through the iteration together, in fewer kernels."""
    shapes = [array.shape for array in arrays]
    return [[n for n, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)]


def direction_of(ahead: Tensor, gates: int, *, is_narrow: bool, is_compiled: bool = False) -> Tensor:
    """From a matrix of `gates` blocks of rows, orthogonalised part by part, scaled by 0.2 sqrt(larger side).

    The scale makes a learning rate mean the same as Adam's (Liu et al. 2025, arXiv 2502.16982, eq. 4).
    """
    blocks = ahead.view(_number_of_blocks(ahead.shape, gates), -1, ahead.shape[1])
    scale = 0.2 * max(blocks.shape[1:]) ** 0.5
    found = orthogonalised(blocks, is_narrow=is_narrow, is_compiled=is_compiled)
    return found.reshape(ahead.shape).mul_(scale)


def _number_of_blocks(shape: torch.Size, gates: int) -> int:
    """Each gate's block is cut into four where it is not narrow: as good, at a fifth of the cost (experiments.md)."""
    rows, columns = shape[0] // gates, shape[1]
    return gates * (_PARTS if columns >= rows and rows % _PARTS == 0 else 1)


def orthogonalised(blocks: Tensor, *, is_narrow: bool = False, is_compiled: bool = False) -> Tensor:
    """Of each matrix (N, R, C) roughly the nearest one whose singular values are 1.

    Newton-Schulz with the quintic of Jordan et al. 2024, made for speed at little exactness: the largest ones end near
    1, and those below a tenth of them are still on their way there.
    """
    is_tall = blocks.shape[1] > blocks.shape[2]
    x = blocks.mT if is_tall else blocks
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if is_narrow:
        x = x.bfloat16()
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        if is_compiled:
            gram = multiply(x, x.mT)
            x = multiply(multiply(gram, gram, added=gram, beta=b, alpha=c), x, added=x, beta=a)
        else:
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(blocks.dtype)


OPTIMIZER = Optimizer(_groups, kept=2)
