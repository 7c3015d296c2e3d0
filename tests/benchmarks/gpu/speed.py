"""Characters a second and memory of our steps and of the plain ones, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch

from tests.benchmarks.gpu.figures import told
from tests.benchmarks.gpu.scale import WARM_UPS, Scale
from tests.benchmarks.steps import OurStep, Shape, Step, alternate, free, plain_step, wait
from tests.benchmarks.training import Row

Make = Callable[[], Step]


def speed(scale: Scale, shape: Shape) -> Iterator[Row]:
    """A row for each step: how fast it is, what it takes of memory, and whether it learns."""
    steps: dict[str, Step] = {}
    rows: dict[str, Row] = {}
    for name, make in _makers(scale, shape).items():
        rows[name] = {"shape": str(shape), "step": name}
        try:
            steps[name], memory = with_memory(make, scale.device)
            rows[name] |= memory
        except Exception as error:  # the others' figures are wanted all the same
            yield rows[name] | {"failed": told(error)}
    taken = alternate(steps, scale.rounds, scale.device, scale.moment)
    for name, figures in rates(taken, shape.characters).items():
        yield {**rows[name], **figures, "loss": float(steps[name]())}  # type: ignore[arg-type]


def _makers(scale: Scale, shape: Shape) -> dict[str, Make]:
    ours = partial(OurStep, shape, scale.device, scale.precision)
    return {
        "ours": partial(ours, way=scale.way, cautious=False),
        "ours, eager": partial(ours, way="device", cautious=False),
        "ours, muon": partial(ours, way=scale.way, optimizer="muon"),
        **{f"plain {kind}": partial(plain_step, shape, scale.device, kind) for kind in scale.kinds},
    }


def with_memory(make: Make, device: torch.device) -> tuple[Step, Row]:
    """A step made and run until it has all that it needs, and on a GPU the memory that took."""
    free()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    step = make()
    for _ in range(WARM_UPS):
        step()
    wait(device)
    if device.type != "cuda":
        return step, {}
    return step, {
        "GiB": (torch.cuda.max_memory_allocated() - allocated) / 2**30,
        "reserved": (torch.cuda.max_memory_reserved() - reserved) / 2**30,
    }


def rates(taken: dict[str, list[float]], characters: int) -> dict[str, Row]:
    """Of each loop by its seconds a round: milliseconds, characters a second, and ratios to the plain ones."""
    found: dict[str, Row] = {}
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        found[name] = {
            "ms": 1e3 * middle, "c/s": round(characters / middle), "spread": (max(seconds) - min(seconds)) / middle
        }  # fmt: skip
        for plain in (other for other in taken if other.startswith("plain") and not name.startswith("plain")):
            ratios = [theirs / ours for ours, theirs in zip(seconds, taken[plain], strict=True)]
            found[name][f"x {plain}"] = statistics.median(ratios)
    return found
