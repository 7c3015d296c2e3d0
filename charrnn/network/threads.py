"""How many threads a process computes with: compiled code's, and torch's own beside it.

Where compiled code makes a model's products, the rest of a step is small. Torch's threads would wait for each other at
each of its operations, for long where another program has a core of theirs, and some of its sums depend on how many
there are. So torch gets one thread there, and no number of a training depends on what else the machine does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from charrnn.cells.registry import has_kernel, is_plain_in_training
from charrnn.native.crew import most_threads, set_most_threads
from charrnn.native.window import find_library
from charrnn.settings.config import ModelConfig


def set_threads(threads: int) -> None:
    """Sets how many threads the process computes with, at most."""
    set_most_threads(threads)
    torch.set_num_threads(threads)


def count_threads(*, is_compiled: bool) -> int:
    """Returns how many threads compute on a CPU, at most."""
    return most_threads() if is_compiled else torch.get_num_threads()


def is_compiled(device: torch.device, *, is_plain: bool) -> bool:
    """Whether compiled code makes the products of a model whose cell it knows if `is_plain`."""
    return is_plain and device.type == "cpu" and find_library() is not None


def is_looped(device: torch.device, model: ModelConfig) -> bool:
    """Whether a model's layers train step by step in torch: neither compiled code nor a kernel knows them there."""
    return not is_compiled(device, is_plain=is_plain_in_training(model)) and not has_kernel(model)


@contextlib.contextmanager
def torch_beside(compiled: bool) -> Iterator[None]:
    """Leaves torch one thread while the context lasts, beside compiled code."""
    before = torch.get_num_threads()
    if not compiled or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
