"""A cell is one class and one entry: a gated one that no kernel knows is added here, and everything works with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from charrnn.cells import names, registry
from charrnn.cells.arrays import Array, Arrays, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Inside, Prepared, State, Step
from charrnn.cells.registry import check, describe, make_cell
from charrnn.errors import UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.network.speed import REFERENCE, expected_characters
from charrnn.neurons.clamping import clamp, parse_clamp
from charrnn.neurons.gates import gate_kinds, saturation
from charrnn.neurons.record import limits
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.estimates import training_memory
from charrnn.training.learner import Learner

V = 7


class MGU(Cell):
    """The minimal gated unit of Zhou, Wu, Zhang & Zhou 2016 (arXiv 1603.09420), gated after the product.

    u = sigmoid(W_iu x_t + W_hu h_{t-1} + b_u),  k = tanh(W_ik x_t + b_k + u * W_hk h_{t-1})
    h_t = (1 - u) * h_{t-1} + u * k
    """

    name = "mgu"
    gate_names = blocks = ("u", "k")
    candidate = "k"
    candidate_is_apart = True

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        (h,) = state
        x_u, x_k = split(prepared[0], 2)
        h_u, h_k = split(recurrent, 2)
        u = sigmoid(x_u + h_u)
        k = tanh(x_k + u * h_k)
        return ((1 - u) * h + u * inside.candidate(k),), (u, k)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The cell has a name for the length of a test."""
    cells = {**names.CELLS, "mgu": names.CellEntry(__name__, "MGU", "minimal gated unit")}
    monkeypatch.setattr(registry, "CELLS", cells)
    monkeypatch.setattr(registry, "NAMES", tuple(cells))
    registry._needs.cache_clear()
    yield
    registry._needs.cache_clear()
    registry.make_cell.cache_clear()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layer_norm": True, "mogrifier": 2, "zoneout": 0.2, "recurrent_dropout": 0.3},
        {"batch_norm": True, "multiplicative": True},
        {"orthogonal": True},
        {"init": "chrono"},
    ],
    ids=str,
)
def test_it_learns_and_is_stepped(settings: dict[str, object]) -> None:
    """An update changes every array, and numpy steps the model to the logits that torch has."""
    config = ModelConfig(cell="mgu", num_layers=2, hidden_size=4, embedding_size=5, **settings)  # type: ignore[arg-type]
    training = TrainingConfig(batch_size=3, bptt=6, average=0.0, precision="fp32")
    check(config, training)
    assert describe(config).startswith("mgu")
    learner = Learner(config, training, V, torch.device("cpu"))
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, V, (7, 3)))
    learner.step(ids[:-1], ids[1:], 0.01)
    after = learner.model.numpy_arrays()
    assert all((after[name] != before[name]).any() for name in before)
    learner.model.eval()
    with torch.no_grad():
        logits, _ = learner.model(ids, learner.model.zero_state(3))
    engine = make_engine(config, after)
    ours, _ = engine.read(ids.numpy(), engine.zero_state(3))
    np.testing.assert_allclose(ours, logits[-1].numpy(), atol=1e-5)
    assert training_memory(config, training, V, kept=2) > 0
    assert expected_characters(config, V, REFERENCE, 10) > 0


def test_its_units_are_looked_at() -> None:
    """Its gate is one, its candidate is none, and h can be held."""
    config = ModelConfig(cell="mgu", num_layers=1, hidden_size=4, embedding_size=5)
    assert gate_kinds(config) == ("u",)
    assert (limits("u", config), limits("k", config)) == ((0.0, 1.0), (-1.0, 1.0))
    arrays = untrained_arrays(config, V)
    found = saturation(make_engine(config, arrays), [np.arange(V)])
    assert [(gate.title, gate.ends) for gate in found.gates] == [("u", None)]
    unit, value = parse_clamp("L1.h2=0.5", config)
    engine = make_engine(config, clamp(config, arrays, {unit: value}))
    logits, _ = engine.read([1, 2], engine.zero_state())
    assert np.isfinite(logits).all()
    with pytest.raises(UsageError, match="units of kind u cannot be held"):
        parse_clamp("L1.u2=0.5", config)


def test_what_it_has_not_is_refused() -> None:
    """By what it says of itself; and it is named where another cell lacks what it has."""
    for settings in ({"peephole": True}, {"zoneout_cell": 0.1}, {"activation": "relu"}, {"init": "identity"}):
        with pytest.raises(UsageError, match="mgu"):
            make_cell(ModelConfig(cell="mgu", **settings))  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        make_cell(ModelConfig(cell="rnn", mogrifier=2))
    assert caught.value.hint is not None
    assert "--cell mgu" in caught.value.hint
    assert "--cell rnn" not in caught.value.hint
    with pytest.raises(UsageError, match="--cell is 'mgx'"):
        make_cell(ModelConfig(cell="mgx"))
