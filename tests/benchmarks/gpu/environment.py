"""What the figures of a day were measured with: the GPU, the processor, the libraries and our own compiled code.

python -m tests.benchmarks.gpu.environment [--device cpu|cuda]      prints one JSON object
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from charrnn.native import step as inference
from charrnn.native import window as fused
from charrnn.native.loader import candidates, load
from charrnn.version import __version__
from tests.benchmarks.command import ROOT
from tests.benchmarks.training import cpu_name

Row = dict[str, Any]

PACKAGES = ("numpy", "safetensors", "typer", "rich", "pytest")
_DRIVER = ("nvidia-smi", "--query-gpu=driver_version,name,clocks.max.sm,power.limit", "--format=csv,noheader")


def environment(device: torch.device) -> Row:
    """Everything by name; None for what is not there."""
    row: Row = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    row |= {"charrnn": __version__, "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty")}
    row |= {"python": platform.python_version(), "system": platform.platform(), "torch": torch.__version__}
    row |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "nvidia-smi": _said(*_DRIVER)}
    row |= {"processor": cpu_name(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
    row |= {name: _version(name) for name in PACKAGES}
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        row |= {"gpu": found.name, "capability": [found.major, found.minor]}
        row |= {"multiprocessors": found.multi_processor_count, "GiB": found.total_memory / 2**30}
    recurrence = Path(fused.__file__).with_name("_recurrence")
    step = Path(inference.__file__).with_name("_step")
    row["compiled"] = {
        "training": _library(recurrence, "charrnn_recurrence_version", fused.VERSION),
        "sampling": _library(step, "charrnn_version", inference.VERSION),
    }
    row["compiled"]["training"]["serves"] = fused.find_library() is not None
    return row


def _library(stem: Path, version_function: str, version: int) -> Row:
    """Which file was loaded, and which lie there."""
    found = load(stem, version_function, version)
    return {"loaded": found and Path(found._name).name, "files": [path.name for path in candidates(stem)]}


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _said(*words: str) -> str | None:
    """What a command says, if there is one and it succeeds."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    return None


def main(words: Sequence[str] | None = None) -> None:
    """Prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    print(json.dumps(environment(torch.device(parser.parse_args(words).device))))


if __name__ == "__main__":
    main()
