"""The precision of products on each device, and the scale of the loss that small gradients need to survive fp16.

    fp32   on every device
    tf32   NVIDIA GPUs: factors rounded to ten bits, sums in fp32
    fp16   NVIDIA GPUs: products, gates and carried-on outputs in fp16; weights, softmax, norms and updates in fp32
    bf16   CPUs with AVX512-BF16: factors rounded to seven bits, sums, state and gates in fp32; faster than fp32 with
           AMX and on AMD's processors, and slower where an Intel processor has no AMX

Mixed precision with scaled losses is Micikevicius et al. 2018 (arXiv 1710.03740). bf16 is not offered on a GPU: cuDNN's
persistent kernel does not take it, and torch's own autocast to bf16 computes recurrent layers in fp16 all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.native.window import find_library
from charrnn.settings.choices import PrecisionName

Precision: TypeAlias = Literal["fp32", "tf32", "fp16", "bf16"]

_FIRST_SCALE = 2.0**16
_GROWTH, _BACKOFF, _INTERVAL = 2.0, 0.5, 2000
_WITH_FP16, _WITH_TF32, _WITH_BF16 = (7, 0), (8, 0), (8, 0)
_NEEDS = {
    "bf16": "a CPU with AVX512-BF16",
    "fp16": "an NVIDIA GPU of compute capability 7.0 or more",
    "tf32": "an NVIDIA GPU of compute capability 8.0 or more",
}


def choose_precision(name: PrecisionName, device: torch.device) -> Precision:
    """Returns what `--precision` means on `device`. Raises UsageError where it has no such products."""
    offered = _offered(device)
    if name == "auto":
        return offered[-1]
    if name not in offered:
        raise UsageError(
            f"--precision is {name}, but this {device.type} cannot compute in it (it needs {_NEEDS[name]})",
            f"use --precision {offered[-1]}, or leave it out",
        )
    return name


def _offered(device: torch.device) -> list[Precision]:
    """Returns the precisions of a device, the fastest last."""
    if device.type == "cuda":
        # A plan can be made for a GPU that is not here.
        capability = torch.cuda.get_device_capability(device) if torch.cuda.is_available() else _WITH_TF32
        later: list[tuple[Precision, tuple[int, int]]] = [("tf32", _WITH_TF32), ("fp16", _WITH_FP16)]
        return ["fp32", *(name for name, needed in later if capability >= needed)]
    library = find_library()
    if device.type == "cpu" and library is not None and library.has_narrow:
        return ["fp32", "bf16"] if library.is_narrow_faster else ["bf16", "fp32"]
    return ["fp32"]


@contextlib.contextmanager
def products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Makes torch's kernels inside compute in `precision`; bf16 on a CPU is asked for where it is meant, not here.

    This is for the forward pass; the backward pass is made inside `gradient_products`. No casts are kept from call to
    call: a CUDA graph must make them anew at each replay.
    """
    if precision == "fp16":
        with torch.autocast(device.type, torch.float16, cache_enabled=False):
            yield
    else:
        with gradient_products(precision):
            yield


@contextlib.contextmanager
def gradient_products(precision: Precision) -> Iterator[None]:
    """Makes the products of a backward pass inside in `precision`.

    Under fp16 each gradient has the type of what it is a gradient of, and autocast is not for backward passes; tf32 is
    a switch of the whole process that kernels look at when they are launched, in whichever pass.
    """
    if precision != "tf32":
        yield
        return
    allow_tf32(True)
    try:
        yield
    finally:
        allow_tf32(False)


def narrow_iteration(precision: Precision, device: torch.device) -> bool:
    """Whether the products of Muon's iteration are made of bfloat16 numbers, where training's own are narrow too.

    bfloat16 has the range that an iteration on gradients of unknown size wants; fp16 does not. NVIDIA's GPUs multiply
    it in hardware from compute capability 8.0 on, and older ones take longer for it than for float32.
    """
    if precision == "fp16":
        return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= _WITH_BF16
    return precision == "bf16"


def allow_tf32(is_allowed: bool) -> None:
    """Says for the whole process whether fp32 products on a GPU may be made in tf32."""
    torch.backends.cuda.matmul.allow_tf32 = is_allowed
    torch.backends.cudnn.allow_tf32 = is_allowed


class LossScale:
    """The factor that lifts gradients into the range of fp16.

    It halves when a gradient overflows (that update is skipped) and doubles after 2000 steps in a row that did not, as
    `torch.amp.GradScaler` does it; but nothing here ever waits for the device.
    """

    def __init__(self, device: torch.device, first: float = _FIRST_SCALE) -> None:
        self.scale = torch.full((), first, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, is_bad: Tensor) -> None:
        """Takes in whether (0 or 1, float) this step's gradient was not finite."""
        torch._amp_update_scale_(self.scale, self._good_steps, is_bad, _GROWTH, _BACKOFF, _INTERVAL)

    def tensors(self) -> list[Tensor]:
        """Returns every tensor that `update` changes."""
        return [self.scale, self._good_steps]

    def to_numpy(self) -> npt.NDArray[np.float64]:
        """Returns the scale and the number of good steps in a row, (2,)."""
        return np.array([float(self.scale), int(self._good_steps)], np.float64)

    def load(self, saved: npt.NDArray[Any]) -> None:
        """Takes back what `to_numpy` gave."""
        self.scale.fill_(float(saved[0]))
        self._good_steps.fill_(int(saved[1]))
