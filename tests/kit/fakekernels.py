"""Kernels of a GPU that FakeTensors do not know: their checks, and tensors of the shapes of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.kit.fakedriver import GPU

# cuDNN's number of each kind of layer (torch/backends/cudnn/rnn.py) and its gates.
LAYERS = {"rnn_relu": (0, 1), "rnn_tanh": (1, 1), "lstm": (2, 4), "gru": (3, 3)}


def cudnn_rnn(
    x: Tensor, weights: Sequence[Tensor], stride: int, buffer: Tensor, h: Tensor, c: Tensor | None, mode: int,
    hidden: int, *rest: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """aten/src/ATen/native/cudnn/RNN.cpp: its checks, and tensors of the shapes of its results."""
    gates = dict(LAYERS.values())[mode]
    sizes, I = rest[6], x.shape[-1]  # noqa: E741
    if sizes and (x.dim() != 2 or sum(sizes) != len(x) or sizes != sorted(sizes, reverse=True) or not sizes[-1]):
        raise RuntimeError(f"a packed sequence {tuple(x.shape)} of {sizes} rows")
    B = sizes[0] if sizes else x.shape[1]
    for tensor in (x, h, *([] if c is None else [c]), *weights):
        if tensor.device != GPU:
            raise RuntimeError(f"Input and parameter tensors are not at the same device, found {tensor.device}")
        if tensor.dtype != x.dtype:
            raise RuntimeError(f"Input and parameter tensors are not the same dtype: {x.dtype} and {tensor.dtype}")
    for name, tensor in (("hx", h), ("cx", c)):
        if tensor is not None and not tensor.is_contiguous():
            raise RuntimeError(f"rnn: {name} is not contiguous")
        if tensor is not None and tuple(tensor.shape) != (1, B, hidden):
            raise RuntimeError(f"Expected hidden size (1, {B}, {hidden}), got {tuple(tensor.shape)}")
    rows = gates * hidden
    expected = [(rows, I), (rows, hidden), (rows,), (rows,)]
    if [tuple(weight.shape) for weight in weights] != expected:
        raise RuntimeError(f"weights of shapes {[tuple(weight.shape) for weight in weights]}, not {expected}")
    after = x.new_empty(0) if c is None else torch.empty_like(c)
    return x.new_empty(*x.shape[:-1], hidden), torch.empty_like(h), after, x.new_empty(0, dtype=torch.uint8), buffer


def cudnn_rnn_backward(
    x: Tensor, weights: Sequence[Tensor], stride: int, buffer: Tensor, h: Tensor, c: Tensor | None, output: Tensor,
    *rest: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """The same file: gradients are made only of what was run in training mode."""
    is_training, mask = rest[9], rest[-1]
    if not is_training:
        raise RuntimeError("cudnn RNN backward can only be called in training mode")
    of_weights = [torch.empty_like(weight) for weight in weights] if mask[3] else []
    return torch.empty_like(x), torch.empty_like(h), None if c is None else torch.empty_like(c), of_weights


def fused_update(leaves: list[Any]) -> None:
    """FusedSgdKernel.cu and fused_adam_utils.cuh, which change their arguments: all of them lie on the device."""
    places = {leaf.device for leaf in leaves if isinstance(leaf, Tensor)}
    if places != {GPU}:
        raise RuntimeError(f"a fused update needs everything on one device, found {places}")


def is_one_piece(weights: Sequence[Tensor]) -> bool:
    """RNN.cpp, try_get_weight_buf: whether they lie one behind the other in memory."""
    place = weights[0].storage_offset()
    for weight in weights:
        is_same = weight.untyped_storage()._cdata == weights[0].untyped_storage()._cdata
        if not is_same or weight.storage_offset() != place or not weight.is_contiguous():
            return False
        place += weight.numel()
    return True
