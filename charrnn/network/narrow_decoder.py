"""The decoder where products of bfloat16 numbers are fast: logits exact, their gradient from narrow products.

    forward    y = x W^T + b
    backward   dx = dy W,  dW = dy^T x      dy, W, x and what comes out rounded to bfloat16, summed in float32
               db = sum of dy               exact

(Kalamkar et al. 2019, arXiv 1905.12322.) Torch's own products serve; nothing here is compiled.

Shape letters: T window, B lanes, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def decode(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns the exact logits (T, B, V) for `x` (T, B, H); their gradient is made of bfloat16 numbers, once."""
    logits: Tensor = _Decode.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return logits


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, weight)
        return torch.addmm(bias, rows, weight.t()).view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_logits: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        flat = d_logits.reshape(-1, d_logits.shape[-1])
        narrow = flat.bfloat16()
        d_x = None  # where all that is below the decoder stays as it is
        if ctx.needs_input_grad[0]:
            d_x = torch.mm(narrow, weight.bfloat16()).float().view(*d_logits.shape[:-1], -1)
        return d_x, torch.mm(narrow.t(), rows.bfloat16()).float(), flat.sum(0)
