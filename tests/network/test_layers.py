"""Layers and stacks: fused path, plain loop and torch's own modules agree; windows, lanes and dropout behave."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN
from charrnn.network.layers import KernelLayer, Stack, drop
from charrnn.network.noise import QUIET, draw_mask, draw_noise
from charrnn.settings.config import ModelConfig
from tests.kit.loops import loop

T, B, I, H, L = 7, 3, 5, 4, 2  # noqa: E741 - the letter the equations use
CELLS: list[Cell] = [LSTM(), GRU(), RNN()]
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
by_name = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _state(cell: Cell, lanes: int = B, seed: int = 5) -> tuple[torch.Tensor, ...]:
    return tuple(_random(lanes, H, seed=seed + n) for n, _ in enumerate(cell.state_names))


def _config(cell: Cell) -> ModelConfig:
    return ModelConfig(cell=cell.name, num_layers=L, hidden_size=H, embedding_size=I)  # type: ignore[arg-type]


@by_name
def test_the_plain_loop_equals_the_fused_path(cell: Cell) -> None:
    """Outputs, final state and every gradient agree to 1e-5."""
    torch.manual_seed(0)
    layer = KernelLayer(cell, I, H)
    results = []
    for path in (layer, functools.partial(loop, layer)):
        x = _random(T, B, I).requires_grad_()
        layer.zero_grad()
        output, state = path(x, _state(cell))
        (output.square().sum() + sum(array.sum() for array in state)).backward()
        gradients = [p.grad.clone() for p in layer.arrays().values() if p.grad is not None]
        assert len(gradients) == len(layer.arrays())
        results.append([output, *state, x.grad, *gradients])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)


@by_name
def test_a_stack_equals_torchs_module_of_many_layers(cell: Cell) -> None:
    """Single layers on each other compute what one module with num_layers computes."""
    torch.manual_seed(1)
    stack = Stack(cell, _config(cell))
    reference = MODULES[cell.name](I, H, num_layers=L)
    with torch.no_grad():
        for number, layer in enumerate(stack.layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                reference.get_parameter(f"{name}_l{number}").copy_(layer.kernel.get_parameter(f"{name}_l0"))
    state = tuple(_state(cell, seed=5 + 10 * number) for number in range(L))
    packed = tuple(torch.stack([layer[n] for layer in state]) for n, _ in enumerate(cell.state_names))
    x = _random(T, B, I)
    expected, expected_state = reference(x, packed if len(packed) > 1 else packed[0])
    output, _, after = stack(x, state)
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    expected_state = expected_state if isinstance(expected_state, tuple) else (expected_state,)
    for n, _ in enumerate(cell.state_names):
        ours = torch.stack([layer[n] for layer in after])
        torch.testing.assert_close(ours, expected_state[n], rtol=1e-6, atol=1e-6)


@by_name
def test_a_window_split_equals_the_whole(cell: Cell) -> None:
    """The state carried over a cut is all that the second part needs."""
    torch.manual_seed(2)
    stack = Stack(cell, _config(cell))
    x = _random(T, B, I)
    state = tuple(_state(cell) for _ in range(L))
    whole, _, whole_state = stack(x, state)
    first, _, middle = stack(x[:3], state)
    second, _, last = stack(x[3:], middle)
    torch.testing.assert_close(torch.cat((first, second)), whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(last, whole_state, rtol=1e-6, atol=1e-6)


@by_name
def test_lanes_do_not_touch_each_other(cell: Cell) -> None:
    """A batch of three equals three batches of one."""
    torch.manual_seed(3)
    stack = Stack(cell, _config(cell))
    x = _random(T, B, I)
    state = tuple(_state(cell) for _ in range(L))
    together, _, _ = stack(x, state)
    for lane in range(B):
        own = tuple(tuple(array[lane : lane + 1] for array in layer) for layer in state)
        alone, _, _ = stack(x[:, lane : lane + 1], own)
        torch.testing.assert_close(alone[:, 0], together[:, lane], rtol=1e-6, atol=1e-6)


def test_the_second_bias_of_a_one_bias_cell_stays_at_zero() -> None:
    """It is not trained and not among the arrays, so the one layout holds all there is."""
    layer = KernelLayer(LSTM(), I, H)
    assert set(layer.arrays()) == {"weight_ih", "weight_hh", "bias"}
    output, _ = layer(_random(T, B, I), _state(LSTM()))
    output.sum().backward()
    second = layer.kernel.get_parameter("bias_hh_l0")
    assert second.grad is None
    assert not second.any()


def test_dropout_keeps_the_mean_and_follows_its_generator() -> None:
    """A share of 1 - rate survives, scaled so that the mean stays; the same generator state gives the same mask."""
    x = torch.ones(40, 50, 60)

    def dropped(seed: int) -> torch.Tensor:
        return drop(x, 0.3, draw_mask(torch.Generator().manual_seed(seed), 0.3, (40, 50, 60)))

    assert dropped(8).unique().tolist() == pytest.approx([0.0, 1.0 / 0.7], rel=1e-4)
    assert dropped(8).mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(dropped(8), dropped(8))
    assert not torch.equal(dropped(8), dropped(9))


def test_noise_is_drawn_for_all_lanes_and_taken_in_parts() -> None:
    """At rate 0 there is none of either kind; the parts of the lanes are the whole, in their order."""
    off = ModelConfig(num_layers=2, hidden_size=H, dropout=0.0)
    assert draw_noise(torch.Generator(), off, T, B, 0.0, 5) == QUIET
    model = ModelConfig(num_layers=2, hidden_size=H, dropout=0.4)
    noise = draw_noise(torch.Generator().manual_seed(1), model, T, 6, 0.5, 5)
    parts = [noise.of_lanes(slice(start, start + 2)) for start in (0, 2, 4)]
    assert noise.kept is not None
    assert torch.equal(torch.cat([part.kept for part in parts if part.kept is not None]), noise.kept)
    for layer in range(2):
        assert torch.equal(torch.cat([part.masks[layer] for part in parts], 1), noise.masks[layer])
    assert not torch.equal(*noise.masks)
