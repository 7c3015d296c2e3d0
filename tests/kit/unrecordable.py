"""Runs the command line as on a GPU whose first recording fails, without one.

    python tests/kit/unrecordable.py train corpus.txt ...

Steps are to be recorded, and a recording ends in the error of a real one, after it has spoiled what it may spoil:
random generators and weights. The process that takes the place of this one is the ordinary command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from charrnn.cli.app import main
from charrnn.errors import RecordingFailed
from charrnn.network import stepper
from charrnn.network.graphs import GraphRecorder
from charrnn.training import learner as learners


def fail(_self: GraphRecorder, _works: Any, changed: Sequence[torch.Tensor], generators: Any = ()) -> NoReturn:
    """In the place of `GraphRecorder.record`."""
    for array in changed:
        array.detach().zero_()
    for generator in generators:
        generator.manual_seed(0)
    raise RecordingFailed("RuntimeError: CUDA error: operation not permitted when stream is capturing")


if __name__ == "__main__":
    learners.choose_way = lambda *_, **__: "graph"  # type: ignore[attr-defined]
    stepper.records_on = lambda _device: True  # type: ignore[attr-defined]
    GraphRecorder.record = fail  # type: ignore[method-assign]
    main()
