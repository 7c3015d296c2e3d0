"""Our step beside what the device can do at most: the floors of compute and of latency."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch import nn

from charrnn.network.graphs import GraphRecorder
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.steps import OurStep, Shape, Step, alternate, product
from tests.benchmarks.training import Row


def floors(scale: Scale, shape: Shape) -> Iterator[Row]:
    """Our step beside the ceilings."""
    dtype = next(iter(scale.types.values()))
    steps: dict[str, Step] = {
        "ours": OurStep(shape, scale.device, scale.precision, way=scale.way, cautious=False),
        "product": product(scale.square, dtype, scale.device),
        "chain": recorded(*chain(shape, scale.links, dtype, scale.device)),
    }
    taken = alternate(steps, scale.rounds, scale.device, scale.moment)
    seconds, link = statistics.median(taken["ours"]), statistics.median(taken["chain"]) / scale.links
    yield shares(shape, seconds, 2 * scale.square**3 / min(taken["product"]), link)


def chain(shape: Shape, links: int, dtype: torch.dtype, device: torch.device) -> tuple[Step, list[torch.Tensor]]:
    """Products of the recurrence's shape, each needing the one before, and the tensors they go through.

    Of a product (B, gates) the next one takes the first H columns. That part of the weights is orthogonal, so that the
    numbers neither vanish nor grow. An even number of links ends in the tensor in which it began.
    """
    weights = torch.randn(shape.hidden, shape.gates) * shape.hidden**-0.5
    nn.init.orthogonal_(weights[:, : shape.hidden])
    weights = weights.to(device, dtype)
    there, back = torch.randn(2, shape.lanes, shape.gates, device=device).to(dtype)

    def work() -> None:
        for _ in range(links // 2):
            torch.mm(there[:, : shape.hidden], weights, out=back)
            torch.mm(back[:, : shape.hidden], weights, out=there)

    return work, [there, back]


class _Recorded:
    """`work` as a graph. It is kept beside it: a graph knows tensors by their address, and does not hold them."""

    def __init__(self, work: Step, changed: list[torch.Tensor]) -> None:
        self._work = work
        (self._graph,) = GraphRecorder(changed[0].device).record([work], changed)

    def __call__(self) -> None:
        self._graph.replay()


def recorded(work: Step, changed: list[torch.Tensor]) -> Step:
    """On a GPU `work` as a graph, so that launches cost next to nothing; elsewhere itself."""
    return _Recorded(work, changed) if changed[0].is_cuda else work


def shares(shape: Shape, seconds: float, rate: float, link: float) -> Row:
    """Floors of a step that takes `seconds`, at `rate` operations a second and `link` seconds a serial product."""
    lowest = {
        "all": shape.operations(with_first=True) / rate,
        "needed": shape.operations(with_first=False) / rate,
        "serial": 2 * shape.window * shape.layers * link,
        "wavefront": 2 * (shape.window + shape.layers - 1) * link,
    }
    row: Row = {"shape": str(shape), "ms": 1e3 * seconds, "ceiling tflops": rate / 1e12, "link us": 1e6 * link}
    row |= {f"{name} ms": 1e3 * floor for name, floor in lowest.items()}
    return row | {f"{name}/step": floor / seconds for name, floor in lowest.items()}
