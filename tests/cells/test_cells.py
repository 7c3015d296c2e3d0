"""Cells against torch's own modules, a naive loop over gates, and finite differences.

Every dimension is a different small number, so that no transposition can pass.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from charrnn.cells.arrays import Array
from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.parameters import layer_parameters, parameter_shapes
from charrnn.cells.rnn import RNN
from charrnn.settings.config import ModelConfig

B, I, H = 3, 5, 4  # noqa: E741 - the letter the equations use
CELLS: list[Cell] = [LSTM(), GRU(), RNN()]
TORCH_CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


def _parameters(cell: Cell, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in cell.shapes(I, H).items()
    }


def _inputs(cell: Cell, seed: int = 1) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, I, generator=generator, dtype=torch.float64)
    return x, tuple(torch.randn(B, H, generator=generator, dtype=torch.float64) for _ in cell.state_names)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_step_equals_torchs_own_cell(cell: Cell) -> None:
    """One step with the same weights gives torch's state to the last bits of float64."""
    p = _parameters(cell)
    reference = TORCH_CELLS[cell.name](I, H, dtype=torch.float64)
    with torch.no_grad():
        reference.weight_ih.copy_(p["weight_ih"])
        reference.weight_hh.copy_(p["weight_hh"])
        reference.bias_ih.copy_(p["bias"] if "bias" in p else p["bias_ih"])
        reference.bias_hh.copy_(p.get("bias_hh", torch.zeros_like(reference.bias_hh)))
    x, state = _inputs(cell)
    expected = reference(x, state if len(state) > 1 else state[0])
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(cell.step(p, x, state), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_numpy_and_torch_run_the_same_step(cell: Cell) -> None:
    """The step on numpy arrays equals the step on tensors, gates included."""
    p = _parameters(cell)
    x, state = _inputs(cell)
    as_numpy = {name: tensor.numpy() for name, tensor in p.items()}
    after, gates = cell.observe(as_numpy, x.numpy(), tuple(array.numpy() for array in state))
    expected_after, expected_gates = cell.observe(p, x, state)
    for ours, theirs in zip((*after, *gates), (*expected_after, *expected_gates), strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_gradients_agree_with_finite_differences(cell: Cell) -> None:
    """torch.autograd.gradcheck holds for every parameter, the input and the state."""
    p = _parameters(cell)
    x, state = _inputs(cell)
    names = list(p)

    def step(*tensors: torch.Tensor) -> tuple[Array, ...]:
        arrays = dict(zip(names, tensors, strict=False))
        return cell.step(arrays, tensors[len(names)], tuple(tensors[len(names) + 1 :]))

    inputs = [tensor.requires_grad_() for tensor in (*p.values(), x, *state)]
    assert torch.autograd.gradcheck(step, inputs)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_lstm_by_hand_one_unit_at_a_time() -> None:
    """The paper's equations written out for each unit, with plain floats."""
    cell = LSTM()
    p = {name: tensor.numpy() for name, tensor in _parameters(cell).items()}
    x_tensor, state_tensors = _inputs(cell)
    x, h, c = (tensor.numpy() for tensor in (x_tensor, *state_tensors))
    new_h, new_c = cell.step(p, x, (h, c))
    for lane in range(B):
        for unit in range(H):
            i, f, g, o = (
                sum(p["weight_ih"][gate * H + unit, k] * x[lane, k] for k in range(I))
                + sum(p["weight_hh"][gate * H + unit, k] * h[lane, k] for k in range(H))
                + p["bias"][gate * H + unit]
                for gate in range(4)
            )
            expected_c = _sigmoid(f) * c[lane, unit] + _sigmoid(i) * math.tanh(g)
            assert new_c[lane, unit] == pytest.approx(expected_c, abs=1e-14)
            assert new_h[lane, unit] == pytest.approx(_sigmoid(o) * math.tanh(expected_c), abs=1e-14)


def test_a_gru_with_its_update_gate_open_keeps_its_state() -> None:
    """z = 1 keeps the old state, z = 0 takes the candidate: the convention the docstring states."""
    cell = GRU()
    p = {name: np.zeros(shape) for name, shape in cell.shapes(I, H).items()}
    h = np.arange(B * H, dtype=float).reshape(B, H) / 10
    p["bias_ih"][H : 2 * H] = 100.0
    np.testing.assert_allclose(cell.step(p, np.ones((B, I)), (h,))[0], h)
    p["bias_ih"][H : 2 * H] = -100.0
    p["bias_ih"][2 * H :] = 0.5
    np.testing.assert_allclose(cell.step(p, np.ones((B, I)), (h,))[0], np.full((B, H), math.tanh(0.5)))


def test_closed_gates_do_not_overflow() -> None:
    """Strongly saturated gates give 0 and 1 without a floating-point warning (warnings are errors here)."""
    cell = LSTM()
    p = {name: np.zeros(shape, np.float32) for name, shape in cell.shapes(I, H).items()}
    p["bias"][:] = -1e4
    (h, c), (i, f, g, o) = cell.observe(p, np.zeros((B, I), np.float32), (np.ones((B, H), np.float32),) * 2)
    assert not h.any()
    assert not c.any()
    assert i.max() == f.max() == o.max() == 0.0
    assert g.min() == -1.0


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_layout_lists_what_a_layer_takes_out(cell: Cell) -> None:
    """`parameter_shapes` names every array once, and `layer_parameters` finds a layer's under the cell's names."""
    V, E, L = 7, 6, 12  # twelve layers: layer 1 must not be taken for 10, 11 and 12
    config = ModelConfig(cell=cell.name, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]
    shapes = parameter_shapes(config, V)
    assert shapes["embedding"] == (V, E)
    assert shapes["decoder.weight"] == (V, H)
    assert shapes["decoder.bias"] == (V,)
    for layer in range(1, L + 1):
        assert dict(layer_parameters(shapes, layer)) == dict(cell.shapes(E if layer == 1 else H, H))
