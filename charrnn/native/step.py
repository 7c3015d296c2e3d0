"""The library of the compiled step: where it lies, which version is ours, and its structures.

The package builds `native/step.c` where a C compiler is found when it is installed. The structures are those of
native/step.h, field by field. Knows files and layouts. Refuses to know models.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.native.loader import load

VERSION = 2
SCRATCH, GROUP, LINE, MOST_LANES = 128, 64, 64, 64


class Matrix(ctypes.Structure):
    """A matrix in panels."""

    _fields_ = [
        ("inputs", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("quantised", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
    ]


class LayerPanels(ctypes.Structure):
    """One layer's two products, and where their chains start."""

    _fields_ = [("input", Matrix), ("recurrent", Matrix), ("bias", ctypes.c_void_p)]


class Model(ctypes.Structure):
    """A whole model."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "num_layers", "hidden", "padded", "panels", "units")),
        *((name, ctypes.c_int32) for name in ("vocabulary", "vocabulary_padded", "embedding_size")),
        *((name, ctypes.c_void_p) for name in ("table", "embedding", "layers")),
        ("decoder", Matrix),
        ("decoder_bias", ctypes.c_void_p),
    ]


class Settings(ctypes.Structure):
    """How one lane draws."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        ("top_k", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


class Job(ctypes.Structure):
    """Some steps to take, with all their memory."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("lanes", "steps", "threads", "decode_all", "has_logits")),
        *((name, ctypes.c_void_p) for name in ("given", "uniforms", "settings", "ids", "log_probabilities", "logits")),
        *((name, ctypes.c_void_p) for name in ("hidden", "hidden_quantised", "cell_state", "record")),
        *((name, ctypes.c_void_p) for name in ("probabilities", "order")),
        *((name, ctypes.c_int32) for name in ("arrived", "generation", "not_finite", "given_up")),
    ]


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """The compiled step, or None where the package was installed without it (or CHARRNN_COMPILED=0 turns it off)."""
    return load(Path(__file__).with_name("_step"), "charrnn_version", VERSION)


@functools.cache
def best_set() -> int:
    """The best instruction set of this machine that the library has code for: 0 plain, 1 AVX2, 2 AVX-512."""
    found = find_library()
    assert found is not None
    return int(found.charrnn_best_set())


def aligned(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An uninitialised array that begins with a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(count + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    aligned: npt.NDArray[Any] = raw[start : start + count].view(dtype).reshape(shape)
    return aligned
