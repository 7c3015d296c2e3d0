"""The engines against torch, against each other, against the definitions of a draw, and against rough treatment."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint, load, save
from charrnn.errors import UsageError
from charrnn.inference import compiled, panels
from charrnn.inference import engine as engines
from charrnn.inference.compiled import CompiledNetwork
from charrnn.inference.distribution import draw, log_probabilities, probabilities
from charrnn.inference.engine import Written
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import has_compiled_step, make_engine
from charrnn.inference.reference import Network
from charrnn.native import step as library
from charrnn.native.loader import candidates
from charrnn.network.model import CharacterModel
from charrnn.network.stepper import TorchStepper
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.tiny import tiny

# Shape letters: T characters, B lanes, L layers, H hidden size, E embedding size, V vocabulary.
BEFORE = "gru, reset before"
CELLS = ["lstm", "gru", BEFORE, "rnn"]
"""By the names that compiled code has for them."""
SHAPES = [(1, 1, 5, 2), (2, 3, 1, 17), (3, 31, 5, 130), (1, 33, 1, 17), (2, 65, 5, 130), (3, 100, 1, 2)]  # L, H, E, V
SETS = range(int(library.find_library().charrnn_best_set()) + 1) if library.find_library() else range(0)  # type: ignore[union-attr]
LANES = [1, 2, 3, 4, 5, 6, 7, 16, 17, 64]
needs_compiled = pytest.mark.skipif(not SETS, reason="this installation has no compiled step")
GREEDY = SamplingConfig(temperature=0.0)

Arrays = dict[str, Any]
Engine = Any


class Model(NamedTuple):
    """A configuration and its arrays."""

    config: ModelConfig
    arrays: Arrays


def configured(cell: str, **sizes: int) -> ModelConfig:
    """The configuration of a cell by the name that compiled code has for it."""
    if cell == BEFORE:
        return ModelConfig(cell="gru", reset_gate="before", **sizes)  # type: ignore[arg-type]
    return ModelConfig(cell=cell, **sizes)  # type: ignore[arg-type]


@cache
def model(cell: str, shape: tuple[int, int, int, int], seed: int = 0) -> Model:
    """Random arrays: inputs and biases large, so that gates saturate; recurrent ones small enough not to be chaotic."""
    L, H, E, V = shape
    config = configured(cell, num_layers=L, hidden_size=H, embedding_size=E)
    random = np.random.default_rng(seed)
    gains = {"weight_ih": 4.0, "weight_hh": 0.7, "bias": 2.0, "bias_ih": 2.0, "bias_hh": 1.0}
    arrays = {}
    for name, size in parameter_shapes(config, V).items():
        gain = gains[name.split(".")[-1]] if name.startswith("layers.") else 1.0
        gain /= size[1] ** 0.5 if name.endswith(("weight", "weight_ih", "weight_hh")) else 1.0
        arrays[name] = (gain * random.normal(size=size)).astype(np.float32)
    return Model(config, arrays)


def ids_of(shape: tuple[int, ...], V: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Random ids."""
    return np.random.default_rng(seed).integers(0, V, shape)


def _torch(model: Model) -> TorchStepper:
    V = len(model.arrays["embedding"])
    vocabulary = Vocabulary.of("".join(map(chr, range(0x4E00, 0x4E00 + V))))
    checkpoint = Checkpoint(
        kind="best",
        model=model.config,
        vocabulary=vocabulary,
        data=DataConfig(),
        corpus={},
        progress={},
        parameters=model.arrays,
    )
    return TorchStepper(checkpoint, torch.device("cpu"))


def _compiled(set_: int, threads: int) -> Any:
    return pytest.param(
        lambda model: CompiledNetwork(*model, instruction_set=set_, threads=threads), id=f"compiled-{set_}x{threads}"
    )


NUMPY = [
    pytest.param(lambda model: Network(*model), id="network"),
    pytest.param(lambda model: InPlaceNetwork(*model), id="in-place"),
]
COMPILED = [_compiled(set_, threads) for set_ in SETS for threads in (1, 2, 3)]
ENGINES = [*NUMPY, pytest.param(_torch, id="torch"), *COMPILED]
RECORDERS = [NUMPY[1], *COMPILED]
each_engine = pytest.mark.parametrize("make", ENGINES)


def close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal but for rounding: to `tolerance`, of 1 or of what is larger than 1."""
    np.testing.assert_allclose(
        ours / np.maximum(1, np.abs(theirs)), theirs / np.maximum(1, np.abs(theirs)), 0, tolerance
    )


# ------------------------------------------------------------------------------------------------- agreement with torch


@cache
def torch_logits(cell: str, shape: tuple[int, int, int, int], T: int, B: int) -> np.ndarray[Any, Any]:
    """Logits (T, B, V) of torch's fused kernels for `ids_of((T, B), V)`."""
    config, arrays = model(cell, shape)
    reference = CharacterModel(config, shape[3])
    reference.load_arrays(arrays)
    with torch.inference_mode():
        ids = torch.from_numpy(ids_of((T, B), shape[3]))
        logits: np.ndarray[Any, Any] = reference(ids, reference.zero_state(B))[0].numpy()
    return logits


@pytest.mark.parametrize("cell", CELLS)
@each_engine
def test_one_lane_is_torchs(make: Callable[[Model], Engine], cell: str) -> None:
    """Over 200 characters, read in pieces, one by one, scored and written: logits and log-probabilities to 1e-5."""
    T = 200
    for shape in SHAPES:
        engine, V = make(model(cell, shape)), shape[3]
        ids, expected = ids_of((T, 1), V)[:, 0], torch_logits(cell, shape, T, 1)[:, 0]
        likely = log_probabilities(expected)[np.arange(T - 1), ids[1:]]
        assert engine.vocabulary_size == V

        state = engine.zero_state()
        for start, end in ((0, 1), (1, 8), (8, 9), (9, T)):
            logits, state = engine.read(ids[start:end], state)
            close(logits, expected[end - 1 : end])
        state, some = engine.zero_state(1), 20
        for t in range(some):
            logits, state = engine.step(ids[t : t + 1], state)
            close(logits, expected[t : t + 1])

        scored = engine.score(ids[some:], state, logits)
        close(scored.log_probabilities, likely[some - 1 :])
        close(scored.logits, expected[-1:])
        first = engine.score(ids[:7], engine.zero_state())
        assert np.isnan(first.log_probabilities[0])
        close(first.log_probabilities[1:], likely[:6])
        close(engine.score(ids[7:], first.state, first.logits).logits, expected[-1:])


@pytest.mark.parametrize("cell", CELLS)
@each_engine
def test_lanes_are_scored_side_by_side(make: Callable[[Model], Engine], cell: str) -> None:
    """Each as if it were alone, from its own state and logits on."""
    T, B, shape = 23, 3, SHAPES[0]
    engine = make(model(cell, shape))
    ids = ids_of((T, B), shape[3])
    first = engine.score(ids[:5], engine.zero_state(B))
    second = engine.score(ids[5:], first.state, first.logits)
    assert np.isnan(first.log_probabilities[0]).all()
    for lane in range(B):
        alone = engine.score(ids[:, lane], engine.zero_state())
        together = np.concatenate((first.log_probabilities, second.log_probabilities))[:, lane]
        close(together[1:], alone.log_probabilities[1:])
        close(second.logits[lane], alone.logits[0])


def test_torch_scores_a_text_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few passes as the room for logits allows, and of each one answer that is waited for; the same figures."""
    shape = SHAPES[0]
    engine, ids = _torch(model("lstm", shape)), ids_of((40, 2), shape[3])
    passes = []
    engine.model.register_forward_hook(lambda _model, given, _out: passes.append(len(given[0])))
    whole = engine.score(ids, engine.zero_state(2))
    assert passes == [40]
    passes.clear()
    monkeypatch.setattr("charrnn.network.stepper._MOST_LOGITS", 2 * shape[3] * 15)
    parts = engine.score(ids, engine.zero_state(2))
    assert passes == [15, 15, 10]
    close(parts.log_probabilities[1:], whole.log_probabilities[1:])
    close(parts.logits, whole.logits)


@pytest.mark.parametrize("cell", CELLS)
@each_engine
def test_lanes_are_torchs(make: Callable[[Model], Engine], cell: str) -> None:
    """Any number of lanes side by side, taken from each other on the way; a state is a value."""
    for place, B in enumerate(LANES):
        shape = SHAPES[1:][place % 5]
        engine, V, T = make(model(cell, shape)), shape[3], 9
        ids, expected = ids_of((T, B), V), torch_logits(cell, shape, T, B)
        logits, state = engine.read(ids[:5], engine.zero_state(B))
        close(logits, expected[4])
        lanes = np.random.default_rng(B).integers(0, B, B + 2).tolist()[:64]
        taken = engine.take(state, lanes)
        close(engine.read(ids[5:][:, lanes], taken)[0], expected[-1][lanes])
        for row, after in zip(ids[5:], expected[5:], strict=True):
            logits, state = engine.step(row, state)
            close(logits, after)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("make", RECORDERS)
def test_records_are_the_cells_own(make: Callable[[Model], Engine], cell: str) -> None:
    """Every state and gate of every layer, in two pieces, as the cell's step computes them."""
    for shape in SHAPES:
        reference, engine, V = Network(*model(cell, shape)), make(model(cell, shape)), shape[3]
        ids = ids_of((40,), V)
        expected, _ = reference.record(ids, reference.zero_state())
        first, state = engine.record(ids[:13], engine.zero_state())
        second, state = engine.record(ids[13:], state)
        assert list(first) == list(expected)
        for kind, values in expected.items():
            assert first[kind].shape == (13, shape[0], shape[1])
            close(np.concatenate([first[kind], second[kind]]), values)
        reread = engine.read(ids, engine.zero_state())
        close(engine.step([1], state)[0], engine.step([1], reread[1])[0])


@needs_compiled
@pytest.mark.parametrize("set_", SETS)
def test_activations_are_tanh_and_sigmoid(set_: int) -> None:
    """For any argument, to the end of the floats: the embeddings are the arguments, the gates what comes out."""
    x = np.concatenate([np.linspace(-130, 130, 4001), np.geomspace(1e-30, 3e38, 200), -np.geomspace(1e-30, 3e38, 200)])
    V = len(x)
    for cell in CELLS:
        config = configured(cell, num_layers=1, hidden_size=2, embedding_size=1)
        arrays = {name: np.zeros(size, np.float32) for name, size in parameter_shapes(config, V).items()}
        arrays["embedding"][:, 0] = x
        arrays["layers.1.weight_ih"][:] = 1
        engine = CompiledNetwork(config, arrays, instruction_set=set_)
        expected = {"tanh": np.tanh(np.float32(x).astype(float)), "sigmoid": 0.5 + 0.5 * np.tanh(np.float32(x) / 2.0)}
        got: dict[str, list[Any]] = {}
        for start in range(0, V, 400):  # a new state now and then: only the gates' arguments are known
            block, _ = engine.record(np.arange(start, min(V, start + 400)), engine.zero_state())
            for kind, values in block.items():
                got.setdefault(kind, []).append(values[:, 0])
        for kind in {"lstm": "ifgo", "gru": "rzn", BEFORE: "rzn", "rnn": "h"}[cell]:
            curve = expected["tanh" if kind in "gnh" else "sigmoid"]
            close(np.concatenate(got[kind]), np.stack([curve, curve], 1), 2.5e-7)


# -------------------------------------------------------------------------------------- what the compiled step promises


def everything(engine: Engine, ids: Any, chunks: Sequence[int]) -> list[Any]:
    """Logits after each chunk of `ids` (T, B), and the state at the end."""
    state, found, start = engine.zero_state(ids.shape[1]), [], 0
    for length in chunks:
        logits, state = engine.read(ids[start : start + length], state)
        found.append(np.array(logits))
        start += length
    assert start == len(ids)
    H = engine.config.hidden_size
    return [*found, state.hidden[..., :H], *([] if state.cell is None else [state.cell[..., :H]])]


def assert_same(ours: Sequence[Any], theirs: Sequence[Any], lanes: Any = slice(None)) -> None:
    """Bit for bit; `lanes` of theirs."""
    for a, b in zip(ours, theirs, strict=True):
        expected = b[:, lanes] if b.ndim == 3 else b[lanes]
        np.testing.assert_array_equal(a, expected)


@needs_compiled
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_number_depends_on_nothing_beside_it(cell: str, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits for any threads, any lanes beside, any chunks, AVX2 and AVX-512, with and without a table."""
    T, B = 11, 64
    for shape in ((2, 33, 5, 17), (1, 100, 101, 130), (2, 65, 1, 2)):
        both, V = model(cell, shape), shape[3]
        ids = ids_of((T, B), V)

        def engine(set_: int, threads: int, both: Model = both) -> CompiledNetwork:
            return CompiledNetwork(*both, weights=weights, instruction_set=set_, threads=threads)

        for set_ in SETS:
            one = engine(set_, 1)
            assert one._model.table
            expected = everything(one, ids, [4, 1, 6])
            if set_ == 2:
                assert_same(expected, everything(engine(1, 1), ids, [4, 1, 6]))
            for lanes in (*map(range, LANES[:-1]), [63], [63, 0, 63, 12]):
                assert_same(everything(one, ids[:, lanes], [4, 1, 6]), expected, lanes)
            assert_same(everything(one, ids[:, :3], [1] * T)[-2:], everything(one, ids[:, :3], [T])[-2:])
            assert_same(everything(one, ids[:, :3], [T])[1:], expected[3:], slice(3))
            for threads in (2, 3, 5):
                several = engine(set_, threads)
                assert several.threads == min(threads, several._model.panels)
                assert_same(everything(several, ids, [4, 1, 6]), expected)
                assert_same(everything(several, ids[:, :1], [4, 1, 6]), expected, [0])
            with monkeypatch.context() as patch:
                patch.setattr(engines, "_SMALL_TABLE", 0)
                bare = engine(set_, 2)
            if not bare._model.table:
                assert_same(everything(bare, ids, [4, 1, 6]), expected)
        assert shape[1] != 100 or not bare._model.table, "of the shapes, one must go without"


@needs_compiled
@pytest.mark.parametrize("cell", CELLS)
def test_a_panel_is_as_large_as_one_pass_through_it(cell: str) -> None:
    """In every instruction set, and in all kinds of weights; nothing is larger than the scratch of its chains."""
    layout = panels.LAYOUTS[cell]
    assert layout.units * (len(layout.input_order) + (cell == "gru")) <= library.SCRATCH
    assert layout.narrow_units * len(layout.recurrent_order) <= 64
    for set_, weights in ((set_, weights) for set_ in SETS for weights in ("float32", "float16", "int8")):
        engine = CompiledNetwork(*model(cell, (2, 65, 5, 17)), weights=weights, instruction_set=set_)  # type: ignore[arg-type]
        wide = set_ == library.AVX512 or weights == "int8"
        assert engine._model.units == (layout.units if wide else layout.narrow_units)
        assert engine._model.panels == -(-65 // engine._model.units)


@needs_compiled
def test_what_is_written_depends_on_nothing_beside_it() -> None:
    """Ids and log-probabilities of a lane are the same bits for any threads and lanes, with its own settings."""
    V, B, T = 17, 7, 50
    both = model("lstm", (2, 65, 5, V))
    configs = [
        SamplingConfig(temperature=0.5 + 0.2 * b, top_k=[None, 3, 9][b % 3], top_p=[None, 0.9][b % 2]) for b in range(B)
    ]
    logits, uniforms = np.random.default_rng(5).normal(size=(B, V)).astype(np.float32), uniforms_of((T, B))

    def written(lanes: list[int], threads: int, chunks: Sequence[int] = (T,), set_: int = SETS[-1]) -> list[Any]:
        engine = CompiledNetwork(*both, threads=threads, instruction_set=set_)
        after, state, parts, start = logits[lanes], engine.zero_state(len(lanes)), [], 0
        for length in chunks:
            numbers = uniforms[start : start + length][:, lanes]
            done = engine.write(after, state, [configs[lane] for lane in lanes], numbers)
            assert done.is_finite
            parts.append((done.ids.T, done.log_probabilities.T))
            after, state, start = done.logits, done.state, start + length
        return [*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)), after]

    expected = written(list(range(B)), 1)
    for threads in (1, 2, 3):
        for lanes in ([0], [6], [2, 5], [6, 5, 4, 3, 2, 1, 0]):
            assert_same(written(lanes, threads), expected, lanes)
        assert_same(written(list(range(B)), threads, (1, 2, 4, 43)), expected)
    if len(SETS) == 3:
        assert_same(written(list(range(B)), 2, set_=1), expected)


@needs_compiled
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere denormal numbers cost nothing")
def test_the_callers_arithmetic_neither_matters_nor_changes() -> None:
    """torch may have turned denormal numbers off in the calling thread; a state that fades away stays the same."""
    config, arrays = model("lstm", (1, 65, 5, 17))
    arrays = {name: array.copy() for name, array in arrays.items()}
    arrays["layers.1.bias"][3 * 65 :] = -87.5  # the output gates: h becomes smaller than the least normal number
    arrays["layers.1.weight_ih"][3 * 65 :] = arrays["layers.1.weight_hh"][3 * 65 :] = 0
    ids = ids_of((9, 2), 17)
    least, half = np.full(3, np.finfo(np.float32).tiny), np.float32(0.5)
    found = []
    for is_flushed in (False, True):
        torch.set_flush_denormal(is_flushed)
        for threads in (1, 3):
            found.append(everything(CompiledNetwork(config, arrays, threads=threads), ids, [4, 5]))
            assert ((least * half).max() > 0) is not is_flushed
    torch.set_flush_denormal(False)  # or all would compare as zeros
    for other in found[1:]:
        assert_same(other, found[0])


@needs_compiled
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_memory_is_not_read_before_it_is_written(cell: str, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all ones, not a number, in place of what happens to lie there, every result is the same."""
    aligned = compiled.aligned

    def poisoned(shape: tuple[int, ...], dtype: Any) -> Any:
        array = aligned(shape, dtype)
        array.view(np.uint8)[...] = 0xFF
        return array

    def results(shape: tuple[int, int, int, int]) -> list[bytes]:
        engine, B = CompiledNetwork(*model(cell, shape), weights=weights, threads=2), 3
        _, state = engine.read(ids_of((4, B), shape[3]), engine.zero_state(B))
        logits, state = engine.step(ids_of((B,), shape[3]), state)
        lanes = [SamplingConfig(top_k=2), SamplingConfig(temperature=1.1, top_p=0.9), SamplingConfig(min_p=0.2)]
        written = engine.write(logits, state, lanes, uniforms_of((5, B)))
        assert written.is_finite
        scored = engine.score(ids_of((4,), shape[3]), engine.take(written.state, [1]))
        recorded, _ = engine.record(ids_of((4,), shape[3]), scored.state)
        arrays = [written.ids, written.log_probabilities, written.logits, scored.log_probabilities, scored.logits]
        return [array.tobytes() for array in (*arrays, *recorded.values())]

    for shape in SHAPES:
        expected = results(shape)
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "aligned", poisoned)
            patch.setattr(panels, "aligned", poisoned)
            assert results(shape) == expected


# -------------------------------------------------------------------------------------------------------------- writing


def uniforms_of(shape: tuple[int, ...], seed: int = 6) -> np.ndarray[Any, Any]:
    """Random numbers in [0, 1)."""
    return np.random.default_rng(seed).random(shape)


def _write(engine: Engine, lanes: Sequence[SamplingConfig], uniforms: Any, *, start: int = 1) -> Written:
    logits, state = engine.read([[start] * len(lanes)], engine.zero_state(len(lanes)))
    return engine.write(logits, state, lanes, uniforms)


@pytest.mark.parametrize("cell", CELLS)
def test_greedy_texts_are_identical(cell: str) -> None:
    """2,000 characters of every engine. No two likeliest characters come close, so rounding has no say."""
    T, V = 2000, 7
    both = model(cell, (2, 33, 5, V), seed=3)
    reference = _write(Network(*both), [GREEDY], np.zeros((T, 1)))
    walk, (logits, state) = Network(*both), Network(*both).read([1], Network(*both).zero_state())
    gaps = []
    for id_ in reference.ids[:, 0]:
        gaps.append(np.diff(np.sort(logits[0])[-2:])[0])
        logits, state = walk.step([id_], state)
    assert min(gaps) > 5e-4
    for parameter in ENGINES[1:]:
        if str(parameter.id).endswith("x3"):
            continue
        (make,) = parameter.values
        written = _write(make(both), [GREEDY], np.zeros((T, 1)))
        np.testing.assert_array_equal(written.ids, reference.ids)
        close(written.log_probabilities, reference.log_probabilities, 1e-4)
        close(written.logits, reference.logits, 1e-4)


LANES_SETTINGS = [
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=1.3),
    SamplingConfig(temperature=0.9, top_k=4),
    SamplingConfig(temperature=1.1, top_p=0.8),
    SamplingConfig(temperature=1.7, min_p=0.1, top_k=9, top_p=0.95),
]


@pytest.mark.parametrize("cell", CELLS)
@each_engine
def test_drawn_texts_are_the_references(make: Callable[[Model], Engine], cell: str) -> None:
    """300 characters in five lanes of different settings, and their log-probabilities; torch runs its loop eagerly."""
    both, uniforms = model(cell, (2, 33, 5, 17)), uniforms_of((300, 5))
    expected = _reference_texts(cell)
    written = _write(make(both), LANES_SETTINGS, uniforms)
    assert written.is_finite
    np.testing.assert_array_equal(written.ids, expected.ids)
    close(written.log_probabilities, expected.log_probabilities)
    close(written.logits, expected.logits)
    again = make(both)
    logits, state = again.read(np.concatenate([np.ones((1, 5), int), expected.ids]), again.zero_state(5))
    close(logits, expected.logits)
    close(again.step(expected.ids[-1], written.state)[0], again.step(expected.ids[-1], state)[0])


@cache
def _reference_texts(cell: str) -> Written:
    return _write(Network(*model(cell, (2, 33, 5, 17))), LANES_SETTINGS, uniforms_of((300, 5)))


def test_torchs_loop_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces longer than its buffers, its cached loops with and without cuts, and a caller's state left alone."""
    both = model("gru", (2, 3, 5, 17))
    engine, reference = _torch(both), Network(*both)
    monkeypatch.setattr("charrnn.network.stepper._LONGEST", 8)
    for lanes in (LANES_SETTINGS[:2], LANES_SETTINGS[1:4], LANES_SETTINGS[:2]):
        B = len(lanes)
        uniforms = uniforms_of((19, B))
        logits, state = engine.read([[1] * B], engine.zero_state(B))
        before = [array.clone() for layer in state for array in layer]
        first = engine.write(logits, state, lanes, uniforms[:3])
        second = engine.write(first.logits, first.state, lanes, uniforms[3:])
        assert all(torch.equal(a, b) for a, b in zip(before, (x for layer in state for x in layer), strict=True))
        expected = _write(reference, lanes, uniforms)
        np.testing.assert_array_equal(np.concatenate([first.ids, second.ids]), expected.ids)
    assert len(engine._loops) == 2


# ------------------------------------------------------------------------------------------------------------- the draw

_STEPS = 64  # logits are whole 64ths: characters are equal or clearly different
_EDGE = 1e-5

configs = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 1e-300, 1e-40, 1e-6, 0.05, 0.5, 0.8, 1.0, 1.5, 7.0, 1e3, 1e6]),
    top_k=st.none() | st.integers(1, 41),
    top_p=st.none() | st.sampled_from([1e-300, 1e-6, 0.1, 0.5, 0.9, 0.999, 1.0]) | st.floats(0.01, 1.0),
    min_p=st.none() | st.sampled_from([0.0, 1e-30, 1e-3, 0.5, 1.0]) | st.floats(0.0, 1.0),
)
uniforms_drawn = st.sampled_from([0.0, 2.0**-53, 0.5, float(np.nextafter(1.0, 0.0))]) | st.floats(
    0.0, 1.0, exclude_max=True
)
whole = st.integers(-2, 2).map(lambda n: n * _STEPS) | st.integers(-20 * _STEPS, 20 * _STEPS) | st.just(-900 * _STEPS)


@st.composite
def draws(data: Any) -> tuple[int, list[tuple[Any, SamplingConfig, float]]]:
    """A vocabulary size, and for each of some lanes logits, settings and a uniform number."""
    V = data(st.sampled_from([2, 3, 17, 40]))
    lane = st.tuples(st.lists(whole, min_size=V, max_size=V), configs, uniforms_drawn)
    return V, data(st.lists(lane, min_size=1, max_size=7))


def could_be(id_: int, logits: Any, config: SamplingConfig, uniform: float) -> bool:
    """Whether rounding explains this draw: the cuts and the uniform number may be off by a hair, no more."""
    hairs = (0.0, -_EDGE, _EDGE)
    for by_p in hairs if config.top_p else (0.0,):
        for by_m in hairs if config.min_p else (0.0,):
            near = SamplingConfig(
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p and min(1.0, config.top_p * (1 + by_p)),
                min_p=config.min_p and min(1.0, config.min_p * (1 + by_m)),
            )
            p = probabilities(logits, near)
            end = np.cumsum(p)
            if p[id_] > 0 and end[id_] - p[id_] - _EDGE <= uniform <= end[id_] + _EDGE:
                return True
    return False


DRAWERS = [parameter for parameter in ENGINES if parameter.id in ("torch", *(f"compiled-{s}x2" for s in SETS))]


@pytest.mark.parametrize("make", DRAWERS)
def test_a_draw_is_the_definitions(make: Callable[[Model], Engine]) -> None:
    """For all settings, ties and uniform numbers: the id of drawing.py, unless the number lies on a boundary."""
    engine_for = cache(lambda V: make(model("rnn", (1, 1, 3, V))))

    @settings(derandomize=True, deadline=None, max_examples=150, database=None)
    @given(draws())
    def check(drawn: tuple[int, list[tuple[Any, SamplingConfig, float]]]) -> None:
        V, lanes = drawn
        engine = engine_for(V)
        logits = np.array([lane[0] for lane in lanes], np.float32) / np.float32(_STEPS)
        uniforms = np.array([[lane[2] for lane in lanes]])
        written = engine.write(logits, engine.zero_state(len(lanes)), [lane[1] for lane in lanes], uniforms)
        assert written.is_finite
        close(written.log_probabilities[0], log_probabilities(logits)[np.arange(len(lanes)), written.ids[0]], 1e-4)
        for id_, row, (_, config, uniform) in zip(written.ids[0].tolist(), logits, lanes, strict=True):
            expected = draw(probabilities(row, config), uniform)
            assert id_ == expected or could_be(id_, row, config, uniform), (id_, expected, row, config, uniform)

    check()


@pytest.mark.parametrize("make", DRAWERS)
def test_the_edges_of_a_draw(make: Callable[[Model], Engine]) -> None:
    """Worked by hand: nothing of probability 0 is drawn at either end, and no temperature is too small or too large."""
    last = float(np.nextafter(1.0, 0.0))
    cases = [
        ([-999.0, 0.0, 0.0, -999.0], SamplingConfig(temperature=1.0), 0.0, 1),
        ([-999.0, 0.0, 0.0, -999.0], SamplingConfig(temperature=1.0), last, 2),
        ([1.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=1e-60), last, 2),
        ([4.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=1e-60), last, 2),
        ([4.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=0.0), last, 0),
        ([1.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=1e6, top_k=1), 0.5, 2),
        ([1.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=1e6, top_k=2), last, 3),
        ([1.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=1e6, top_p=1e-9), last, 2),
        ([1.0, 2.0, 4.0, 3.0], SamplingConfig(temperature=3e38), 0.26, 1),
        ([1.0, 1.0, 1.0, 1.0], SamplingConfig(temperature=1.0, min_p=1.0), last, 3),
        ([1.0, 1.0, 1.0, 1.0], SamplingConfig(temperature=1.0, top_k=3), last, 2),
        ([1.0, 1.0, 1.0, 1.0], SamplingConfig(temperature=1.0, top_p=0.5), last, 1),
        ([3e38, -3e38, 0.0, 3e38], SamplingConfig(temperature=1.0), last, 3),
    ]
    engine = make(model("rnn", (1, 1, 3, 4)))
    logits, lanes, uniforms, ids = zip(*cases, strict=True)
    written = engine.write(np.array(logits, np.float32), engine.zero_state(len(cases)), lanes, np.array([uniforms]))
    assert written.ids[0].tolist() == list(ids)
    assert [draw(probabilities(row, config), number) for row, config, number, _ in cases] == list(ids)


# ------------------------------------------------------------------------------------------------------ rough treatment


@pytest.mark.parametrize("cell", CELLS)
@each_engine
def test_weights_too_large_to_compute_with(make: Callable[[Model], Engine], cell: str) -> None:
    """It is said, without a crash and without a warning (which would fail this test); the engine can be asked again."""
    config, arrays = model(cell, (2, 33, 5, 17))
    arrays = {name: np.clip(array, -1, 1) * np.float32(3e38) for name, array in arrays.items()}
    engine = make(Model(config, arrays))
    logits, state = engine.read([1, 2, 3], engine.zero_state())
    for _ in range(2):
        written = engine.write(logits, state, [SamplingConfig()], uniforms_of((9, 1)))
        assert not written.is_finite
        assert ((written.ids >= 0) & (written.ids < 17)).all()
        logits, state = engine.step([4], written.state)
    if hasattr(engine, "record"):
        engine.record([1, 2], state)
    if isinstance(engine, CompiledNetwork):
        assert np.isnan(engine.score([1, 2, 3], state, logits).log_probabilities).all()


@each_engine
def test_no_character_that_does_not_exist_is_ever_drawn(make: Callable[[Model], Engine]) -> None:
    """However low the logits of those that do: the compiled step pads them to a multiple of 16, and reads by what it
    has drawn."""
    V = 17
    config, arrays = model("lstm", (1, 9, 5, V))
    lanes = [SamplingConfig(temperature=temperature) for temperature in (0, 1e-9, 1.0, 1e9)]
    for low in (-1e29, -1e31, -3e38, np.finfo(np.float32).min):
        arrays = {**arrays, "decoder.bias": np.full(V, low, np.float32)}
        written = _write(make(Model(config, arrays)), lanes, uniforms_of((20, len(lanes))))
        assert written.is_finite
        assert ((written.ids >= 0) & (written.ids < V)).all()
        close(written.log_probabilities, np.full((20, len(lanes)), -np.log(V)))
        assert len(np.unique(written.ids[:, 2])) > 5


@needs_compiled
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_layer_does_not_hide_what_is_not_finite_below(weights: Any) -> None:
    """A gru's first layer computes 0 times infinity. Whole numbers cannot say so to the second layer."""
    H = 65
    config, arrays = model("gru", (2, H, 5, 17))
    arrays = {name: array.copy() for name, array in arrays.items()}
    arrays["layers.1.weight_ih"][:] = 0
    arrays["layers.1.bias_ih"][:] = np.repeat([9, -9, 9], H)  # r 1, z 0, n 1: after a character each output is near 1
    arrays["layers.1.weight_hh"][:] = np.repeat(np.float32([-3e38, 1, 3e38]), H)[:, None]
    for set_ in SETS:
        engine = CompiledNetwork(config, arrays, weights=weights, instruction_set=set_)
        logits, state = engine.read([1], engine.zero_state())
        assert np.isfinite(logits).all()
        written = engine.write(logits, state, [GREEDY], np.zeros((2, 1)))
        assert not written.is_finite
        assert not np.isfinite(engine.read([1, 2, 3], written.state)[0]).any()


@each_engine
def test_ids_out_of_range_are_refused(make: Callable[[Model], Engine]) -> None:
    """An error in every way to read, and the engine works on."""
    both = model("lstm", (2, 3, 5, 17))
    engine = make(both)
    numbers = [17, 2**31 - 1]
    if type(engine) is not Network:  # the reference counts from the end, as numpy does
        numbers += [-1, -(2**31)]
    if isinstance(engine, CompiledNetwork):
        numbers += [2**31, 2**32, -(2**40)]
    for id_ in numbers:
        ids = np.array([1, id_, 2])
        for attempt in (
            lambda ids=ids: engine.read(ids, engine.zero_state()),
            lambda ids=ids: engine.score(ids, engine.zero_state()),
            lambda ids=ids: engine.step(ids, engine.zero_state(3)),
        ):
            with pytest.raises((IndexError, OverflowError)):
                attempt()
    close(engine.read([1, 2], engine.zero_state())[0], Network(*both).read([1, 2], Network(*both).zero_state())[0])


@pytest.mark.parametrize("make", [*NUMPY[1:], *COMPILED])
def test_wrong_numbers_of_lanes_are_refused(make: Callable[[Model], Engine]) -> None:
    """Before anything is read that is not there."""
    engine = make(model("gru", (2, 3, 5, 17)))
    state, logits = engine.zero_state(3), np.zeros((3, 17), np.float32)
    for ids in ([1], [1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="lanes"):
            engine.step(ids, state)
        with pytest.raises(ValueError, match="lanes"):
            engine.read([ids, ids], state)
    if not isinstance(engine, CompiledNetwork):
        return
    nothing: list[Any] = [[], np.zeros((0, 3), int), np.ones((2, 3, 1), int)]
    for ids in nothing:
        with pytest.raises(ValueError, match="lanes"):
            engine.read(ids, state)
    with pytest.raises(TypeError):
        engine.step([1.5, np.nan, 2.0], state)
    good = (logits, state, [GREEDY] * 3, np.zeros((4, 3)))
    bad: list[tuple[int, Any]] = [
        (0, logits[:1]), (0, logits[:, :16]), (0, np.zeros((4, 17))), (0, logits[0]),
        (1, engine.zero_state(2)), (1, engine.zero_state(65)), (1, engine.zero_state(0)),
        (1, make(model("gru", (1, 3, 5, 17))).zero_state(3)), (1, make(model("gru", (2, 65, 5, 17))).zero_state(3)),
        (2, [GREEDY] * 2), (2, [GREEDY] * 4), (2, []),
        (3, np.zeros((4, 2))), (3, np.zeros((4, 4))), (3, np.zeros(3)), (3, np.zeros((4, 3, 1))),
    ]  # fmt: skip
    for place, value in bad:
        with pytest.raises(ValueError, match=r"lanes|logits"):
            engine.write(*good[:place], value, *good[place + 1 :])
    assert engine.write(*good).ids.shape == (4, 3)
    assert engine.write(*good[:3], np.zeros((0, 3))).ids.shape == (0, 3)


# -------------------------------------------------------------------------------------------------------------- float16


def _halved(both: Model) -> Model:
    """The model whose weights are rounded to float16: all that a cell's output is multiplied with."""
    arrays = dict(both.arrays)
    for name in arrays:
        if name.endswith("weight_hh") or (name.endswith("weight_ih") and name != "layers.1.weight_ih"):
            with np.errstate(over="ignore"):
                arrays[name] = arrays[name].astype(np.float16).astype(np.float32)
    return Model(both.config, arrays)


@needs_compiled
@pytest.mark.parametrize("set_", SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_float16_is_float32_with_rounded_weights(cell: str, set_: int) -> None:
    """To the bit, with weights of all sizes, zeros and those below the least normal number among them."""
    for shape in SHAPES:
        config, arrays = model(cell, shape)
        random = np.random.default_rng(3)
        arrays = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            if name.endswith("weight_hh"):
                array *= 2.0 ** random.integers(-26, 2, array.shape)
                array[::3] = 0
        exact = CompiledNetwork(*_halved(Model(config, arrays)), instruction_set=set_)
        engine = CompiledNetwork(config, arrays, weights="float16", instruction_set=set_)
        assert engine.panels.num_bytes <= exact.panels.num_bytes
        for lanes in (1, 2, 7, 16):
            ids = ids_of((20, lanes), shape[3])
            ours, theirs = (one.read(ids, one.zero_state(lanes)) for one in (engine, exact))
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1].hidden, theirs[1].hidden)


@needs_compiled
@pytest.mark.parametrize("set_", SETS)
def test_every_float16_is_what_it_is(set_: int) -> None:
    """Each finite one as a weight, on the diagonal of an rnn that reads h once: tanh of it times the last output."""
    finite = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    for start in range(0, len(finite), 1024):
        weights = finite[start : start + 1024] * np.float32(-1 if start % 2048 else 1)
        H, V = len(weights), 2
        config = ModelConfig(cell="rnn", num_layers=1, hidden_size=H, embedding_size=1)
        arrays = {name: np.zeros(size, np.float32) for name, size in parameter_shapes(config, V).items()}
        arrays["embedding"][:] = [[3.0], [0.0]]
        arrays["layers.1.weight_ih"][:] = 1
        arrays["layers.1.weight_hh"][np.arange(H), np.arange(H)] = weights
        found = []
        for name in ("float32", "float16"):
            engine = CompiledNetwork(config, arrays, weights=name, instruction_set=set_)  # type: ignore[arg-type]
            found.append(engine.record([0, 1], engine.zero_state())[0]["h"][1, 0])
        np.testing.assert_array_equal(found[1], found[0])
        assert len(np.unique(found[0])) > 1 or abs(weights[0]) > 9


@needs_compiled
def test_weights_are_rounded_to_the_nearest_float16() -> None:
    """Ties go to the even one, as numpy's do; what is too large is infinite, and no number stays none."""
    found = library.find_library()
    assert found is not None
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    near = np.concatenate([halves + offset for offset in (0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF)]).astype(np.uint32)
    tiny_ones = (np.float32(2.0**-24) * np.arange(0, 40, 0.25, np.float32)).view(np.uint32)
    random = np.random.default_rng(0).integers(0, 2**32, 1 << 16, dtype=np.uint32)
    bits = np.concatenate([near, tiny_ones, random, np.array([0x7F800000, 0xFF800000, 0x7FC00000], np.uint32)])
    numbers = np.ascontiguousarray(np.resize(bits, (16, -(-len(bits) // 16)))).view(np.float32)
    K = numbers.shape[1]
    packed = np.zeros((K, 16), np.uint16)
    found.charrnn_pack(
        ctypes.c_void_p(numbers.ctypes.data), 1, 16, K, (ctypes.c_int32 * 1)(0), 16, 16, None,
        ctypes.c_void_p(packed.ctypes.data), None, None,
    )  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        expected = numbers.T.astype(np.float16)
    np.testing.assert_array_equal(packed.view(np.float16), expected)
    np.testing.assert_array_equal(np.signbit(packed.view(np.float16)), np.signbit(expected))


# ----------------------------------------------------------------------------------------------------------------- int8


def _steps_of(matrix: Any) -> tuple[Any, Any]:
    """Whole numbers and scales: in every row, groups of 64 share a scale that makes their largest 127."""
    whole, scales = np.zeros(matrix.shape), np.zeros(matrix.shape)
    for start in range(0, matrix.shape[1], 64):
        group = matrix[:, start : start + 64].astype(np.float64)
        scale = np.abs(group).max(1, keepdims=True) / 127
        scales[:, start : start + 64] = scale
        whole[:, start : start + 64] = np.rint(np.divide(group, scale, out=np.zeros_like(group), where=scale > 0))
    return whole, scales


def _quantised(both: Model) -> Model:
    """The model whose weights are what int8 makes of them: all that a cell's output is multiplied with."""
    arrays = dict(both.arrays)
    for name in arrays:
        if name.endswith("weight_hh") or (name.endswith("weight_ih") and name != "layers.1.weight_ih"):
            whole, scales = _steps_of(arrays[name])
            arrays[name] = (whole * scales).astype(np.float32)
    return Model(both.config, arrays)


@needs_compiled
@pytest.mark.parametrize("set_", SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_int8_is_float32_with_rounded_weights(cell: str, set_: int) -> None:
    """Over 50 characters, with rows and whole groups of zeros, and inputs that fill no group."""
    for shape in SHAPES:
        config, arrays = model(cell, shape)
        arrays = {name: array.copy() for name, array in arrays.items()}
        for name in arrays:
            if name.endswith("weight_hh"):
                arrays[name][::3] = 0
                arrays[name][1:2, :64] = 0
        rounded = _quantised(Model(config, arrays))
        exact = CompiledNetwork(*rounded, instruction_set=set_)
        engine = CompiledNetwork(config, arrays, weights="int8", instruction_set=set_)
        ids = ids_of((50, 2), shape[3])
        close(engine.read(ids, engine.zero_state(2))[0], exact.read(ids, exact.zero_state(2))[0], 1e-3)
        close(engine.read(ids[:1], engine.zero_state(2))[0], exact.read(ids[:1], exact.zero_state(2))[0], 1e-4)


@needs_compiled
@pytest.mark.parametrize("cell", CELLS)
def test_weights_of_127_steps_lose_nothing_in_int8(cell: str) -> None:
    """Whole numbers times a power of two, 127 of them in every group: float32 and int8 agree to 1e-4."""
    for L, H, E, V in ((2, 65, 5, 17), (1, 3, 7, 2), (3, 100, 1, 130)):
        config, arrays = model(cell, (L, H, E, V))
        arrays, random = dict(arrays), np.random.default_rng(8)
        for name, array in arrays.items():
            if name.endswith(("weight_hh", "weight_ih")):
                whole = random.integers(-127, 128, array.shape)
                whole[:, ::64] = random.choice([-127, 127], whole[:, ::64].shape)
                arrays[name] = (whole * 2.0**-11).astype(np.float32)
        ids = ids_of((30,), V)
        exact, engine = (CompiledNetwork(config, arrays, weights=weights) for weights in ("float32", "int8"))
        close(engine.read(ids, engine.zero_state())[0], exact.read(ids, exact.zero_state())[0], 1e-4)


@needs_compiled
def test_int8_rounds_by_half_a_step_at_most() -> None:
    """After one character the output is off by no more than half a step of each weight, times what it multiplies."""
    for H in (3, 65, 100, 130):
        config, arrays = model("rnn", (1, H, 5, 17))
        arrays = {**arrays, "layers.1.weight_ih": arrays["layers.1.weight_ih"] / 8, "layers.1.bias": np.zeros(H)}
        exact, engine = (CompiledNetwork(config, arrays, weights=weights) for weights in ("float32", "int8"))
        before, state = exact.record(ids_of((5,), 17), exact.zero_state())
        ours, theirs = (some.record([2], state)[0]["h"][0, 0] for some in (engine, exact))
        _, scales = _steps_of(arrays["layers.1.weight_hh"])
        h = np.abs(before["h"][-1, 0])
        weights = np.abs(arrays["layers.1.weight_hh"])
        bound = scales / 2 @ h + (weights + scales).sum(1) / 2 / 32767 + 1e-6
        assert (np.abs(ours - theirs) <= bound).all()
        assert (np.abs(ours - theirs) > 1e-5).any(), "it is rounded"


# ------------------------------------------------------------------------------------------------ threads and processes


@needs_compiled
def test_two_threads_may_use_one_engine() -> None:
    """Each gets its own text, as if it were alone."""
    both, T = model("lstm", (2, 65, 5, 17)), 40
    engine = CompiledNetwork(*both, threads=2)
    seeds = range(12)

    def text(seed: int) -> bytes:
        written = _write(engine, [SamplingConfig()] * 3, uniforms_of((T, 3), seed), start=seed)
        scored = engine.score(written.ids[:, 1], engine.zero_state())
        return written.ids.tobytes() + written.logits.tobytes() + scored.log_probabilities.tobytes()

    expected = [text(seed) for seed in seeds]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            assert list(pool.map(text, seeds)) == expected


@needs_compiled
def test_engines_leave_nothing_behind() -> None:
    """200 of them, made, used and dropped: they share their threads, and no memory is left."""
    both = model("lstm", (1, 100, 5, 17))

    def use(count: int) -> None:
        for _ in range(count):
            engine = CompiledNetwork(*both, threads=3)
            engine.read([1, 2], engine.zero_state())
            del engine

    def threads() -> int:
        tasks = Path("/proc/self/task")
        return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()

    before = threads()
    use(10)
    assert threads() <= before + 2
    tracemalloc.start()
    try:
        use(5)
        first, _ = tracemalloc.get_traced_memory()
        use(200)
        last, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert threads() <= before + 2
    one = CompiledNetwork(*both).panels.num_bytes
    assert last - first < one, "the memory of a single engine"


def _python(code: str) -> str:
    """What a fresh interpreter prints, on stderr too; it is ended when it hangs."""
    surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    beginning = "import faulthandler; faulthandler.dump_traceback_later(200, exit=True)\n"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", beginning + code],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=210, env=surroundings,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    return result.stdout


_SMALL_ENGINE = """
import os, random, signal, sys
import numpy as np
from charrnn.cells.parameters import parameter_shapes
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.inference.compiled import CompiledNetwork
config = ModelConfig(cell="lstm", num_layers=2, hidden_size=70, embedding_size=5)
draw = np.random.default_rng(4)
arrays = {name: draw.normal(size=size).astype(np.float32) / 3 for name, size in parameter_shapes(config, 17).items()}
engine = CompiledNetwork(config, arrays, threads=3)
uniforms = np.full((12, 2), 0.25)
def write():
    logits = np.zeros((2, 17), np.float32)
    return engine.write(logits, engine.zero_state(2), [SamplingConfig()] * 2, uniforms).ids.tobytes()
expected = write()
"""


@needs_compiled
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("burst", [1, 4])
def test_ctrl_c_at_any_moment(burst: int) -> None:
    """300 interrupts at random moments, single or in bursts: nothing hangs, the engine writes the same afterwards."""
    code = f"""{_SMALL_ENGINE}
import time
left, pick = 0, random.Random(9)
def interrupt(*_):
    global left
    if left > 0:
        left -= 1
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + pick.random() * 1e-4)
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
begin = time.perf_counter()
for _ in range(20):
    write()
once = (time.perf_counter() - begin) / 20
interrupted = 0
for round in range(300):
    try:
        try:
            left = {burst}
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + pick.random() * 1.2 * once)
            while left > 0:
                assert write() == expected
        except KeyboardInterrupt:
            interrupted += 1
            while left > 0:
                write()
    except KeyboardInterrupt:
        pass
    left = 0
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert write() == expected
print(interrupted)
"""
    assert int(_python(code).split()[-1]) == 300


@needs_compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """An engine that was used before a fork writes the same in the child, in its child, and still in the parent."""
    code = f"""{_SMALL_ENGINE}
def child(depth):
    process = os.fork()
    if process == 0:
        signal.alarm(20)
        is_same = write() == expected
        if depth:
            is_same &= child(depth - 1)
        os._exit(0 if is_same else 1)
    return os.waitpid(process, 0)[1] == 0
print(child(1), write() == expected, child(0))
"""
    assert _python(code).split() == ["True", "True", "True"]


@needs_compiled
def test_a_process_may_end_at_any_time() -> None:
    """With engines in use by daemon threads, and without a word on stderr."""
    code = f"""{_SMALL_ENGINE}
import threading
def for_ever():
    while True:
        write()
for _ in range(2):
    threading.Thread(target=for_ever, daemon=True).start()
import time; time.sleep(0.05)
print("end")
"""
    assert _python(code) == "end\n"


# ------------------------------------------------------------------------------------------------ without compiled code


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """The library is looked for again, in the test and after it."""
    library.find_library.cache_clear()
    yield
    library.find_library.cache_clear()


def _numpy_serves() -> None:
    both = model("lstm", (2, 3, 5, 17))
    assert library.find_library() is None
    assert not has_compiled_step(both.config)
    assert type(make_engine(*both)) is InPlaceNetwork
    with pytest.raises(UsageError, match="int8"):
        make_engine(*both, weights="int8")


@pytest.mark.usefixtures("fresh_library")
def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """CHARRNN_COMPILED=0: numpy serves; what only the compiled step can do is refused."""
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    _numpy_serves()


@pytest.mark.usefixtures("fresh_library")
@pytest.mark.parametrize("what", ["missing", "empty", "garbage", "folder", "foreign", "version"])
def test_a_library_that_is_not_ours_is_not_used(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left over from another version, damaged, or somebody else's: numpy serves."""
    path = tmp_path / ("_step" + EXTENSION_SUFFIXES[0])
    if what == "empty":
        path.touch()
    elif what == "garbage":
        path.write_bytes(b"\x7fELF" + bytes(range(256)) * 9)
    elif what == "folder":
        path.mkdir()
    elif what == "foreign":
        shutil.copy(_ctypes.__file__, path)
    elif what == "version":
        monkeypatch.setattr(library, "VERSION", -1)
    if what != "version":
        monkeypatch.setattr(library, "STEM", tmp_path / "_step")
    _numpy_serves()


@needs_compiled
@pytest.mark.usefixtures("fresh_library")
def test_a_library_that_is_ours_is_found_behind_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names an extension may have are tried in turn."""
    (tmp_path / ("_step" + EXTENSION_SUFFIXES[0])).write_bytes(b"garbage")
    shutil.copy(candidates(library.STEM)[0], tmp_path / ("_step" + EXTENSION_SUFFIXES[-1]))
    monkeypatch.setattr(library, "STEM", tmp_path / "_step")
    assert isinstance(make_engine(*model("lstm", (2, 3, 5, 17)), weights="int8"), CompiledNetwork)


def test_numpy_holds_matrices_once(tmp_path: Path) -> None:
    """Of a checkpoint of 5 MB: what the engine has copied is let go, and read again where units are recorded. Every
    number is that of the engine that was made of plain arrays."""
    config, arrays = model("lstm", (3, 260, 5, 17))
    saved = replace(tiny(), model=config, vocabulary=Vocabulary.of("abcdefghijklmnopq"), parameters=arrays)
    save(tmp_path / "best.safetensors", saved)
    size = sum(array.nbytes for array in arrays.values())
    tracemalloc.start()
    parameters = load(tmp_path / "best.safetensors").parameters
    engine = InPlaceNetwork(config, parameters)
    logits, state = engine.read(ids_of((30, 2), 17), engine.zero_state(2))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1.2 * size
    plain = InPlaceNetwork(config, arrays)
    expected, there = plain.read(ids_of((30, 2), 17), plain.zero_state(2))
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(np.array(state), np.array(there))
    reference = Network(config, arrays)
    assert [[part.dtype for part in layer] for layer in engine.zero_state(2)] == [[np.float32] * 2] * 3
    np.testing.assert_array_equal(np.array(engine.zero_state(2)), np.array(reference.zero_state(2)))
    recorded, _ = engine.record(ids_of((9,), 17), engine.zero_state())
    for name, values in reference.record(ids_of((9,), 17), reference.zero_state())[0].items():
        np.testing.assert_array_equal(recorded[name], values)


# ------------------------------------------------------------------------------------------------------- lanes together


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_lanes_of_several_states_are_joined(kind: str) -> None:
    """By every engine: the lanes go on as they do in the state that they come from, and that stays as it was."""
    V, H, L = 9, 12, 2
    config = ModelConfig(cell=kind, num_layers=L, hidden_size=H, embedding_size=5)
    random = np.random.default_rng(4)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in parameter_shapes(config, V).items()}
    checkpoint = Checkpoint(
        kind="best", model=config, vocabulary=Vocabulary.of("abcdefghi"), data=DataConfig(), corpus={}, progress={},
        parameters=arrays,
    )  # fmt: skip
    ours: list[Any] = [
        Network(config, arrays),
        make_engine(config, arrays),
        TorchStepper(checkpoint, torch.device("cpu")),
    ]
    ours.append(InPlaceNetwork(config, dict(arrays)))
    ids = np.array([[3, 1, 4, 1, 5], [2, 0, 8, 6, 7]])
    for engine in ours:
        _, state = engine.read(ids, engine.zero_state(5))
        expected, _ = engine.step([0, 1, 2, 3, 4], state)
        parts = [engine.take(state, [0]), engine.take(state, [1, 2]), engine.take(state, [3, 4])]
        joined = engine.join(parts)
        found, _ = engine.step([0, 1, 2, 3, 4], joined)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        again, _ = engine.step([1, 2], parts[1])
        np.testing.assert_allclose(again, expected[1:3], atol=1e-6)
