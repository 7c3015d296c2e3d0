"""Several processes of the command line, as torchrun starts them on one machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.kit.command import Result
from tests.kit.forked import ROOT, Job, run


def run_ranks(words: Sequence[str], size: int, folder: Path, module: Sequence[str] = ("charrnn",)) -> list[Result]:
    """Runs `python -m <module> <words>` in `size` processes that find each other; gives what each has printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return run(
        [Job([*module, *words], folder, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(size)]
    )
