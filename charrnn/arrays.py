"""The handful of functions that a cell's equations need, for numpy arrays and torch tensors alike.

One step of recurrence is written once and runs on both: on tensors in training, on arrays in sampling and
inspecting. Everything else a cell uses (`@`, `*`, `+`, `.T`) both libraries spell the same. This module does not
import torch: what is not a numpy array is taken to be a tensor, and asked for its own methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

Arrays: TypeAlias = Mapping[str, Array]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), element by element."""
    if isinstance(x, np.ndarray):
        # By way of tanh: exp(-x) would overflow, and warn, for a strongly closed gate.
        return 0.5 * np.tanh(0.5 * x) + 0.5
    return x.sigmoid()


def tanh(x: Array) -> Array:
    """Hyperbolic tangent, element by element."""
    return np.tanh(x) if isinstance(x, np.ndarray) else x.tanh()


def split(x: Array, parts: int) -> tuple[Array, ...]:
    """`x` (..., parts * H) cut into `parts` equal blocks along its last axis."""
    size = x.shape[-1] // parts
    return tuple(x[..., place * size : (place + 1) * size] for place in range(parts))


def zeros_like_rows(weight: Array, rows: int, columns: int) -> Array:
    """A (rows, columns) array of zeros of the library, type and device of `weight`."""
    if isinstance(weight, np.ndarray):
        return np.zeros((rows, columns), weight.dtype)
    return weight.new_zeros(rows, columns)
