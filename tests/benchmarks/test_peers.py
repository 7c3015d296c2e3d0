"""The peers of the benchmarks compute what torch's modules do; what is not installed is left out, and said."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.errors import UsageError
from charrnn.native import loader
from tests.benchmarks import peers, sampling_peers
from tests.benchmarks.sampling_loops import PlainModules, make_checkpoint
from tests.benchmarks.steps import Shape, plain_step
from tests.benchmarks.workers import ROOT

SHAPE = Shape("lstm", layers=2, hidden=6, embedding=5, lanes=3, window=7, vocabulary=11)


def _module(name: str, *needed: str) -> Any:
    for library in needed:
        pytest.importorskip(library)
    return importlib.import_module(f"tests.benchmarks.{name}")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("way", [("own gradient", 1), ("autodiff by layer", 4), ("autodiff by time", 1)])
def test_jax_trains_as_the_plain_step_does(cell: str, way: tuple[str, int]) -> None:
    """The same weights, the same text: loss after loss is the same, and falls."""
    jax_training = _module("jax_training", "jax")
    shape = SHAPE._replace(cell=cell)
    torch.manual_seed(3)
    plain = plain_step(shape)
    expected = [float(plain()) for _ in range(30)]  # type: ignore[arg-type]
    torch.manual_seed(3)
    step = jax_training.stepper(shape, *way)
    losses = [float(step()) for _ in range(30)]
    assert losses == pytest.approx(expected, abs=2e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("layers", "hidden", "count"), [(2, 6, 3), (1, 5, 1)])
def test_steps_of_sampling_are_torchs(layers: int, hidden: int, count: int) -> None:
    """Logits of five characters, state carried; and a block of JAX draws what steps draw with the same numbers."""
    checkpoint = make_checkpoint(layers, hidden)
    arrays, modules = checkpoint.parameters, PlainModules(checkpoint).eval()
    rows = np.random.default_rng(1).integers(0, 65, (5, count))
    expected, state = [], None
    with torch.inference_mode():
        for ids in rows:
            logits, state = modules.logits(torch.from_numpy(ids), state)
            expected.append(logits.numpy())
    jax_sampling = _module("jax_sampling", "jax")
    make_ways = jax_sampling.make_ways
    steps = {name: step for name, (step, _) in make_ways(arrays, layers, hidden, count).items()}
    uniforms = np.random.default_rng(2).random((64, count), np.float32)
    for name, (step, block) in make_ways(arrays, layers, hidden, count).items():
        ids, drawn = np.zeros(count, np.int64), []
        for row in uniforms:
            ids = sampling_peers.draw(step(ids), row)
            drawn.append(ids)
        np.testing.assert_array_equal(block(uniforms), drawn, err_msg=name)
    graphs = _module("onnx_graphs", "onnxruntime", "onnx")
    for way in ("LSTM", "MatMul"):
        steps[way] = graphs.OnnxStep(way, arrays, layers, hidden, count, threads=1)
    for name, step in steps.items():
        for ids, logits in zip(rows, expected, strict=True):
            np.testing.assert_allclose(step(ids), logits, rtol=1e-4, atol=1e-4, err_msg=name)


def test_a_draw_by_hand() -> None:
    """Weights 1, 3 and 4 of 8 at the temperature of all loops: the numbers' places among 1/8, 1/2 and 1."""
    logits = np.log(np.array([[1.0, 3.0, 4.0]], np.float32)) * sampling_peers.TEMPERATURE
    drawn = [int(sampling_peers.draw(logits.copy(), np.array([u], np.float32))[0]) for u in (0.1, 0.2, 0.49, 0.51, 1.0)]
    assert drawn == [0, 1, 1, 2, 2]


def test_what_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, with what brings it; torch.compile needs a compiler; ONNX Runtime obeys no instruction set."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    told: list[str] = []
    assert peers.installed(peers.SAMPLING, told.append) == []
    assert [line.split(" is ")[0] for line in told] == list(peers.SAMPLING)
    assert all("charrnn[bench]" in line for line in told[:2])
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    monkeypatch.setattr(peers.shutil, "which", lambda name: name)
    assert peers.installed(peers.SAMPLING, told.append) == list(peers.SAMPLING)
    monkeypatch.setenv("CHARRNN_SET", "avx2")
    assert peers.installed(peers.SAMPLING, told.append) == [peers.JAX, peers.COMPILED]


def test_a_set_is_never_more_than_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the machine's own unless CHARRNN_SET names a lesser one; a name that is none is refused."""
    monkeypatch.delenv("CHARRNN_SET", raising=False)
    assert [loader.permitted_set(best) for best in (0, 1, 2)] == [0, 1, 2]
    monkeypatch.setenv("CHARRNN_SET", "avx2")
    assert [loader.permitted_set(best) for best in (0, 1, 2)] == [0, 1, 1]
    monkeypatch.setenv("CHARRNN_SET", "portable")
    assert [loader.permitted_set(best) for best in (0, 1, 2)] == [0, 0, 0]
    monkeypatch.setenv("CHARRNN_SET", "sse9")
    with pytest.raises(UsageError, match="sse9"):
        loader.permitted_set(2)


def test_all_is_held_to_a_set() -> None:
    """A process that asks for it begins anew, with the set for our code and for torch."""
    program = """
from tests.benchmarks.peers import hold_to
hold_to("avx2")
import torch
from charrnn.native import step, window
found = window.find_library()
print(torch.backends.cpu.get_cpu_capability(), step.find_library() and step.best_set(), found and found.best_set,
      found and found.has_narrow)
"""
    environment = {name: value for name, value in os.environ.items() if name not in {*peers.ISA, "CHARRNN_SET"}}
    environment["PYTHONPATH"] = str(ROOT)
    words = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).split()
    assert words[0] in ("AVX2", "DEFAULT")
    assert set(words[1:3]) <= {"0", "1", "None"}
    assert words[3] in ("False", "None")
