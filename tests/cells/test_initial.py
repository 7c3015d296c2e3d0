"""First weights: the published rules, by statistics and closed forms; and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.initial import orthogonal, with_radius
from charrnn.cells.registry import check
from charrnn.errors import UsageError
from charrnn.network.model import CharacterModel, _Source
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig

H, E, V, L = 60, 40, 90, 2
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def _drawn(seed: int = 3, **settings: Any) -> dict[str, np.ndarray[Any, Any]]:
    model = CharacterModel(ModelConfig(num_layers=L, hidden_size=H, embedding_size=E, **settings), V)
    model.initialise(torch.Generator().manual_seed(seed))
    return model.numpy_arrays()


def _recurrent(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Every gate's own matrix (H, H)."""
    matrices = [array for name, array in arrays.items() if name.endswith("weight_hh")]
    return [block.astype(np.float64) for matrix in matrices for block in matrix.reshape(-1, H, H)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_default_is_drawn_as_it_always_was(cell: str) -> None:
    """Bit for bit: in place, one array after the other, from one generator."""
    generator, bound = torch.Generator().manual_seed(3), H**-0.5
    for name, array in _drawn(cell=cell).items():
        expected = torch.zeros(array.shape)
        if name == "embedding":
            expected.normal_(generator=generator)
        elif not (name.startswith("layers.") and "bias" in name):
            expected.uniform_(-bound, bound, generator=generator)
        elif cell == "lstm":
            expected[H : 2 * H] = 1.0
        np.testing.assert_array_equal(array, expected.numpy())


@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_orthogonal_keeps_lengths(cell: str, gain: float) -> None:
    """Q^T Q = g^2 I to 1e-6 in float32 for each gate, every gate another; all else is what uniform gives its kind."""
    arrays = _drawn(cell=cell, init="orthogonal", init_gain=gain)
    blocks = _recurrent(arrays)
    assert len(blocks) == L * GATES[cell]
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, gain**2 * np.eye(H), atol=1e-6)
    assert len({block.tobytes() for block in blocks}) == len(blocks)
    assert np.abs(arrays["layers.2.weight_ih"]).max() == pytest.approx(H**-0.5, rel=1e-2)


def test_orthogonal_matrices_are_drawn_uniformly() -> None:
    """Of 4,000 of size 3: every entry has mean 0 and square 1/3, determinants of either sign are as frequent."""
    source = _Source(torch.Generator().manual_seed(5))
    many = np.stack([orthogonal(3, source) for _ in range(4000)])
    np.testing.assert_allclose(many.mean(0), 0, atol=0.04)
    np.testing.assert_allclose((many**2).mean(0), 1 / 3, atol=0.02)
    assert (np.linalg.det(many) > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_identity_copies_the_state() -> None:
    """g I for the recurrent matrices, small inputs, no biases: without input the state would stand still."""
    arrays = _drawn(cell="rnn", init="identity", init_gain=0.9)
    for block in _recurrent(arrays):
        np.testing.assert_allclose(block, 0.9 * np.eye(H), rtol=1e-7)
    for name in ("layers.1.weight_ih", "layers.2.weight_ih", "decoder.weight"):
        assert arrays[name].std() == pytest.approx(1e-3, rel=0.05)
        assert abs(arrays[name].mean()) < 5e-5
    assert not any(array.any() for name, array in arrays.items() if "bias" in name)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_xavier_has_the_variance_of_its_equation(cell: str) -> None:
    """2 / (inputs + outputs) for each gate's matrices and the decoder; nothing beyond the bound."""
    arrays = _drawn(cell=cell, init="xavier")
    sides = {"layers.1.weight_ih": (E, H), "layers.2.weight_ih": (H, H), "layers.1.weight_hh": (H, H)}
    for name, (inputs, outputs) in {**sides, "decoder.weight": (H, V)}.items():
        variance = 2 / (inputs + outputs)
        assert arrays[name].var() == pytest.approx(variance, rel=0.05)
        assert np.abs(arrays[name]).max() <= (3 * variance) ** 0.5
    assert not arrays["decoder.bias"].any()


@pytest.mark.parametrize(("cell", "bias", "block"), [("lstm", "bias", 1), ("gru", "bias_ih", 1)])
def test_chrono_spreads_what_is_remembered(cell: str, bias: str, block: int) -> None:
    """exp of the keeping gate's bias is uniform on [1, T - 1]: its moments; the lstm's input gate is its mirror."""
    found = [_drawn(seed, cell=cell, init="chrono", chrono_range=101) for seed in range(20)]
    times = np.exp(np.concatenate([arrays[f"layers.1.{bias}"][block * H : (block + 1) * H] for arrays in found]))
    assert 1 <= times.min() < 3
    assert 98 < times.max() <= 100.001
    assert times.mean() == pytest.approx(50.5, rel=0.05)
    assert times.std() == pytest.approx(99 / 12**0.5, rel=0.05)
    first = found[0][f"layers.2.{bias}"].reshape(-1, H)
    if cell == "lstm":
        np.testing.assert_array_equal(first[0], -first[1])
        assert not first[2:].any()
    else:
        assert not first[[0, 2]].any()
        assert not found[0]["layers.2.bias_hh"].any()
    slowest = np.exp(_drawn(cell=cell, init="chrono")[f"layers.1.{bias}"].reshape(-1, H)[block]).max()
    assert 200 < slowest <= 255.001, "the range where nobody says is 256"


def test_gate_biases_are_those_of_the_notes() -> None:
    """b_i = -a, b_f = a, b_o = -a; for a gru the update gate, which keeps the state; 0 is a value like others."""
    for a in (2.5, 0.0):
        blocks = _drawn(cell="lstm", gate_bias=a)["layers.2.bias"].reshape(4, H)
        assert [set(block.tolist()) for block in blocks] == [{-a}, {a}, {0.0}, {-a}]
        arrays = _drawn(cell="gru", gate_bias=a)
        blocks = arrays["layers.1.bias_ih"].reshape(3, H)
        assert [set(block.tolist()) for block in blocks] == [{0.0}, {a}, {0.0}]
        assert not arrays["layers.1.bias_hh"].any()
        blocks = _drawn(gate_bias=a, forget_gate=False)["layers.1.bias"].reshape(3, H)
        assert [set(block.tolist()) for block in blocks] == [{-a}, {0.0}, {-a}]


@pytest.mark.parametrize(
    "settings", [{}, {"cell": "gru", "init": "xavier"}, {"cell": "rnn", "init": "orthogonal"}], ids=str
)
def test_a_spectral_radius_is_that_of_every_gate(settings: dict[str, Any]) -> None:
    """The largest eigenvalue's size is R, by a factor on what would have been drawn; everything else is as it was."""
    plain, scaled = _drawn(**settings), _drawn(spectral_radius=0.7, **settings)
    for before, after in zip(_recurrent(plain), _recurrent(scaled), strict=True):
        assert np.abs(np.linalg.eigvals(after)).max() == pytest.approx(0.7, rel=1e-5)
        np.testing.assert_allclose(after, before * (after[0, 0] / before[0, 0]), rtol=1e-5)
    for name, array in plain.items():
        if not name.endswith("weight_hh"):
            np.testing.assert_array_equal(array, scaled[name])
    nothing = np.zeros((2 * H, H))
    assert not with_radius(nothing, 0.7).any(), "no factor gives a radius to what has none"


@pytest.mark.parametrize(
    "settings",
    [{}, {"init": "orthogonal", "init_gain": 1.3}, {"init": "xavier", "gate_bias": 1.5}, {"init": "chrono"}],
    ids=str,
)
def test_untrained_weights_follow(settings: dict[str, Any]) -> None:
    """numpy's draws of every array have the spread of torch's, the same seed gives the same, another gives others."""
    config = ModelConfig(num_layers=L, hidden_size=H, embedding_size=E, **settings)
    ours, theirs = untrained_arrays(config, V), _drawn(**settings)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        assert array.dtype == np.float32
        assert array.std() == pytest.approx(theirs[name].std(), rel=0.2, abs=1e-6)
    again, other = untrained_arrays(config, V), untrained_arrays(config, V, seed=1)
    assert all((array == again[name]).all() for name, array in ours.items())
    assert (ours["layers.1.weight_hh"] != other["layers.1.weight_hh"]).any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"init": "glorot"}, "--init is 'glorot'"),
        ({"init": "identity"}, "--init identity is for the rnn"),
        ({"init": "identity", "cell": "gru"}, "--init identity is for the rnn"),
        ({"init": "chrono", "cell": "rnn"}, "an rnn has none"),
        ({"gate_bias": 1.0, "cell": "rnn"}, "an rnn has none"),
        ({"init": "chrono", "gate_bias": 1.0}, "set the same biases"),
        ({"init": "chrono", "forget_bias": 2.0}, "set the same bias"),
        ({"gate_bias": 1.0, "forget_bias": 2.0}, "set the same bias"),
        ({"init_gain": 1.5}, "has no gain"),
        ({"init": "chrono", "chrono_range": 2}, "--chrono-range is 2"),
        ({"chrono_range": 50}, "goes with --init chrono"),
        ({"gate_bias": float("nan")}, "--gate-bias is nan"),
        ({"spectral_radius": 0.0}, "--spectral-radius is 0.0"),
        ({"spectral_radius": 0.9, "init": "orthogonal", "init_gain": 1.1}, "set the same factor"),
        ({"spectral_radius": 0.9, "layer_norm": True}, "brings back to one scale"),
        ({"spectral_radius": 0.9, "batch_norm": True}, "--batch-norm brings back to one scale"),
        ({"spectral_radius": 0.9, "multiplicative": True}, "every character has its own"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(settings: dict[str, Any], said: str) -> None:
    """With both options named, or the one that lacks what it is about."""
    with pytest.raises(UsageError, match=said):
        check(ModelConfig(**settings))
