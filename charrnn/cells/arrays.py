"""The few functions that a cell's equations need, for numpy arrays and torch tensors alike.

A cell's step is written once and runs on both: on tensors in training, on arrays in sampling and inspecting. The
operators that it also uses (`@`, `*`, `+`, `.T`) are the same in both libraries. This module does not import torch:
what is not a numpy array is taken to be a tensor, or something like one. Its methods are called, and functions that are
not methods are looked up in its `library`, or in torch, which is loaded by then, since somebody made the tensor.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

Arrays: TypeAlias = Mapping[str, Array]

EPSILON = 1e-5
"""The number that is added to a variance before its root is taken to divide by."""
_KEY = 151106464
"""The seed from which `permuted` draws its order."""


def _library(x: Array) -> Any:
    """Returns what has the functions for `x`, which is not a numpy array."""
    return getattr(x, "library", None) or sys.modules["torch"]


def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x)), element by element."""
    if isinstance(x, np.ndarray):
        # By way of tanh: exp(-x) would overflow, and warn, for a strongly closed gate.
        return 0.5 * np.tanh(0.5 * x) + 0.5
    return x.sigmoid()


def tanh(x: Array) -> Array:
    """Returns the hyperbolic tangent, element by element."""
    return np.tanh(x) if isinstance(x, np.ndarray) else x.tanh()


def relu(x: Array) -> Array:
    """Returns max(x, 0), element by element."""
    return np.maximum(x, 0) if isinstance(x, np.ndarray) else x.relu()


def sign(x: Array) -> Array:
    """Returns the sign of `x`, -1, 0 or 1, element by element."""
    return np.sign(x) if isinstance(x, np.ndarray) else x.sign()


def minimum(x: Array, y: Array) -> Array:
    """Returns the smaller of `x` and `y`, element by element."""
    return np.minimum(x, y) if isinstance(x, np.ndarray) else x.minimum(y)


def between(before: Array, after: Array, share: Array) -> Array:
    """Returns (1 - share) before + share after; `share` is a number or an array, and exact at its ends 0 and 1."""
    if isinstance(before, np.ndarray):
        return before + share * (after - before) if np.ndim(share) == 0 else share * after + (1 - share) * before
    return before.lerp(after.to(before.dtype), share)


def joined(*arrays: Array) -> Array:
    """Concatenates arrays along their last axis: the inverse of `split`."""
    return np.concatenate(arrays, -1) if isinstance(arrays[0], np.ndarray) else _library(arrays[0]).cat(arrays, -1)


def normalised(x: Array, gain: Array) -> Array:
    """Returns `x` (..., H) less its mean over the last axis, divided by its deviation there, times `gain` (H,).

    Ba, Kiros & Hinton 2016 (arXiv 1607.06450); the variance is that of the H numbers, and 1e-5 is added to it
    as in their code.
    """
    if not isinstance(x, np.ndarray):
        return _library(x).layer_norm(x, x.shape[-1:], gain, None, EPSILON)
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(EPSILON)) * gain


def batch_normalised(x: Array, statistics: Array, gain: Array) -> Array:
    """Returns `x` (B, R) less a mean, divided by a deviation, times `gain` (R,).

    `statistics` (2, R) holds the mean and the variance. In a step of training it is not an array but a
    `batch_statistics.Measured`, which computes both over the lanes of `x`.
    """
    if hasattr(statistics, "normalise"):
        return statistics.normalise(x, gain)
    mean, variance = statistics
    return (x - mean) * (gain / (variance + EPSILON) ** 0.5)


def split(x: Array, parts: int) -> tuple[Array, ...]:
    """Cuts `x` (..., parts * H) into `parts` equal blocks along its last axis."""
    if not isinstance(x, np.ndarray):
        return tuple(x.chunk(parts, -1))  # its gradient is assembled once, not block by block
    size = x.shape[-1] // parts
    return tuple(x[..., place * size : (place + 1) * size] for place in range(parts))


def cut_rows(matrix: Array, first: int) -> tuple[Array, Array]:
    """Cuts `matrix` (R, I) in two: its `first` rows, and the others."""
    if isinstance(matrix, np.ndarray):
        return matrix[:first], matrix[first:]
    above, below = matrix.split((first, len(matrix) - first))
    return above, below


def identity_like(x: Array) -> Array:
    """Returns the identity matrix (H, H) in the library, type and device of `x` (..., H)."""
    if isinstance(x, np.ndarray):
        return np.eye(x.shape[-1], dtype=x.dtype)
    return sys.modules["torch"].eye(x.shape[-1], dtype=x.dtype, device=x.device)


def turn(angle: Array) -> Array:
    """Returns exp(i angle), element by element."""
    return np.exp(1j * angle) if isinstance(angle, np.ndarray) else (1j * angle).exp()


def fourier(z: Array) -> Array:
    """Returns the discrete Fourier transform of complex `z` (..., n) along its last axis, divided by sqrt(n)."""
    if isinstance(z, np.ndarray):
        return np.fft.fft(z, norm="ortho").astype(z.dtype, copy=False)  # older versions of numpy return complex128
    return sys.modules["torch"].fft.fft(z, norm="ortho")


def inverse_fourier(z: Array) -> Array:
    """Returns the inverse Fourier transform of complex `z` (..., n) along its last axis, times sqrt(n)."""
    if isinstance(z, np.ndarray):
        return np.fft.ifft(z, norm="ortho").astype(z.dtype, copy=False)
    return sys.modules["torch"].fft.ifft(z, norm="ortho")


def permuted(x: Array) -> Array:
    """Permutes the last axis of `x` (..., n) by a fixed permutation that depends on n alone."""
    n = x.shape[-1]
    return x[..., _order(n)] if isinstance(x, np.ndarray) else x.index_select(-1, _order_on_device(n, x.device))


@functools.lru_cache
def _order(n: int) -> npt.NDArray[np.int64]:
    """Draws the permutation of n places from numbers that are the same in every version of numpy."""
    return np.random.Philox(key=_KEY).random_raw(n).argsort(kind="stable")


@functools.lru_cache
def _order_on_device(n: int, device: Any) -> Array:
    """Keeps the permutation on the device, since a CUDA graph that is being recorded cannot wait for a copy."""
    torch = sys.modules["torch"]
    with torch.inference_mode(False):  # a tensor made in inference mode cannot be used in training
        return torch.from_numpy(_order(n)).to(device)


def zeros_like_rows(weight: Array, rows: int, columns: int) -> Array:
    """Returns zeros (rows, columns) in the library, type and device of `weight`."""
    if isinstance(weight, np.ndarray):
        return np.zeros((rows, columns), weight.dtype)
    return weight.new_zeros(rows, columns)
