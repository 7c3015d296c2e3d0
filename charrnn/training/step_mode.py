"""How a step of training is made: by the host, on the device, or as a recorded graph."""

from __future__ import annotations

from typing import Literal

import torch

from charrnn.cells.registry import has_kernel
from charrnn.errors import UsageError
from charrnn.network.graphs import records_on
from charrnn.settings.choices import SEARCHING
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.distributed import World
from charrnn.training.teacher import Teacher

Way = Literal["host", "device", "graph"]
"""How a step is made. On a CPU the host looks at the gradient before it updates: that is free, and a bad update is not
begun. On a GPU reading it would wait for the device at every step; there bad updates are skipped on the device, nothing
is asked of the host, and the caller finds a bad step in the next sum it reads. A graph is that program, recorded."""


def choose_way(
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device,
    world: World,
    *,
    has_end: bool = False,
    teacher: Teacher | None = None,
) -> Way:
    """Returns how steps of `training` are made on `device`; `has_end` where documents end inside a window.

    Raises UsageError where several processes cannot make them.
    """
    is_searched = training.optimizer in SEARCHING
    if is_searched and not world.is_alone:
        raise UsageError(
            f"--optimizer {training.optimizer} is for one process: its searches would be made by all of them at once",
            "start it without torchrun, or choose another --optimizer",
        )
    if device.type != "cuda" or is_searched:  # a search asks for losses all the time
        return "host"
    # What processes say to each other is the host's business, and a graph has one shape: the pieces that a window is
    # cut into for cuDNN have others each time.
    is_cut = has_end and has_kernel(model)
    # A teacher that reads along has a state of its own, and a cell that may be cut likewise.
    is_beside = teacher is not None and teacher.reads_along
    is_recorded = world.is_alone and not training.random_bptt and not is_cut and not is_beside
    return "graph" if is_recorded and records_on(device) else "device"
