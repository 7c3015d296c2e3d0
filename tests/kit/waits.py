"""Where a GPU would be waited for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def nothing_waits() -> Iterator[None]:
    """Inside, torch raises RuntimeError where the host would wait for the GPU.

    torch says once a process that this does not find everything, and here warnings are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
