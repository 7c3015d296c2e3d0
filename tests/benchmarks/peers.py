"""Which peers are installed (`pip install 'charrnn[bench]'`), and the environment that sets how many threads they have.

XLA makes its threads when a process starts, so their number stands in the environment of a worker.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from charrnn.native.loader import SET_VARIABLE
from tests.benchmarks.workers import Worker, WorkerError

JAX, ONNX, COMPILED = "JAX", "ONNX Runtime", "torch.compile"
DIFFERENTIATED = "JAX autodiff"
"""JAX where no backward pass is written by hand."""
SAMPLING = {ONNX: "onnx", JAX: "jax", COMPILED: "compiled_torch"}
"""Peers in sampling, and the functions of `sampling_peers.py` that make their loops."""
ISA = {
    "ATEN_CPU_CAPABILITY": {"avx2": "avx2", "portable": "default"},
    "MKL_ENABLE_INSTRUCTIONS": {"avx2": "AVX2", "portable": "SSE4_2"},
    "ONEDNN_MAX_CPU_ISA": {"avx2": "AVX2", "portable": "SSE41"},
}
"""What holds torch and its libraries to an instruction set, by the name that CHARRNN_SET has for it."""


def _missing(name: str) -> str | None:
    """Says what a peer lacks here; None where it can be tried."""
    modules = {JAX: ["jax"], DIFFERENTIATED: ["jax"], ONNX: ["onnxruntime", "onnx"], COMPILED: []}[name]
    lacking = [module for module in modules if find_spec(module) is None]
    if lacking:
        return f"{' and '.join(lacking)} not installed (pip install 'charrnn[bench]')"
    if name == ONNX and os.environ.get(SET_VARIABLE):
        return "it cannot be held to an instruction set"
    if name == COMPILED and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        return "it needs a C++ compiler"
    return None


def installed(names: Iterable[str], tell: Callable[[str], None] | None = None) -> list[str]:
    """Returns the peers that can be measured here; `tell` (default: stderr) is called with a line for each other."""
    found = []
    for name in names:
        missing = _missing(name)
        if missing is None:
            found.append(name)
        else:
            (tell or _to_stderr)(f"{name} is left out: {missing}")
    return found


def environment(threads: int | None) -> dict[str, str]:
    """Returns the environment of a worker with so many threads; None: as many as a library takes."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    found = {}
    if threads is not None:
        found["NPROC"] = str(threads)
        flags.append(f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}")
    if os.environ.get(SET_VARIABLE):
        flags.append(f"--xla_cpu_max_isa={'AVX2' if os.environ[SET_VARIABLE] == 'avx2' else 'SSE4_2'}")
    return {**found, "XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}


def hold_to(instruction_set: str) -> None:
    """Begins this process anew with everything held to an instruction set, unless it is so already: a library reads its
    variable when it is loaded."""
    wanted = {SET_VARIABLE: instruction_set, **{name: values[instruction_set] for name, values in ISA.items()}}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})


class Peers:
    """Workers of peers in sampling, begun when they are needed. One that fails is left out from then on, and that is
    said once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._workers: dict[tuple[str, int], Worker] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def loops(self, layers: int, hidden: int, count: int, threads: int) -> dict[str, Worker]:
        """The peers' loops for a shape, by name; those for the shape before are gone."""
        found: dict[str, Worker] = {}
        for name in list(self._names):
            key = name, threads
            if key not in self._workers:
                worker = Worker(threads, environment=environment(threads))
                self._workers[key] = self._stack.enter_context(worker)
            try:
                self._workers[key].make(
                    Path(__file__).with_name("sampling_peers.py"), SAMPLING[name],
                    layers=layers, hidden=hidden, count=count,
                )  # fmt: skip
            except WorkerError as error:
                _to_stderr(f"{name} is left out: {str(error).strip().splitlines()[-1]}")
                self._names.remove(name)
            else:
                found[name] = self._workers[key]
        return found


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
