"""Characters a second of training steps on this machine's GPU: beside its CPU, and beside the plain step.

    python -m tests.benchmarks.speed [--json]

Medians over rounds in which our step and the plain one (`steps.py`) run in turn; on a shared machine only the ratios
mean anything. The CPU alone is the business of `training.py`.
"""

from __future__ import annotations

import json
import statistics
import sys

import torch

from charrnn import device as devices
from tests.benchmarks.steps import OurStep, Shape, alternate, plain_step

SHAPES = [
    Shape("lstm", 1, 320, 64, 16),
    Shape("lstm", 2, 128, 64, 32),
    Shape("lstm", 2, 256, 64, 32),
    Shape("gru", 2, 256, 64, 32),
    Shape("lstm", 2, 512, 128, 64, window=128),
]
ROUNDS = 7


def measure(shape: Shape, gpu: torch.device) -> dict[str, float | str]:
    """Median characters a second of our step on both devices, and the ratios."""
    characters = shape.lanes * shape.window
    on_gpu = alternate({"ours": OurStep(shape, gpu), "plain": plain_step(shape, gpu)}, ROUNDS, gpu)
    on_cpu = alternate({"ours": OurStep(shape)}, ROUNDS)
    ours, plain, cpu = (statistics.median(taken) for taken in (*on_gpu.values(), *on_cpu.values()))
    return {
        "shape": str(shape),
        "cpu": round(characters / cpu),
        "cuda": round(characters / ours),
        "cuda/cpu": round(cpu / ours, 1),
        "cuda ours/plain": round(plain / ours, 2),
    }


def main() -> None:
    """Prints a line for each shape, or one JSON object."""
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no NVIDIA GPU; for the CPU alone: python -m tests.benchmarks.training speed")
    gpu = devices.choose_device("cuda")
    devices.prepare(gpu, None)
    rows = []
    for shape in SHAPES:
        rows.append(measure(shape, gpu))
        if "--json" not in sys.argv:
            print("   ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if "--json" in sys.argv:
        found = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "threads": torch.get_num_threads()}
        print(json.dumps({**found, "rows": rows}))


if __name__ == "__main__":
    main()
