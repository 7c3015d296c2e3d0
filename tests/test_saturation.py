"""Saturation of gates: against a count by brute force, gates held by their bias, and the pictures of both."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, UsageError
from charrnn.inference.engine import make_engine
from charrnn.inference.network import Network
from charrnn.neurons.record import limits, record
from charrnn.neurons.saturation import gate_kinds, saturation

V, E, H, L = 9, 4, 7, 2


def _config(cell: str) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]


def _random(cell: str) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Weights so large that gates swing between both ends."""
    random = np.random.default_rng(5)
    config = _config(cell)
    shapes = parameter_shapes(config, V)
    return config, {name: random.normal(scale=2.0, size=shape).astype(np.float32) for name, shape in shapes.items()}


def _ids(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, V, count)


# What is counted.


@pytest.mark.parametrize("make", [Network, make_engine])
@pytest.mark.parametrize(("cell", "expected"), [("lstm", "ifo"), ("gru", "rz")])
@pytest.mark.parametrize("start", [0, 1, 13, 82])
def test_fractions_are_those_of_a_count_by_hand(make, cell: str, expected: str, start: int) -> None:
    """Character by character and unit by unit over what `record` gives, wherever pieces and blocks are cut."""
    engine, ids = make(*_random(cell)), _ids(83)
    parts = [(layer, kind) for layer in (1, 2) for kind in expected]
    (values,) = record(engine, ids, parts, block=100)
    for cuts, block in (([], 100), ([0, 5, 5, 6, 40, 83], 3), (list(range(83)), 1), ([12, 13, 14], 7)):
        found = saturation(engine, np.split(ids, cuts), start, block=block)
        assert found.characters == 83 - start
        assert [(gate.layer, gate.kind) for gate in found.gates] == parts
        for gate in found.gates:
            for unit in range(H):
                over = [float(value) for value in values[gate.layer, gate.kind][start:, unit]]
                assert gate.right[unit] == sum(value > np.float32(0.9) for value in over) / len(over)
                assert gate.left[unit] == sum(value < np.float32(0.1) for value in over) / len(over)
    whole = saturation(engine, [ids])
    assert any(0 < fraction < 1 for gate in whole.gates for fraction in (*gate.right, *gate.left))


def _held(cell: str, kind_row: int, bias: str) -> Network:
    """A network of zeros, the gates of one kind held by their bias: two open, one shut, one just inside either end."""
    config = _config(cell)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, V).items()}
    ends = [9.0, 9.0, -9.0, np.log(0.901 / 0.099), np.log(0.899 / 0.101), np.log(0.099 / 0.901), np.log(0.101 / 0.899)]
    arrays[f"layers.2.{bias}"][kind_row * H : (kind_row + 1) * H] = ends
    return Network(config, arrays)


@pytest.mark.parametrize(
    ("cell", "kind", "row", "bias"), [("lstm", "f", 1, "bias"), ("lstm", "o", 3, "bias"), ("gru", "z", 1, "bias_ih")]
)
def test_gates_that_their_bias_holds(cell: str, kind: str, row: int, bias: str) -> None:
    """Open, shut, or in between all the time; the others, at one half, are never saturated."""
    for gate in saturation(_held(cell, row, bias), [_ids(11), _ids(4)]).gates:
        if (gate.layer, gate.kind) == (2, kind):
            assert gate.right.tolist() == [1, 1, 0, 1, 0, 0, 0]
            assert gate.left.tolist() == [0, 0, 1, 0, 0, 1, 0]
            assert (gate.mostly_right, gate.mostly_left) == (3, 2)
        else:
            assert not gate.right.any()
            assert not gate.left.any()
            assert (gate.mostly_right, gate.mostly_left) == (0, 0)


def test_candidates_are_no_gates() -> None:
    """Every other value between the state and the input is one."""
    assert gate_kinds(_config("lstm")) == ("i", "f", "o")
    assert gate_kinds(_config("gru")) == ("r", "z")
    assert all(limits(kind) == (0.0, 1.0) for kind in "iforz")


def test_a_cell_without_gates_is_refused() -> None:
    """With the reason, before a character is read."""
    config, arrays = _random("rnn")
    with pytest.raises(UsageError, match="a rnn has no gates") as caught:
        saturation(Network(config, arrays), iter(()))
    assert "lstm or a gru" in (caught.value.hint or "")


@pytest.mark.parametrize("pieces", [[], [np.zeros(0, int)], [_ids(3)]])
def test_nothing_read_is_nothing_counted(pieces: list[np.ndarray]) -> None:
    """No text, or none from the start on: no fractions, and no division by zero."""
    found = saturation(Network(*_random("gru")), pieces, 3)
    assert (found.characters, found.gates) == (0, ())


def test_weights_too_large_are_said() -> None:
    """A gate that is not a number is neither open nor shut."""
    config, arrays = _random("lstm")
    arrays["layers.1.weight_ih"][:] = np.float32(3e38)
    arrays["embedding"][:, 0], arrays["embedding"][:, 1] = 1e38, -1e38
    with pytest.raises(CheckpointError, match="gates of layer 1 are not finite"):
        saturation(Network(config, arrays), [_ids(3)])
