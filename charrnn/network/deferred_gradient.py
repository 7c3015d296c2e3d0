"""A matrix that every step of a window multiplies with gets its gradient from one product at the end.

A cell writes `x @ weight.T`. Left to torch, every step would make a gradient as large as the matrix and add it to the
sum of those before; here the steps' factors are kept, and one product over all of them makes the gradient at the end:

    y_t = x_t W^T        dx_t = dy_t W        dW = sum_t dy_t^T x_t      at once

With `is_narrow` the factors of all products are rounded to bfloat16, and so is what comes out; sums are not, nor is
anything between the products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Factor:
    """A matrix (R, I) for one window. Only `x @ factor.T` can be done with it, for `x` (..., I), or be cut by rows."""

    def __init__(self, weight: Tensor, *, is_narrow: bool = False) -> None:
        self._whole, self._is_narrow = weight, is_narrow
        self._pieces: dict[tuple[int, ...], tuple[Factor, ...]] = {}
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._weight = weight.detach().bfloat16() if is_narrow else weight.detach()
        self._anchor: Tensor = _Anchor.apply(weight, self._kept)  # type: ignore[no-untyped-call]

    @property
    def T(self) -> Factor:  # noqa: N802 - as an array has it
        """Returns itself, to stand on the right of a product."""
        return self

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self._whole)

    def split(self, rows: tuple[int, ...]) -> tuple[Factor, ...]:
        """Cuts the matrix into pieces of so many rows, each a matrix for the window: the same ones in every step."""
        if rows not in self._pieces:
            cut = torch.split(self._whole, list(rows))
            self._pieces[rows] = tuple(Factor(piece, is_narrow=self._is_narrow) for piece in cut)
        return self._pieces[rows]

    def __rmatmul__(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self._anchor, self._weight, self._kept)  # type: ignore[no-untyped-call]
        return product


class _Anchor(torch.autograd.Function):
    """Brings the matrix into the graph: its gradient is made when all products have theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.kept, ctx.dtype = kept, weight.dtype
        return weight.new_zeros(())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _d_anchor: Tensor) -> tuple[Tensor, None]:
        read, gradients = zip(*ctx.kept, strict=True)
        ctx.kept.clear()
        return torch.mm(torch.cat(gradients).t(), torch.cat(read)).to(ctx.dtype), None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, weight: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
        rows = x.flatten(0, -2).to(weight.dtype)
        ctx.rows, ctx.weight, ctx.kept, ctx.anchor, ctx.like = rows, weight, kept, anchor, x
        return torch.mm(rows, weight.t()).to(x.dtype).view(*x.shape[:-1], len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_product: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        d_rows = d_product.flatten(0, -2).to(ctx.weight.dtype)
        if ctx.needs_input_grad[1]:
            ctx.kept.append((ctx.rows, d_rows))
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.mm(d_rows, ctx.weight).to(ctx.like.dtype).view(ctx.like.shape)
        return d_x, torch.zeros_like(ctx.anchor) if ctx.needs_input_grad[1] else None, None, None
