"""Functions over fixed tensors, recorded once as CUDA graphs and replayed.

A step of a recurrent model is hundreds of small kernels; launched one by one, the host is what is waited for. A graph
launches them all at once, and computes the same.

A recording that fails leaves torch in "all kinds of weird states" (its own words, in CUDAGraph.cpp): the allocator may
go on filling the graph's memory, and random generators may refuse to be used. So `RecordingFailed` says more than that
there is no graph: the process that sees it should end, and another one should do the work with graphs turned off.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from charrnn.errors import RecordingFailed

_WARM_UPS = 3

Work = Callable[[], object]


def records_on(device: torch.device) -> bool:
    """Whether work on `device` is recorded: on NVIDIA's GPUs, unless the environment says that it must not be."""
    return device.type == "cuda" and os.environ.get("CHARRNN_GRAPHS") != "0"


class GraphRecorder:
    """Makes the graphs of one owner, which never run at the same time and so share their memory.

    Everything runs on one stream that is kept: cuBLAS takes a workspace (32 MiB) for each stream that it is called on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._pool: Any = None
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()

    def record(
        self, works: Sequence[Work], changed: Sequence[Tensor], generators: Sequence[torch.Generator] = ()
    ) -> list[torch.cuda.CUDAGraph]:
        """Records the graph of each of `works`, which read and write only tensors that stay where they are.

        All of them run a few times before the first is recorded, since libraries choose kernels and make room on their
        first calls: so that the memory this takes has been given back before the graphs take theirs. Whatever they
        change is put back: `changed` tensors, from a copy in the computer's memory, and the states of the `generators`
        they draw from.

        Raises RecordingFailed where a graph cannot be recorded. What is wrong with the works themselves is raised as it
        is: they have run before.
        """
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        if not self._graphs:  # a pool goes with the last of its graphs, and its handle must not be used again
            self._pool = torch.cuda.graph_pool_handle()
        before = [array.detach().to("cpu", copy=True) for array in changed]
        states = [generator.get_state() for generator in generators]
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for work in works:
                for _ in range(_WARM_UPS):
                    work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        with torch.no_grad():
            for array, value in zip(changed, before, strict=True):
                array.copy_(value)
        graphs = [self._recorded(work, generators) for work in works]
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return graphs

    def _recorded(self, work: Work, generators: Sequence[torch.Generator]) -> torch.cuda.CUDAGraph:
        graph, first = torch.cuda.CUDAGraph(), None
        infers = torch.is_inference_mode_enabled()
        try:
            # What torch makes here for its generators must not be inference tensors: the next graph writes to it too.
            with torch.inference_mode(False):
                for generator in generators:
                    graph.register_generator_state(generator)
                # A recording that fails leaves its stream the current one; the outer context does not.
                with torch.cuda.stream(self._stream), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                    try:
                        with torch.inference_mode(infers):
                            work()
                    except Exception as error:
                        first = error  # the end of the recording will only say that something went wrong
                        raise
        except Exception as error:
            raise RecordingFailed(_told(first or error)) from error
        self._graphs.add(graph)
        return graph


def _told(error: BaseException) -> str:
    """Returns an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
