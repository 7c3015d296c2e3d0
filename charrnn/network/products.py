"""Products of matrices on a CPU whose bits depend on no number of threads; torch's own where there is no compiled code.

Shape letters: N products, R rows, K depth, C columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.native.crew import most_threads
from charrnn.native.product import Library, Product, find_library
from charrnn.native.product import multiply as _multiply

_KINDS = (torch.float32, torch.bfloat16)


def multiply(
    a: Tensor,
    b: Tensor,
    *,
    out: Tensor | None = None,
    bias: Tensor | None = None,
    added: Tensor | None = None,
    alpha: float = 1,
    beta: float = 1,
    is_narrow: bool = False,
    library: Library | None = None,
) -> Tensor:
    """Returns alpha a b + beta added, or alpha a b + bias: (R, K) times (K, C), or (N, R, K) times (N, K, C).

    Factors are float32 or bfloat16, or all is float64. They may be transposed views, and slices. With `is_narrow`
    float32 factors are rounded to bfloat16; sums are float32 in any case. `added` (R, C) or (N, R, C) may be `out`;
    `bias` (C) is added to every row. The result is of the factors' type, or `out`'s where that is given. Not
    differentiable.
    """
    library = library or find_library()
    if added is None:
        added = bias
        beta = 1 if bias is not None else beta
    elif bias is not None:
        raise ValueError("`added` and `bias` were both given; a product has one of them")
    elif not beta:
        added = None
    a_shape, b_shape = a.shape, b.shape
    shape = (*a_shape[:-1], b_shape[-1])
    if a_shape[-1] != b_shape[-2] or a_shape[:-2] != b_shape[:-2] or (out is not None and out.shape != shape):
        raise ValueError(f"{tuple(a_shape)} times {tuple(b_shape)} is not {tuple(shape if out is None else out.shape)}")
    if added is not None and added.shape not in (shape, shape[-1:]):
        raise ValueError(f"{tuple(added.shape)} cannot be added to a product of {shape}")
    if library is None or not alpha or not _are_ours(a, b, added, out):
        return _torch_product(a, b, out, added, alpha, beta, is_narrow)
    if out is None:
        out = torch.empty(shape, dtype=a.dtype if a.dtype == b.dtype else torch.float32)
    _multiply(library, _product(library, a, b, added, out, alpha, beta, is_narrow))
    return out


def _are_ours(a: Tensor, b: Tensor, added: Tensor | None, out: Tensor | None) -> bool:
    """Whether compiled code can compute with these. Plain tests, since this is asked before every product."""
    kinds = (torch.float64,) if a.dtype == torch.float64 else _KINDS
    if not (a.is_cpu and b.is_cpu and a.dtype in kinds and b.dtype in kinds):
        return False
    if added is not None and not (added.is_cpu and added.dtype in kinds and _has_lines(added)):
        return False
    return out is None or out is added or (out.is_cpu and out.dtype in kinds and _has_lines(out))


def _has_lines(x: Tensor) -> bool:
    """Whether rows are contiguous."""
    return x.stride(-1) == 1 or x.shape[-1] < 2


def _product(
    library: Library, a: Tensor, b: Tensor, added: Tensor | None, c: Tensor, alpha: float, beta: float, is_narrow: bool
) -> Product:
    a_batch, a_row, a_column = a.stride() if a.dim() == 3 else (0, *a.stride())
    b_batch, b_row, b_column = b.stride() if b.dim() == 3 else (0, *b.stride())
    c_batch, c_row, _ = c.stride() if c.dim() == 3 else (0, *c.stride())
    batch, rows, columns = c.shape if c.dim() == 3 else (1, *c.shape)
    added_row, added_batch, is_added_narrow, added_at = 0, 0, False, None
    if added is not None:
        added_at, is_added_narrow = added.data_ptr(), added.dtype == torch.bfloat16
        if added.dim() > 1:
            added_row, added_batch = added.stride(-2), added.stride(0) if added.dim() == 3 else 0
    is_a_narrow, is_b_narrow = a.dtype == torch.bfloat16, b.dtype == torch.bfloat16
    return Product(
        rows, columns, b.shape[-2], batch,
        a.data_ptr(), b.data_ptr(), added_at, c.data_ptr(),
        a_row, a_column, a_batch, b_row, b_column, b_batch, added_row, added_batch, c_row, c_batch,
        alpha, beta, None,
        c.dtype == torch.float64, is_narrow or (is_a_narrow and is_b_narrow), is_a_narrow, is_b_narrow, is_added_narrow,
        c.dtype == torch.bfloat16, library.best_set, library.best_way, most_threads(),
    )  # fmt: skip


def _torch_product(
    a: Tensor, b: Tensor, out: Tensor | None, added: Tensor | None, alpha: float, beta: float, is_narrow: bool
) -> Tensor:
    like = torch.promote_types(a.dtype, b.dtype)
    kind = torch.bfloat16 if is_narrow and like == torch.float32 else like
    found = torch.matmul(a.to(kind), b.to(kind)).to(like)
    if alpha != 1:
        found = found * alpha
    if added is not None:
        found = found + beta * added.to(like)
    return found.to(like) if out is None else out.copy_(found)
