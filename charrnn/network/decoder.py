"""The decoder, whose products are compiled code's on a CPU, and of bfloat16 numbers where those are fast.

    forward    y = x W^T + b
    backward   dx = dy W,  dW = dy^T x      where narrow: dy, W and x rounded to bfloat16, summed in float32
               db = sum of dy               exact

The logits are exact in any case (Kalamkar et al. 2019, arXiv 1905.12322).

Shape letters: T window, B lanes, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charrnn.network.products import multiply


def decode(x: Tensor, weight: Tensor, bias: Tensor, *, is_narrow: bool) -> Tensor:
    """Returns the exact logits (T, B, V) for `x` (T, B, H). Differentiable once."""
    logits: Tensor = _Decode.apply(x, weight, bias, is_narrow)  # type: ignore[no-untyped-call]
    return logits


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, is_narrow: bool) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, weight)
        ctx.is_narrow = is_narrow
        return multiply(rows, weight.t(), bias=bias).view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_logits: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        rows, weight = ctx.saved_tensors
        flat = d_logits.reshape(-1, d_logits.shape[-1])
        d_x = None  # where all that is below the decoder stays as it is
        if ctx.needs_input_grad[0]:
            d_x = multiply(flat, weight, is_narrow=ctx.is_narrow).view(*d_logits.shape[:-1], -1)
        return d_x, multiply(flat.t(), rows, is_narrow=ctx.is_narrow), flat.sum(0), None
