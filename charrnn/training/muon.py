"""The direction of Muon's updates: momentum brought to a matrix whose singular values are all about 1.

Jordan et al. 2024; here of a part of a gate at a time, and in fewer iterations: cheaper than it was published, at no
loss that was seen (EXPERIMENTS.md). Knows matrices. Refuses to know learning rates and what is averaged.

Shape letters: N blocks, R rows, C columns of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ITERATIONS = 3
_PARTS = 4
_QUINTIC = (3.4445, -4.7750, 2.0315)


def direction_of(ahead: Tensor, gates: int, *, is_narrow: bool) -> Tensor:
    """From a matrix of `gates` blocks of rows, orthogonalised part by part, scaled by 0.2 sqrt(larger side).

    The scale makes a learning rate mean the same as Adam's (Liu et al. 2025, arXiv 2502.16982, eq. 4).
    """
    blocks = ahead.view(_number_of_blocks(ahead.shape, gates), -1, ahead.shape[1])
    scale = 0.2 * max(blocks.shape[1:]) ** 0.5
    found: Tensor = orthogonalised(blocks, is_narrow=is_narrow).reshape(ahead.shape) * scale
    return found


def _number_of_blocks(shape: torch.Size, gates: int) -> int:
    """Each gate's block is cut into four where it is not narrow: as good, at a fifth of the cost (EXPERIMENTS.md)."""
    rows, columns = shape[0] // gates, shape[1]
    return gates * (_PARTS if columns >= rows and rows % _PARTS == 0 else 1)


def orthogonalised(blocks: Tensor, *, is_narrow: bool = False) -> Tensor:
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
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(blocks.dtype)
