"""Which kernels a step takes beside those that are expected, and widths at which torch changes them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from charrnn.network.cudnn import expected, explain
from tests.benchmarks.gpu.ceilings import recorded
from tests.benchmarks.gpu.scale import WARM_UPS, Scale
from tests.benchmarks.steps import OurStep, Shape, Step, alternate, wait
from tests.benchmarks.training import Row

PROFILED = 2
TOP = 12
WAITS = (" Sync", " Synchronize", " Wait Event")  # ends of what the profiler lists beside kernels


def kernels(scale: Scale, shape: Shape) -> Iterator[Row]:
    """What is expected, and what the profiler says."""
    step = OurStep(shape, scale.device, scale.precision, way="device", cautious=False)
    for line in explain(shape.model, shape.lanes, step.precision, scale.described):
        yield {"shape": str(shape), "kernel": f"expected: {line}"}
    for _ in range(WARM_UPS):
        step()
    wait(scale.device)
    is_cuda = scale.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED):
            step()
        wait(scale.device)
    for row in ranked(profiler.key_averages(), DeviceType.CUDA if is_cuda else DeviceType.CPU):
        yield {"shape": str(shape), **row}


def ranked(averages: Iterable[Any], where: DeviceType) -> list[Row]:
    """All that ran there in one step, then what took most of the time; waits and the host's marks are not counted."""
    time_name = "self_cpu_time_total" if where == DeviceType.CPU else "self_device_time_total"
    found = [
        {"us": getattr(one, time_name) / PROFILED, "calls": one.count / PROFILED, "kernel": one.key}
        for one in averages
        if one.device_type == where and not one.is_user_annotation and not one.key.endswith(WAITS)
    ]
    found.sort(key=lambda row: row["us"], reverse=True)
    total = sum(row["us"] for row in found)
    if not total:
        raise RuntimeError("the profiler saw nothing")
    whole = {"us": total, "calls": sum(row["calls"] for row in found), "kernel": f"all of {len(found)} kinds"}
    names = " ".join(row["kernel"] for row in found)
    rows = [{**whole, "persist": _persists(names)}]
    rows += [{**row, "persist": _persists(row["kernel"])} for row in found[:TOP]]
    return [{"share": row["us"] / total, **row} for row in rows]


def _persists(name: str) -> bool:
    return "persist" in name.lower()


def sizes(scale: Scale, width: int) -> Iterator[Row]:
    """Layers of one width, for each number of lanes."""
    steps = {
        f"{lanes} {kind}": recorded(*layer(width, lanes, scale.window, dtype, scale.device))
        for lanes in scale.lanes
        for kind, dtype in scale.types.items()
    }
    taken = alternate(steps, scale.rounds, scale.device, scale.moment / 3)
    for lanes in scale.lanes:
        row: Row = {"hidden": width, "lanes": lanes}
        for kind in scale.types:
            told = expected("lstm", width, width, lanes, kind, scale.described)
            row[f"{kind} us"] = 1e6 * statistics.median(taken[f"{lanes} {kind}"]) / scale.window
            row[f"{kind} expected"] = "/".join(dict.fromkeys((told.forward, told.backward)))
        yield row


def layer(
    width: int, lanes: int, window: int, dtype: torch.dtype, device: torch.device
) -> tuple[Step, list[torch.Tensor]]:
    """Forward and backward pass of an lstm layer, down to its input, and the tensor that is read."""
    lstm = nn.LSTM(width, width).to(device, dtype)
    x = torch.randn(window, lanes, width, device=device).to(dtype).requires_grad_()
    gradient = torch.randn(window, lanes, width, device=device).to(dtype)

    def work() -> None:
        torch.autograd.grad(lstm(x)[0], [x, *lstm.parameters()], gradient)

    return work, [x]
