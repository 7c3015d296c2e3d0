"""Engines of a model whose documents end: before an end is read a lane's state is zero, whatever stood before it.

Shape letters: T characters, B lanes, V vocabulary with the end, which is the last id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.inference.compiled import CompiledNetwork, CompiledState
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.native import step as library
from charrnn.native import window
from charrnn.network.stepper import TorchStepper
from charrnn.neurons.record import losses_of, parts_of, record
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary

T, B, V = 23, 5, 11
END = V - 1
CELLS = ["lstm", "gru", "gru, reset before", "rnn"]
FOUND = library.find_library()
SETS = range(int(FOUND.charrnn_best_set()) + 1) if FOUND else range(0)
Make = Callable[[ModelConfig, dict[str, Any], int | None], Any]


def _arrays(config: ModelConfig, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = parameter_shapes(config, V)
    return {name: (random.normal(size=shape) / 3).astype(np.float32) for name, shape in shapes.items()}


def _config(cell: str, **settings: Any) -> ModelConfig:
    sizes: dict[str, Any] = {"num_layers": 2, "hidden_size": 34, "embedding_size": 7}
    kind = {"cell": "gru", "reset_gate": "before"} if cell == "gru, reset before" else {"cell": cell}
    return ModelConfig(**{**kind, **sizes, **settings})


def _torch(config: ModelConfig, arrays: dict[str, Any], end: int | None) -> TorchStepper:
    points = range(0x4E00, 0x4E00 + V - (end is not None))
    saved = Checkpoint(
        kind="best", model=config, vocabulary=Vocabulary(points, has_end=end is not None), data=DataConfig(), corpus={},
        progress={}, parameters=arrays,
    )  # fmt: skip
    return TorchStepper(saved, torch.device("cpu"))


def _compiled(set_: int, weights: Any) -> Any:
    def make(config: ModelConfig, arrays: dict[str, Any], end: int | None) -> CompiledNetwork:
        return CompiledNetwork(config, arrays, end=end, weights=weights, instruction_set=set_, threads=2)

    return pytest.param(make, id=f"compiled-{set_}-{weights}")


NUMPY = [
    pytest.param(lambda config, arrays, end: Network(config, arrays, end=end), id="network"),
    pytest.param(lambda config, arrays, end: InPlaceNetwork(config, arrays, end=end), id="in-place"),
]
COMPILED = [_compiled(set_, weights) for set_ in SETS for weights in ("float32", "float16", "int8")]
each_engine = pytest.mark.parametrize("make", [*NUMPY, pytest.param(_torch, id="torch"), *COMPILED])
each_cell = pytest.mark.parametrize("cell", CELLS)


def _ids(length: int = T, lanes: int = B, seed: int = 1) -> Any:
    """Random ids, of which a quarter are ends; one lane begins with an end, and one has two in a row."""
    random = np.random.default_rng(seed)
    ids = np.where(random.random((length, lanes)) < 0.25, END, random.integers(0, END, (length, lanes)))
    ids[0, 0] = END
    ids[3:5, -1] = END
    return ids


def _by_hand(engine: Any, ids: Any, state: Any) -> tuple[Any, Any]:
    """Logits (T, V) of one lane in an engine that knows of no end, with a new state before each; the last state."""
    found = []
    for id_ in ids:
        logits, state = engine.step([id_], engine.zero_state(1) if id_ == END else state)
        found.append(np.array(logits[0]))
    return np.stack(found), state


def _numbers(state: Any) -> list[Any]:
    """The arrays of a state, lanes last but one."""
    if isinstance(state, CompiledState):
        return [state.hidden, *([] if state.cell is None else [state.cell])]
    return [np.asarray(array) for layer in state for array in layer]


def _same(ours: Any, theirs: Any, engine: Any) -> None:
    """To the bit in compiled code, where a number depends on nothing beside it; else but for rounding."""
    if isinstance(engine, CompiledNetwork):
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)  # over forty characters of an rnn


def _disturbed(state: Any, lane: int, value: float) -> Any:
    """The same state with every number of one lane replaced."""
    for array in (
        [state.hidden, state.cell] if isinstance(state, CompiledState) else [a for layer in state for a in layer]
    ):
        if array is not None:
            array[..., lane, :] = value
    return state


@each_cell
@each_engine
def test_a_lane_begins_anew_at_an_end(make: Make, cell: str) -> None:
    """Read at once, in pieces and step by step, in lanes and alone: as if each document were read by itself."""
    config = _config(cell)
    engine, plain, ids = make(config, _arrays(config), END), make(config, _arrays(config), None), _ids()
    begun = engine.step(np.arange(1, B + 1), engine.zero_state(B))[1]  # in the middle of a document
    expected = [_by_hand(plain, ids[:, b], engine.take(begun, [b])) for b in range(B)]
    for chunks in ([T], [1] * T, [4, 1, 11, 7]):
        state, start = begun, 0
        for length in chunks:
            logits, state = engine.read(ids[start : start + length], state)
            start += length
            _same(logits, np.stack([one[0][start - 1] for one in expected]), engine)
        for b in range(B):
            for ours, theirs in zip(_numbers(engine.take(state, [b])), _numbers(expected[b][1]), strict=True):
                _same(ours, theirs, engine)
    alone, state = engine.read(ids[:, 2], engine.take(begun, [2]))
    _same(alone[0], expected[2][0][-1], engine)
    before, _ = engine.step(np.arange(1, B + 1), engine.zero_state(B))
    scored = engine.score(ids, begun, before)
    rows = np.stack([np.concatenate((before[b : b + 1], expected[b][0][:-1])) for b in range(B)], 1).astype(np.float64)
    likely = rows - np.log(np.exp(rows).sum(2, keepdims=True))
    chosen = np.take_along_axis(likely, ids[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(scored.log_probabilities, chosen, rtol=1e-5, atol=1e-5)


@each_cell
@each_engine
def test_nothing_comes_over_an_end(make: Make, cell: str) -> None:
    """Whatever stands before a document, however long, in its lane or in others, and whatever the state is, numbers or
    not: every logit of the document is the same to the last bit."""
    config = _config(cell)
    engine, random = make(config, _arrays(config), END), np.random.default_rng(2)
    is_exact = not isinstance(engine, TorchStepper) or window.find_library() is not None
    document = np.concatenate(([END], random.integers(0, END, 8)))

    def read(lanes: int, before: Any, state: Any) -> Any:
        found, ids = [], random.integers(0, V, (len(before) + len(document), lanes))
        ids[:, lanes // 2] = np.concatenate((before, document))
        if len(before):
            _, state = engine.read(ids[: len(before)], state)
        scored = engine.score(ids[len(before) :], state)
        found.append(scored.log_probabilities[1:, lanes // 2])
        for row in ids[len(before) :]:
            logits, state = engine.step(row, state)
            found.append(np.array(logits[lanes // 2]))
        return found

    for lanes in (1, 4):
        expected = read(lanes, [], engine.zero_state(lanes))
        for length in (1, 2, 7):
            before = random.integers(0, V, length)
            for value in (0.7, -1e30, np.inf, np.nan):
                for ours, theirs in zip(
                    read(lanes, before, _disturbed(engine.zero_state(lanes), lanes // 2, value)), expected, strict=True
                ):
                    np.testing.assert_allclose(ours, theirs, rtol=0 if is_exact else 1e-5, atol=0 if is_exact else 1e-6)


@each_cell
@each_engine
def test_a_drawn_end_begins_a_document(make: Make, cell: str) -> None:
    """What is written on goes on from the zero state: reading it gives the same log-probabilities, by hand, too."""
    config = _config(cell)
    engine, plain = make(config, _arrays(config, 5), END), make(config, _arrays(config, 5), None)
    uniforms = np.random.default_rng(3).random((40, B))
    logits, state = engine.step([END] * B, engine.zero_state(B))
    written = engine.write(logits, state, [SamplingConfig(temperature=1.3)] * B, uniforms)
    assert written.is_finite
    assert (written.ids == END).sum() > 5, "ends have to be among what is drawn"
    for b in range(B):
        expected, _ = _by_hand(plain, [END, *written.ids[:, b]], plain.zero_state(1))
        rows = expected[:-1].astype(np.float64)
        likely = (rows - np.log(np.exp(rows).sum(1, keepdims=True)))[np.arange(40), written.ids[:, b]]
        np.testing.assert_allclose(written.log_probabilities[:, b], likely, rtol=1e-5, atol=1e-5)
        _same(written.logits[b], expected[-1], engine)


@each_cell
@pytest.mark.parametrize("make", [*NUMPY, *COMPILED])
def test_units_are_recorded_document_by_document(make: Make, cell: str) -> None:
    """What units do in a text is what they do in each of its documents alone, in every layer, in blocks of any length;
    and so is what each character costs."""
    config = _config(cell)
    engine = make(config, _arrays(config), END)
    random = np.random.default_rng(7)
    documents = [np.concatenate(([END], random.integers(0, END, length))) for length in (5, 1, 0, 12, 3)]
    text = np.concatenate(documents)
    parts = parts_of(config, [*engine.record([1], engine.zero_state())[0]])
    for block in (4, 100):
        whole = list(record(engine, text, parts, block))
        for part in parts:
            alone = [next(record(engine, document, [part]))[part] for document in documents]
            _same(np.concatenate([one[part] for one in whole]), np.concatenate(alone), engine)
    losses, start = losses_of(engine, text), 0
    for document in documents:
        own = losses_of(engine, document)[1:]
        _same(losses[start + 1 : start + len(document)], own, engine)
        start += len(document)


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "urnn"}, {"cell": "rnn", "activation": "relu"}, {"cell": "lstm", "layer_norm": True},
        {"cell": "gru", "batch_norm": True}, {"cell": "lstm", "zoneout": 0.2, "zoneout_cell": 0.1},
        {"cell": "lstm", "mogrifier": 2, "skip": "dense"}, {"cell": "gru", "multiplicative": True},
        {"cell": "lstm", "orthogonal": True}, {"cell": "lstm", "tie": True, "embedding_size": 34},
    ],
    ids=str,
)  # fmt: skip
def test_every_cell_begins_anew(settings: dict[str, Any]) -> None:
    """The fastest engine for the cell, and torch's, against documents read by hand."""
    config = _config(**settings)
    arrays, ids = _arrays(config), _ids()
    arrays = {name: np.abs(array) if "statistics" in name else array for name, array in arrays.items()}
    plain = make_engine(config, arrays)
    for engine in (make_engine(config, dict(arrays), end=END), _torch(config, arrays, END)):
        logits, _ = engine.read(ids, engine.zero_state(B))
        for b in range(B):
            expected, _ = _by_hand(plain, ids[:, b], plain.zero_state(1))
            np.testing.assert_allclose(logits[b], expected[-1], rtol=1e-4, atol=1e-5)
