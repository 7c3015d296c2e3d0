"""The loops of a worker that compute with torch or with our own code: training, sampling, scoring, a matrix product.

Each function gets the number of threads (None: what a command takes by itself) and returns a loop and something to
tell. With a fixed number a crew of compiled code never bends, where `is_rigid` says so. This module is also loaded
beside an older checkout's packages, so it takes nothing for granted that is new. Knows engines and steps. Refuses to
know clocks.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from charrnn.network import device as devices
from tests.benchmarks import steps

Loop = Callable[[int], object]
CPU = torch.device("cpu")


def _set_threads(threads: int | None, is_rigid: bool) -> None:
    """Sets the threads of torch and of compiled code; None leaves what a command takes by itself."""
    devices.prepare(CPU, threads)
    if threads is None:
        return
    with contextlib.suppress(ImportError):  # an older checkout has no crew
        from charrnn.native import crew, step, window

        crew.set_most_threads(threads)
        for library in (step.find_library(), getattr(window.find_library(), "library", None)):
            if is_rigid and library is not None:
                with contextlib.suppress(AttributeError):
                    crew.keep_all_threads(library)


def _repeat(step: Callable[[], object]) -> Loop:
    def loop(length: int) -> None:
        for _ in range(length):
            step()

    return loop


def training(
    threads: int | None, *, shape: list[Any], precision: str = "fp32", is_rigid: bool = False, **settings: Any
) -> tuple[Loop, str]:
    """Whole steps of a run, of the shape whose fields are given; tells the precision that auto comes to."""
    _set_threads(threads, is_rigid)
    step = steps.OurStep(steps.Shape(*shape), precision=precision, **settings)
    return _repeat(step), step.precision


def plain_training(threads: int | None, *, shape: list[Any]) -> tuple[Loop, None]:
    """Steps of torch's modules and optimizer."""
    devices.prepare(CPU, threads)
    return _repeat(steps.plain_step(steps.Shape(*shape))), None


def product(threads: int | None, *, size: int, precision: str) -> tuple[Loop, None]:
    """Products of square matrices by torch."""
    devices.prepare(CPU, threads)
    left, right = torch.randn(2, size, size).to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    out = torch.empty_like(left)
    return _repeat(lambda: torch.mm(left, right, out=out)), None


def _compiled(threads: int | None, layers: int, hidden: int, weights: str, is_rigid: bool) -> tuple[Any, int]:
    """The compiled network of `make_checkpoint`, and the size of its vocabulary."""
    from charrnn.inference.compiled import CompiledNetwork
    from tests.benchmarks.sampling_loops import VOCABULARY, make_checkpoint

    _set_threads(threads, is_rigid)
    checkpoint = make_checkpoint(layers, hidden)
    chosen: dict[str, Any] = {"weights": weights}
    if threads is not None and "threads" in inspect.signature(CompiledNetwork).parameters:
        chosen["threads"] = threads
    return CompiledNetwork(checkpoint.model, checkpoint.parameters, **chosen), len(VOCABULARY)


def sampling(
    threads: int | None, *, layers: int, hidden: int, count: int, weights: str = "float32", is_rigid: bool = False
) -> tuple[Loop, None]:
    """Writes `count` samples side by side, as the command does; a step is a character of each."""
    from tests.benchmarks.sampling_loops import our_loop

    engine, _ = _compiled(threads, layers, hidden, weights, is_rigid)
    return our_loop(engine, count), None


def scoring(
    threads: int | None, *, layers: int, hidden: int, lanes: int, weights: str = "float32", is_rigid: bool = False
) -> tuple[Loop, None]:
    """Reads a text in lanes with compiled code and scores each character; a step is a character of each lane."""
    engine, vocabulary = _compiled(threads, layers, hidden, weights, is_rigid)
    ids = np.random.default_rng(0).integers(0, vocabulary, (256, lanes)).astype(np.int32)

    def loop(length: int) -> None:
        state = engine.zero_state(lanes)
        for begin in range(0, length, len(ids)):
            state = engine.score(ids[: length - begin], state).state

    return loop, None


def validation(
    threads: int | None, *, layers: int, hidden: int, lanes: int, window: int = 256, is_rigid: bool = False
) -> tuple[Loop, None]:
    """Scores a text in lanes with torch, as `eval` and a run's validation do; a step is a window."""
    from charrnn.evaluation.bpc import exact_losses, reading
    from charrnn.network.model import CharacterModel
    from tests.benchmarks.sampling_loops import VOCABULARY, make_checkpoint

    _set_threads(threads, is_rigid)
    model = CharacterModel(make_checkpoint(layers, hidden).model, len(VOCABULARY))
    model.initialise(torch.Generator().manual_seed(1))
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(VOCABULARY), (window + 1, lanes)))

    def loop(length: int) -> None:
        state = model.zero_state(lanes)
        with reading(model):
            for _ in range(length):
                logits, state = model(ids[:-1], state)
                exact_losses(logits, ids[1:])

    return loop, None
