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
    like = torch.promote_types(a.dtype, b.dtype)
    if added is None:
        added = bias
        beta = 1 if bias is not None else beta
    elif bias is not None:
        raise ValueError("`added` and `bias` were both given; a product has one of them")
    shape = (*a.shape[:-1], b.shape[-1])
    result = torch.empty(shape, dtype=like) if out is None and a.device.type == "cpu" else out
    if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2] or (result is not None and result.shape != shape):
        raise ValueError(f"{tuple(a.shape)} times {tuple(b.shape)} is not {tuple(shape if out is None else out.shape)}")
    if added is not None and added.shape not in (shape, shape[-1:]):
        raise ValueError(f"{tuple(added.shape)} cannot be added to a product of {shape}")
    if library is None or result is None or not alpha or not _is_ours(a, b, added, result):
        return _torch_product(a, b, result, added, alpha, beta, is_narrow)
    _multiply(library, _product(library, a, b, added, result, alpha, beta, is_narrow))
    return result


def _product(
    library: Library, a: Tensor, b: Tensor, added: Tensor | None, c: Tensor, alpha: float, beta: float, is_narrow: bool
) -> Product:
    many, is_double = c.dim() == 3, c.dtype == torch.float64
    a_strides, b_strides, c_strides = a.stride(), b.stride(), c.stride()
    added_row, added_batch, is_added_narrow, added_at = 0, 0, False, None
    if added is not None:
        added_at, is_added_narrow = added.data_ptr(), added.dtype == torch.bfloat16
        if added.dim() > 1:
            added_row, added_batch = added.stride(-2), added.stride(0) if many else 0
    is_a_narrow, is_b_narrow = a.dtype == torch.bfloat16, b.dtype == torch.bfloat16
    return Product(
        c.shape[-2], c.shape[-1], b.shape[-2], c.shape[0] if many else 1,
        a.data_ptr(), b.data_ptr(), added_at, c.data_ptr(),
        a_strides[-2], a_strides[-1], a_strides[0] if many else 0,
        b_strides[-2], b_strides[-1], b_strides[0] if many else 0,
        added_row, added_batch, c_strides[-2], c_strides[0] if many else 0,
        alpha, beta, None,
        is_double, is_narrow or (is_a_narrow and is_b_narrow), is_a_narrow, is_b_narrow, is_added_narrow,
        c.dtype == torch.bfloat16, library.best_set, library.best_way, most_threads(),
    )  # fmt: skip


def _is_ours(a: Tensor, b: Tensor, added: Tensor | None, result: Tensor) -> bool:
    """Whether compiled code can compute with these."""
    rest = (result,) if added is None else (result, added)
    if any(x.device.type != "cpu" or (x.stride(-1) != 1 and x.shape[-1] > 1) for x in rest) or a.dim() != b.dim():
        return False
    if a.dtype == torch.float64:
        return all(x.dtype == torch.float64 for x in (b, *rest))
    return all(x.dtype in _KINDS and x.device.type == "cpu" for x in (a, b, *rest))


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
