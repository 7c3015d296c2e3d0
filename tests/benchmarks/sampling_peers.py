"""Peers of the compiled sampling step in ONNX Runtime, JAX and torch.compile, as their experts write them.

Each has a loop that draws characters from the weights of `make_checkpoint` at its temperature, in more than one way, of
which the fastest is kept. A library that is not installed has no loop. Each function is a worker's (`worker.py`), whose
environment has set the number of threads where a library reads it there. Knows three libraries. Refuses to know what
they are compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.sampling_loops import TEMPERATURE, VOCABULARY, Loop, PlainModules, make_checkpoint

Floats = npt.NDArray[np.float32]


def draw(logits: Floats, uniforms: Floats) -> npt.NDArray[np.int64]:
    """Returns an id for each lane: `logits` (B, V), `uniforms` (B,) in [0, 1)."""
    scaled = logits / TEMPERATURE
    scaled -= scaled.max(1, keepdims=True)
    weights = np.exp(scaled, out=scaled).cumsum(1)
    return (weights <= uniforms[:, None] * weights[:, -1:]).sum(1).clip(max=logits.shape[1] - 1)


def _text_loop(step: Callable[[npt.NDArray[np.int64]], Floats], count: int) -> Loop:
    """Writes text with a step (ids (B,) -> logits (B, V)) that keeps its own state."""
    rng = np.random.default_rng(0)

    def loop(length: int) -> None:
        ids, texts, uniforms = np.zeros(count, np.int64), [""] * count, rng.random((length, count), np.float32)
        for place in range(length):
            ids = draw(step(ids), uniforms[place])
            for lane, id_ in enumerate(ids.tolist()):
                texts[lane] += VOCABULARY.characters[id_]

    return loop


def fastest(loops: Mapping[str, Loop], moment: float = 0.05) -> tuple[Loop, dict[str, Any]]:
    """Returns the loop that takes the least time, and the characters a second of each."""
    rates = {}
    for name, loop in loops.items():
        loop(2)
        length, seconds = 2, 0.0
        while seconds < moment:
            length *= 2
            began = time.perf_counter()
            loop(length)
            seconds = time.perf_counter() - began
        rates[name] = length / seconds
    best = max(rates, key=rates.__getitem__)
    return loops[best], {"way": best, "c/s": rates}


def onnx(threads: int | None, *, layers: int, hidden: int, count: int) -> tuple[Loop, dict[str, Any]]:
    """ONNX Runtime: a graph of one step, its state bound to memory of ours; the draw is numpy's."""
    from tests.benchmarks.onnx_graphs import OnnxStep

    arrays = make_checkpoint(layers, hidden).parameters
    return fastest(
        {way: _text_loop(OnnxStep(way, arrays, layers, hidden, count, threads), count) for way in ("LSTM", "MatMul")}
    )


def jax(threads: int | None, *, layers: int, hidden: int, count: int) -> tuple[Loop, dict[str, Any]]:
    """JAX: a jitted step, and a jitted loop that draws 64 characters by itself; matrices either way round."""
    from tests.benchmarks.jax_sampling import make_ways

    arrays = make_checkpoint(layers, hidden).parameters
    loops: dict[str, Loop] = {}
    for name, (step, block) in make_ways(arrays, layers, hidden, count).items():
        loops[f"step, {name}"] = _text_loop(step, count)
        loops[f"64 at once, {name}"] = _block_loop(block, count)
    return fastest(loops)


def _block_loop(block: Callable[[Floats], npt.NDArray[np.int32]], count: int) -> Loop:
    """Writes text with blocks (uniforms (64, B) -> ids (64, B))."""
    rng = np.random.default_rng(0)

    def loop(length: int) -> None:
        texts = [""] * count
        for _ in range(0, length, 64):
            for lane, ids in enumerate(block(rng.random((64, count), np.float32)).T.tolist()):
                texts[lane] += "".join([VOCABULARY.characters[id_] for id_ in ids])

    return loop


def compiled_torch(threads: int | None, *, layers: int, hidden: int, count: int) -> tuple[Loop, dict[str, Any]]:
    """torch.compile of a step of nn.LSTMCells and the draw, with and without frozen weights. Needs a C++ compiler."""
    import torch
    from torch._inductor import config

    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = make_checkpoint(layers, hidden)
    loops: dict[str, Loop] = {}
    for name, is_frozen in (("plain", False), ("frozen", True)):
        torch._dynamo.reset()
        with config.patch(freezing=is_frozen), torch.inference_mode():
            modules = PlainModules(checkpoint).eval()
            state = [tuple(torch.zeros(count, hidden) for _ in range(2)) for _ in range(layers)]

            def step(ids: Any, state: Any, modules: Any = modules) -> Any:
                logits, state = modules.logits_of_cells(ids, state)
                return torch.multinomial((logits / TEMPERATURE).softmax(1), 1)[:, 0], state

            compiled = torch.compile(step, dynamic=False, fullgraph=True)
            compiled(torch.zeros(count, dtype=torch.int64), state)
        loops[name] = _compiled_loop(compiled, state, count)
    return fastest(loops)


def _compiled_loop(step: Callable[..., Any], state: Any, count: int) -> Loop:
    import torch

    def loop(length: int) -> None:
        ids, after, texts = torch.zeros(count, dtype=torch.int64), state, [""] * count
        with torch.inference_mode():
            for _ in range(length):
                ids, after = step(ids, after)
                for lane, id_ in enumerate(ids.tolist()):
                    texts[lane] += VOCABULARY.characters[id_]

    return loop
