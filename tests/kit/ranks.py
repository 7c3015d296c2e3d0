"""Several processes of the command line, as torchrun starts them on one machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MOST_SECONDS = 120


class Ended(NamedTuple):
    """How one process ended."""

    status: int
    out: str
    err: str


def run_ranks(words: Sequence[str], size: int, folder: Path, module: Sequence[str] = ("charrnn",)) -> list[Ended]:
    """Runs `python -m <module> <words>` in `size` processes that find each other; gives what each has printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = str(Path(__file__).resolve().parents[2])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *module, *words], cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        printed = [process.communicate(timeout=MOST_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(process.returncode, *texts) for process, texts in zip(processes, printed, strict=True)]
