"""Products with the curvature against dense matrices of Jacobians, and against finite differences.

Shape letters: T window, B lanes, V vocabulary, N weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.cells.parameters import is_trained
from charrnn.network.model import CharacterModel
from charrnn.network.noise import QUIET, draw_noise
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.lanes import TextWindow
from charrnn.training.objective import WindowObjective, curvature_lanes
from charrnn.training.optimizers.curvature import Softmax
from charrnn.training.recipe import completed_training
from tests.benchmarks.memory_curvature import LastSquare

T, B, V = 5, 4, 3
VARIANTS: list[dict[str, Any]] = [
    {"cell": "rnn"},
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "rnn", "activation": "modrelu"},
    {"cell": "urnn"},
    {"cell": "rnn", "orthogonal": True},
    {"cell": "lstm", "peephole": True, "coupled": "tied"},
    {"cell": "lstm", "layer_norm": True},
    {"cell": "gru", "mogrifier": 2},
    {"cell": "rnn", "multiplicative": True},
    {"cell": "gru", "num_layers": 2},
    {"cell": "rnn", "num_layers": 2, "skip": "dense"},
    {"cell": "rnn", "tie": True, "embedding_size": 6},
]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """All numbers are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _model(freeze: str = "none", end: int | None = None, **settings: Any) -> CharacterModel:
    config = ModelConfig(**{"num_layers": 1, "hidden_size": 6, "embedding_size": 2, **settings})
    model = CharacterModel(config, V, end)
    model.initialise(torch.Generator().manual_seed(3))
    for name, array in model.arrays().items():
        array.requires_grad_(is_trained(name, freeze))  # type: ignore[arg-type]
    return model


def _objective(model: CharacterModel, *, accumulate: int = 1, noise: Any = QUIET, **settings: Any) -> WindowObjective:
    """Of a window in which the second lane begins anew before the fourth character, from a state that is not zero."""
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(5))
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[3, 1] = True
    random = torch.Generator().manual_seed(6)
    carry = tuple(
        tuple(0.5 * torch.randn(array.shape, generator=random) for array in layer) for layer in model.zero_state(B)
    )
    asked = {"optimizer": "hessian-free", "batch_size": B, "bptt": T, "curvature_share": 1.0, **settings}
    training = TrainingConfig(**completed_training(asked))
    return WindowObjective(model, training, TextWindow(ids[:-1], ids[1:], starts), carry, noise, accumulate)


def _weights(model: CharacterModel) -> list[Tensor]:
    return [array for array in model.arrays().values() if array.requires_grad]


def _flat(arrays: Any) -> Tensor:
    return torch.cat([array.detach().flatten() for array in arrays])


def _move(weights: list[Tensor], change: Tensor, times: float) -> None:
    """Without autograd's knowledge, since passes made before are differentiated when all is moved back."""
    for array, part in zip(weights, torch.split(change, [array.numel() for array in weights]), strict=True):
        array.data.add_(part.view_as(array), alpha=times)


def _random(size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def _answers_and_states(objective: WindowObjective, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (T B, V), and all layers' outputs, as they are."""
    piece = objective._piece(slice(0, B), 1.0)
    states = [state.detach().flatten() for state in piece.states]
    return piece.answers.detach().flatten(0, 1), torch.cat(states) if states else torch.zeros(0)


def _jacobian(objective: WindowObjective, weights: list[Tensor]) -> Tensor:
    """(T B, V, N), each row by a backward pass through the usual forward pass, compiled where there is such code."""
    logits = objective._logits(slice(0, B), is_stepwise=False).flatten(0, 1)
    rows = []
    for row in logits.flatten():
        found = torch.autograd.grad(row, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(_flat(found))
    return torch.stack(rows).view(T * B, V, -1)


def _dense(objective: WindowObjective, weights: list[Tensor]) -> Tensor:
    """The Gauss-Newton matrix of the mean loss (N, N)."""
    J = _jacobian(objective, weights)
    p = torch.softmax(objective._logits(slice(0, B), is_stepwise=False).detach().flatten(0, 1), -1)
    H = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return torch.einsum("pvn,pvw,pwm->nm", J, H, J) / (T * B)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_products_are_those_of_the_dense_matrix(variant: dict[str, Any]) -> None:
    """For every kind of cell, on lanes that begin anew inside the window."""
    model = _model(**variant)
    objective, weights = _objective(model), _weights(model)
    G = _dense(objective, weights)
    curvature = objective.curvature(weights, 0)
    for seed in range(3):
        v = _random(len(G), seed)
        torch.testing.assert_close(curvature.product(v), G @ v, rtol=1e-8, atol=1e-10)
    assert float(v @ G @ v) > 1e-6


@pytest.mark.parametrize("settings", [{"cell": "rnn"}, {"cell": "lstm", "num_layers": 2}, {"cell": "urnn"}], ids=str)
def test_structural_damping_is_the_change_of_the_states(settings: dict[str, Any]) -> None:
    """Against finite differences of D: half the square of what outputs change, a mean over places."""
    model = _model(**settings)
    objective, weights = _objective(model), _weights(model)
    curvature = objective.curvature(weights, 0)
    v = _random(sum(array.numel() for array in weights), 1)
    added = curvature.product(v, 0.7) - curvature.product(v)
    before, small = _answers_and_states(objective, weights)[1], 1e-5
    found = []
    for times in (small, -small):
        _move(weights, v, times)
        after = _answers_and_states(objective, weights)[1]
        found.append(float((after - before).square().sum()) / 2 / (T * B))
        _move(weights, v, -times)
    # The halves' odd terms cancel.
    assert float(v @ added) == pytest.approx(0.7 * sum(found) / small**2, rel=1e-5)
    # Symmetric, and nothing where weights have no part in the states: in the decoder.
    w = _random(len(v), 2)
    back = curvature.product(w, 0.7) - curvature.product(w)
    assert float(w @ added) == pytest.approx(float(v @ back), rel=1e-9)
    assert not added[-V:].any()


def test_where_the_loss_is_quadratic_to_second_order_it_is_the_hessian() -> None:
    """With a decoder that learns alone the logits are linear in its weights, so that G is the loss's own Hessian:
    against differences of gradients, with the ridge of --l2."""
    model = _model("echo", cell="lstm")
    objective, weights = _objective(model, l2=0.3), _weights(model)
    curvature = objective.curvature(weights, 0)
    v, small = _random(sum(array.numel() for array in weights), 4), 1e-5

    def gradient(times: float) -> Tensor:
        _move(weights, v, times)
        logits = objective._logits(slice(0, B), is_stepwise=False)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), objective._window.targets.flatten())
        loss = loss + 0.15 * torch.stack([array.square().sum() for array in weights]).sum()
        found = _flat(torch.autograd.grad(loss, weights))
        _move(weights, v, -times)
        return found

    difference = (gradient(small) - gradient(-small)) / (2 * small)
    torch.testing.assert_close(curvature.product(v), difference, rtol=1e-6, atol=1e-8)
    # States that no weight which learns has a part in are not changed.
    assert torch.equal(curvature.product(v, 5.0), curvature.product(v))


@pytest.mark.parametrize("accumulate", [2, 3, 7])
def test_pieces_make_up_the_whole(accumulate: int) -> None:
    """Loss and products of lanes in unequal parts, more parts than lanes among them."""
    model = _model(cell="gru")
    weights = _weights(model)
    whole, parts = _objective(model), _objective(model, accumulate=accumulate)
    assert parts.loss() == pytest.approx(whole.loss(), rel=1e-12)
    v = _random(sum(array.numel() for array in weights), 1)
    ours, theirs = (each.curvature(weights, 0).product(v, 0.4) for each in (parts, whole))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_loss_goes_where_the_gradient_says() -> None:
    """With dropout and resets as they were drawn: differences of the loss against a backward pass."""
    model = _model(cell="lstm", dropout=0.4, weight_drop=0.2)
    noise = draw_noise(torch.Generator().manual_seed(8), model.config, T, B, 0.5, V)
    objective, weights = _objective(model, noise=noise), _weights(model)
    logits = objective._logits(slice(0, B), is_stepwise=True)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), objective._window.targets.flatten())
    assert objective.loss() == pytest.approx(float(loss.detach()), rel=1e-12)
    gradient = _flat(torch.autograd.grad(loss, weights))
    v, small = _random(len(gradient), 9), 1e-6
    found = []
    for times in (small, -small):
        _move(weights, v, times)
        found.append(objective.loss())
        _move(weights, v, -times)
    assert (found[0] - found[1]) / (2 * small) == pytest.approx(float(gradient @ v), rel=1e-6)
    squares = sum(float(array.detach().square().sum()) for array in weights)
    assert _objective(model, noise=noise, l2=0.2).loss() == pytest.approx(objective.loss() + 0.1 * squares, rel=1e-6)


def test_the_diagonal_without_bias() -> None:
    """Means over many signs, whole and in pieces, against the dense matrix's."""
    model = _model(cell="rnn")
    weights = _weights(model)
    for accumulate in (1, 2):
        objective = _objective(model, accumulate=accumulate, l2=0.05)
        G = _dense(objective, weights)
        found = objective.curvature(weights, 0).diagonal(11, 3000)
        torch.testing.assert_close(found, torch.diagonal(G) + 0.05, rtol=0.15, atol=2e-4)
        again = [objective.curvature(weights, 0).diagonal(11, 2) for _ in range(2)]
        assert torch.equal(*again)


def test_roots_are_roots() -> None:
    """L L^T = H, place by place, for both losses; H of the softmax by its formula, of squares 2 / B at the end."""
    logits = torch.randn(T, B, V, generator=torch.Generator().manual_seed(1))
    eye = torch.eye(T * B * V).view(-1, T, B, V)
    p = torch.softmax(logits, -1).view(-1, V)
    by_hand = torch.block_diag(*(0.3 * (torch.diag(row) - torch.outer(row, row)) for row in p))
    answers = torch.zeros(T, B, 1)
    squares = torch.diag(torch.cat([torch.zeros((T - 1) * B), torch.full((B,), 2 / B)]))
    for loss, columns, expected in (
        (Softmax(logits, 0.3), eye, by_hand),
        (LastSquare(answers), torch.eye(T * B).view(-1, T, B, 1), squares),
    ):
        root = torch.stack([loss.root(column).flatten() for column in columns], 1)  # type: ignore[attr-defined]
        hessian = torch.stack([loss.hessian(column).flatten() for column in columns], 1)  # type: ignore[attr-defined]
        torch.testing.assert_close(hessian, expected)
        torch.testing.assert_close(root @ root.T, expected)


def test_the_lanes_of_the_curvature_go_round() -> None:
    """Every lane has its turn, within as many steps as shares fill all lanes; one lane at the least."""
    for lanes, share in ((7, 0.3), (8, 0.25), (4, 1.0), (5, 1e-9), (3, 0.5)):
        found = [curvature_lanes(lanes, share, turn) for turn in range(12)]
        count = {part.stop - part.start for part in found}
        assert count == {max(1, int(np.ceil(share * lanes)))}
        period = -(-lanes // max(count))
        assert {lane for part in found[:period] for lane in range(part.start, part.stop)} == set(range(lanes))
        assert found[period] == found[0]
        assert all(0 <= part.start < part.stop <= lanes for part in found)


def test_one_pass_is_kept_and_of_several_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are read anew where lanes are computed in parts, for the sake of memory."""
    model = _model(cell="rnn")
    weights = _weights(model)
    counts = []
    for accumulate in (1, 2):
        objective = _objective(model, accumulate=accumulate)
        passes = Mock(side_effect=objective._logits)
        monkeypatch.setattr(objective, "_logits", passes)
        curvature = objective.curvature(weights, 0)
        for _ in range(3):
            curvature.product(_random(sum(array.numel() for array in weights), 1))
        counts.append(passes.call_count)
    assert counts == [1, 6]
