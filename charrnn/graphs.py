"""A function over fixed tensors, recorded once as a CUDA graph and replayed.

A step of a recurrent model is hundreds of small kernels; launched one by one, the host is what is waited for. A graph
launches them all at once, and computes the same. Knows CUDA's rules for recording. Refuses to know what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_WARM_UPS = 3


def record(
    work: Callable[[], object],
    changed: Sequence[Tensor],
    generators: Sequence[torch.Generator] = (),
    *,
    pool: Any = None,
) -> torch.cuda.CUDAGraph:
    """The graph of `work`, which reads and writes only tensors that stay where they are.

    `work` runs a few times before, since libraries choose kernels and make room on their first calls; all that it
    changes is put back: `changed` tensors and the states of the `generators` it draws from. `pool` is the memory of
    another graph that never runs at the same time.
    """
    device = changed[0].device
    before = [array.detach().clone() for array in changed]
    states = [generator.get_state() for generator in generators]

    def put_back() -> None:
        with torch.no_grad():
            for array, value in zip(changed, before, strict=True):
                array.copy_(value)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            work()
            put_back()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, pool=pool):
        work()
    put_back()
    return graph
