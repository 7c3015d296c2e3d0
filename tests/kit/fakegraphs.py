"""CUDA graphs without a GPU: a tape in their place, for tensors of a CPU.

`torch.cuda.graph` is made to record every operation with the memory that it was made on, and to leave that memory as it
was, as a capture does, which runs nothing. A replay runs the operations again, with the host's numbers frozen. What a
capture cannot do fails here in the same way: where an operation asks the device for a number, the recording raises, its
end raises once more, its stream stays the current one, and its generators cannot be used any more (CUDAGraph.cpp and
cuda/graphs.py of torch 2.8 to 2.13). Graphs that share a pool share memory: before one is replayed, all that the others
computed in it is spoiled.

What is not here: kernels, streams that run side by side, and the rules of the driver.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS = (
    "_local_scalar_dense", "aten.item", "nonzero", "is_nonzero", "masked_select", "aten.equal", "unique", "bincount",
    "repeat_interleave.Tensor",
)  # fmt: skip
"""Operations that wait for their result, or for its size."""
_NOTHING_YET = ("aten.empty", "aten.new_empty", "aten.empty_like", "aten.empty_strided")


def asks(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation on a GPU would have to wait for the device."""
    masks = args[1] if str(func).startswith(("aten.index.", "aten.index_put")) else ()
    is_masked = any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in masks)
    return is_masked or any(name in str(func) for name in ASKS)


class Watch(TorchDispatchMode):
    """Counts operations; raises RuntimeError where one asks the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if asks(func, args):
            raise RuntimeError(f"{func} asks the device for a number")
        out = func(*args, **(kwargs or {}))
        if any(_writes(argument) for argument in func._schema.arguments) or not _is_view(out, args, kwargs):
            self.names.append(str(func))
        return out


def _writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _is_view(out: Any, args: Any, kwargs: Any) -> bool:
    """Whether all that came out is memory that went in. (What an operation's schema says may or may not be so.)"""
    given = {_storage(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
    return all(_storage(one) in given for one in tree_leaves(out) if isinstance(one, Tensor))


def _identity(generator: torch.Generator | None) -> Any:
    """Of a generator, whichever object of Python's stands for it."""
    return None if generator is None else generator._cdata


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _whole(tensor: Tensor) -> Tensor:
    """All of a tensor's memory, as bytes."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())  # type: ignore[call-overload]


class Graph(TorchDispatchMode):
    """In the place of torch.cuda.CUDAGraph: the operations of a recording."""

    def __init__(self) -> None:
        super().__init__()
        self.generators: list[torch.Generator] = []
        self.siblings: weakref.WeakSet[Graph] = weakref.WeakSet()
        self.is_invalid = False
        self.written: dict[int, Tensor] = {}
        """Storage -> memory that was there before the recording, and is written to."""
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self._made: dict[int, Tensor] = {}
        self._before: dict[int, Tensor] = {}
        self._states: list[Tensor] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        """As of torch.cuda.CUDAGraph: random numbers are drawn anew in each replay."""
        self.generators.append(generator)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(isinstance(one, Tensor) for one in tree_leaves((args, kwargs))) and not func._schema.returns:
            return func(*args, **kwargs)  # a mark for the profiler
        if self.is_invalid or asks(func, args):
            self.is_invalid = True
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        drawn = [one for one in func._schema.arguments if "Generator" in str(one.type)]
        if drawn and _identity(kwargs.get("generator")) not in map(_identity, self.generators):
            self.is_invalid = True
            raise RuntimeError(f"{func} draws from a generator that the graph does not know")
        writes = self._keep_what_is_written(func, args, kwargs)
        out = func(*args, **kwargs)
        if not writes and _is_view(out, args, kwargs):
            return out
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and not writes:
                self._made.setdefault(_storage(one), one)
        if not any(str(func).startswith(name) for name in _NOTHING_YET):
            self._calls.append((func, args, kwargs, None if writes else out))
        return out

    def _keep_what_is_written(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        writes = False
        for place, argument in enumerate(func._schema.arguments):
            if not _writes(argument):
                continue
            writes = True
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            for one in tree_leaves(given):
                if isinstance(one, Tensor) and _storage(one) not in self._made:
                    self.written.setdefault(_storage(one), one)
                    if _storage(one) not in self._before:
                        self._before[_storage(one)] = _whole(one).clone()
        return writes

    def begin(self) -> None:
        """Remembers what a capture would not touch."""
        self._states = [generator.get_state() for generator in self.generators]

    @torch.no_grad()
    def end(self) -> None:
        """Puts all memory and all generators back: nothing has been run."""
        for storage, before in self._before.items():
            _whole(self.written[storage]).copy_(before)
        for generator, state in zip(self.generators, self._states, strict=True):
            generator.set_state(state)
        self._before.clear()

    @torch.no_grad()
    def replay(self) -> None:
        """Runs it all again."""
        for other in self.siblings:
            other.spoil()
        for func, args, kwargs, out in self._calls:
            made = func(*args, **kwargs)
            if out is not None:
                for to, value in zip(tree_leaves(out), tree_leaves(made), strict=True):
                    if isinstance(to, Tensor) and isinstance(value, Tensor) and to.numel():
                        to.copy_(value)

    def spoil(self) -> None:
        """As where another graph has used the same memory."""
        for array in self._made.values():
            _whole(array).fill_(0xFF)  # not a number in every floating type


class FakeGraphs:
    """What has been recorded, and how."""

    def __init__(self) -> None:
        self.graphs: weakref.WeakSet[Graph] = weakref.WeakSet()
        """Those that still are."""
        self.count = 0
        """How many were made."""
        self.log: list[str] = []
        """warm-ups ("run") and captures ("capture"), in order."""
        self.streams: list[Any] = []
        """That captures were made on."""
        self.pools: list[Any] = []
        self.current: Any = "the default stream"

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        """As torch.cuda.stream."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def capture(self, graph: Graph, pool: Any = None, stream: Any = None) -> Any:
        """As torch.cuda.graph."""
        return _Capture(self, graph, pool, stream)

    def pool_handle(self) -> Any:
        """As torch.cuda.graph_pool_handle."""
        return Pool()


class Pool:
    """A handle. One whose graphs are all gone must not be used again (an assertion of torch's allocator)."""

    def __init__(self) -> None:
        self._graphs: weakref.WeakSet[Graph] = weakref.WeakSet()
        self._was_used = False

    def take(self, graph: Graph) -> list[Graph]:
        """The other graphs of this pool."""
        others = list(self._graphs)
        assert others or not self._was_used, "the pool has gone with its last graph"
        self._graphs.add(graph)
        self._was_used = True
        return others


class _Capture:
    def __init__(self, fakes: FakeGraphs, graph: Graph, pool: Any, stream: Any) -> None:
        self._fakes, self._graph, self._pool, self._stream = fakes, graph, pool, stream

    def __enter__(self) -> None:
        fakes = self._fakes
        # Generators would get tensors that the next graph may not write to outside of it (pytorch issue 166792).
        assert not torch.is_inference_mode_enabled(), "a capture begins in inference mode"
        fakes.log.append("capture")
        fakes.streams.append(self._stream)
        fakes.pools.append(self._pool)
        self._outer, fakes.current = fakes.current, self._stream
        others = [] if self._pool is None else self._pool.take(self._graph)
        self._graph.siblings.update(others)
        for one in others:
            one.siblings.add(self._graph)
        fakes.count += 1
        fakes.graphs.add(self._graph)
        self._graph.begin()
        self._graph.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._graph.__exit__(*raised)
        self._graph.end()
        if self._graph.is_invalid:  # and its stream stays the current one
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self._fakes.current = self._outer


class _Stream:
    def __init__(self, device: Any = None) -> None: ...

    def wait_stream(self, _other: Any) -> None: ...


@pytest.fixture
def fake_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGraphs]:
    """Lets graphs be "recorded" on a CPU, of the programs that a GPU would run: nothing of ours that is compiled, and
    nothing of oneDNN's, which a tape would not see into."""
    fakes = FakeGraphs()
    for name, fake in {
        "Stream": _Stream, "current_stream": _Stream, "stream": fakes.stream, "CUDAGraph": Graph,
        "graph": fakes.capture, "graph_pool_handle": fakes.pool_handle,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, fake)
    for place in ("charrnn.native.window", "charrnn.network.compiled_layer"):
        monkeypatch.setattr(f"{place}.find_library", lambda: None)
    from charrnn.cells import orthogonal

    on_the_host = orthogonal.exponential
    monkeypatch.setattr(
        orthogonal,
        "exponential",
        lambda x: orthogonal.exponential_on_device(x) if isinstance(x, Tensor) else on_the_host(x),
    )
    torch._C._set_mkldnn_enabled(False)  # its context manager warns of Intel's GPUs
    yield fakes
    torch._C._set_mkldnn_enabled(True)
