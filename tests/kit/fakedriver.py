"""What torch asks the driver of a GPU, answered without one. `fakecuda.py` puts it in torch's place."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

GPU = torch.device("cuda", 0)
_STATE_BYTES = 16  # seed and offset of Philox: CUDAGeneratorImpl.cpp


class Watcher(Protocol):
    """What is told of graphs and waits."""

    is_capturing: bool
    graphs: int
    registered: list[torch.Generator]

    def note(self, kind: str, operation: str) -> None: ...


class Generator(torch.Generator):
    """A generator of the CPU, or one that says it is the GPU's and has a state of its size (CUDAGeneratorImpl.cpp)."""

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        self = super().__new__(cls, "cpu")
        self.is_of_gpu = torch.device(device).type == "cuda"  # type: ignore[attr-defined]
        return self

    is_of_gpu: bool

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU if self.is_of_gpu else torch.device("cpu")

    def manual_seed(self, seed: int) -> Generator:
        super().manual_seed(seed)
        return self

    def get_state(self) -> Tensor:
        if not self.is_of_gpu:
            return super().get_state()
        return torch.from_numpy(np.array([self.initial_seed(), 0], np.uint64).view(np.uint8))

    def set_state(self, state: Tensor) -> Generator:
        if not self.is_of_gpu:
            super().set_state(state)
        elif state.device.type != "cpu" or state.dtype != torch.uint8:
            raise TypeError("expected a torch.ByteTensor, but got " + state.type())
        elif state.numel() != _STATE_BYTES:
            raise RuntimeError("RNG state is wrong size")
        return self


def moved_module(module: nn.Module, device: Any) -> nn.Module:
    """Module.to: parameters on the GPU, shared ones once, and a layer's side by side (`RNNBase.flatten_parameters`).

    torch's puts new contents into the old objects. Here parameters are new objects: one taken before is the CPU's.
    """
    moved: dict[int, nn.Parameter] = {}
    for owner in module.modules():
        named = {name: array for name, array in owner._parameters.items() if array is not None}
        sizes = [array.numel() for array in named.values()]
        place = torch.empty(sum(sizes), device=device)
        pieces = torch.split(place, sizes) if isinstance(owner, nn.RNNBase) else [None] * len(sizes)
        for (name, array), piece in zip(named.items(), pieces, strict=True):
            if id(array) not in moved:
                value = torch.empty(array.shape, device=device) if piece is None else piece.view(array.shape)
                moved[id(array)] = nn.Parameter(value.detach(), requires_grad=array.requires_grad)
            setattr(owner, name, moved[id(array)])
        if isinstance(owner, nn.RNNBase):
            owner._init_flat_weights()
    return module


class _Stream:
    """Of CUDA: what is put into it happens at once here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        """Nothing has to be waited for."""

    wait_event = record_event = synchronize = wait_stream


class _Event:
    """Of CUDA: it has always happened."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        """Nothing has to be waited for."""

    wait = synchronize = record

    def query(self) -> bool:
        return True


def driver(gpu: Watcher) -> dict[str, Any]:
    """What torch.cuda has in place of the driver's, by its names there: an H100 of whose graphs nothing is replayed."""

    class Graph:
        def register_generator_state(self, generator: torch.Generator) -> None:
            gpu.registered.append(generator)

        def replay(self) -> None:
            assert not gpu.is_capturing

        def pool(self) -> tuple[int, int]:
            return (0, 1)

        def reset(self) -> None:
            pass

    @contextlib.contextmanager
    def graph(graph: Graph, pool: Any = None, stream: Any = None, **_: Any) -> Iterator[None]:
        assert not gpu.is_capturing, "one graph is recorded inside of another"
        gpu.is_capturing = True
        try:
            yield
        finally:
            gpu.is_capturing, gpu.registered = False, []
        gpu.graphs += 1

    properties = types.SimpleNamespace(
        name="NVIDIA H100", major=9, minor=0, multi_processor_count=132, total_memory=80 << 30
    )
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: properties.name,
        "mem_get_info": lambda device=None: (79 << 30, 80 << 30),
        "max_memory_allocated": lambda device=None: 0,
        "synchronize": lambda device=None: gpu.note("waits", "synchronize"),
        "current_stream": _Stream,
        "Stream": _Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "Event": _Event,
        "CUDAGraph": Graph,
        "graph": graph,
        "is_current_stream_capturing": lambda: gpu.is_capturing,
    }
