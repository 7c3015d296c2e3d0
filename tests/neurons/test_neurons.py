"""Recording activations: against torch's own module, independent of blocks, and a planted unit found first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from charrnn.cells.parameters import parameter_shapes
from charrnn.errors import UsageError
from charrnn.inference.reference import Network
from charrnn.network.model import CharacterModel
from charrnn.neurons.record import Unit, kinds, limits, liveliest, parse_unit, record
from charrnn.settings.config import ModelConfig

V, E, H, L = 9, 4, 6, 2


def _model(cell: str) -> CharacterModel:
    config = ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    return model


def _ids(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, V, count)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_hidden_states_are_what_torch_computes(cell: str) -> None:
    """h of both layers after every character equals the outputs of the layers run over the whole text."""
    model = _model(cell)
    network = Network(model.config, model.numpy_arrays())
    ids = _ids(70)
    x = nn.functional.embedding(torch.from_numpy(ids)[:, None], model.embedding)
    taken = list(record(network, ids, [(1, "h"), (2, "h")], block=32))
    assert [len(block[1, "h"]) for block in taken] == [32, 32, 6]
    for number, layer in enumerate(model.stack.layers, start=1):
        x, _ = layer(x, tuple(torch.zeros(1, H) for _ in model.cell.state_names))
        recorded = np.concatenate([block[number, "h"] for block in taken])
        np.testing.assert_allclose(recorded, x[:, 0].detach().numpy(), atol=1e-6)


def test_gates_and_cell_explain_the_output() -> None:
    """In an lstm h = o * tanh(c) holds for what is recorded, with c recorded as its tanh; gates lie in their range."""
    model = _model("lstm")
    network = Network(model.config, model.numpy_arrays())
    (block,) = record(network, _ids(40), [(2, kind) for kind in kinds(model.config)])
    np.testing.assert_allclose(block[2, "h"], block[2, "o"] * block[2, "c"], atol=1e-6)
    for kind in kinds(model.config):
        low, high = limits(kind, model.config)
        assert low <= block[2, kind].min()
        assert block[2, kind].max() <= high


def test_a_planted_unit_is_the_liveliest() -> None:
    """A network in which one unit follows the characters and all others rest: that one is named first."""
    config = ModelConfig(cell="rnn", num_layers=1, hidden_size=H, embedding_size=E)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, V).items()}
    arrays["embedding"][:, 2] = np.linspace(-1, 1, V)
    arrays["layers.1.weight_ih"][5, 2] = 3.0
    arrays["layers.1.weight_ih"][1, 2] = 0.5
    units = liveliest(Network(config, arrays), _ids(200), 3)
    assert units[:2] == [Unit(1, "h", 5), Unit(1, "h", 1)]


def test_units_have_names() -> None:
    """Name -> unit -> name, for every kind of every cell."""
    for cell, expected in (("lstm", "hcifgo"), ("gru", "hrzn"), ("rnn", "h")):
        config = ModelConfig(cell=cell, num_layers=L, hidden_size=H)  # type: ignore[arg-type]
        assert "".join(kinds(config)) == expected
        for kind in expected:
            assert str(parse_unit(f"L2.{kind}5", config)) == f"L2.{kind}5"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("c17", "named like"),
        ("L1.c-1", "named like"),
        ("L1.c5 ", "named like"),
        ("L0.c1", "no layer 0"),
        ("L3.c1", "no layer 3"),
        ("L1.z1", "has no 'z'"),
        ("L1.c6", "no unit 6"),
    ],
)
def test_units_that_do_not_exist_are_refused(name: str, reason: str) -> None:
    """Each with what is wrong about it."""
    with pytest.raises(UsageError) as caught:
        parse_unit(name, ModelConfig(num_layers=L, hidden_size=H))
    assert reason in f"{caught.value.message}; {caught.value.hint}"


def test_a_unit_is_taken_as_find_prints_it() -> None:
    """With the minus of one that is low where its label holds; where a unit is held, its sign would mislead."""
    config = ModelConfig(hidden_size=5)
    assert parse_unit("-L1.h2", config) == parse_unit("L1.h2", config)
    with pytest.raises(UsageError, match=r"did you mean L1\.h2\? the minus says that the unit is low"):
        parse_unit("-L1.h2", config, option="--clamp")
