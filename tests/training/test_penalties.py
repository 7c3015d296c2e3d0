"""Penalties against autograd of the equations written out, in whole and in parts, on both paths; losses stay losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.errors import UsageError
from charrnn.network import layers as recurrent
from charrnn.network.model import CharacterModel
from charrnn.network.noise import draw_noise, mask_scale
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.training.penalties import far_from_orthogonal
from tests.kit.loops import loop
from tests.kit.sizes import CPU, RATE, B, E, H, L, T, V, window

ALL = {"activation_penalty": 2.0, "temporal_penalty": 3.0, "orthogonal_penalty": 0.01, "l2": 0.2}
each = pytest.mark.parametrize("penalties", [{name: value} for name, value in ALL.items()] + [ALL], ids=str)


def _config(cell: str = "lstm", **settings: Any) -> ModelConfig:
    sizes = {"cell": cell, "num_layers": L, "hidden_size": H, "embedding_size": E, "dropout": 0.3}
    return ModelConfig(**{**sizes, **settings})  # type: ignore[arg-type]


def _learner(config: ModelConfig, *, accumulate: int = 1, **settings: Any) -> Learner:
    training = TrainingConfig(
        **{  # type: ignore[arg-type]
            "batch_size": B, "bptt": T, "state_reset": 0.0, "precision": "fp32", "optimizer": "sgd", "momentum": 0.0,
            "clip_norm": 0.0, "weight_decay": 0.0, "seed": 3, **settings,
        }
    )  # fmt: skip
    return Learner(config, training, V, CPU, accumulate=accumulate)


def _reference(config: ModelConfig, penalties: dict[str, float]) -> tuple[float, dict[str, Tensor]]:
    """The data loss and the weights after a step of plain gradient descent, from the equations."""
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    noise = draw_noise(torch.Generator().manual_seed(3), config, T, B, 0.0, V)
    inputs, targets = window()
    p, state = model.arrays(), model.zero_state(B)
    x = p["embedding"][inputs]
    for number, layer in enumerate(model._layers()):
        last, _ = loop(layer, x, state[number])
        x = last * noise.masks[number] * mask_scale(config.dropout)
        if noise.inputs and number == L - 1:
            x = x * noise.inputs[-1]
    logits = x @ p["decoder.weight"].T + p["decoder.bias"]
    loss = cross_entropy(logits.reshape(-1, V), targets.reshape(-1))
    wanted = loss
    wanted = wanted + penalties.get("activation_penalty", 0.0) * (x**2).sum() / x.numel()
    wanted = wanted + penalties.get("temporal_penalty", 0.0) * ((last[1:] - last[:-1]) ** 2).sum() / ((T - 1) * B * H)
    for matrix in (array for name, array in p.items() if name.endswith("weight_hh")):
        for W in matrix.split(H):
            distance = torch.linalg.matrix_norm(W.T @ W - torch.eye(H)).square()
            wanted = wanted + penalties.get("orthogonal_penalty", 0.0) * distance
    wanted = wanted + penalties.get("l2", 0.0) / 2 * sum((array**2).sum() for array in p.values())
    gradients = torch.autograd.grad(wanted, list(p.values()))
    return loss.item(), {
        name: array.detach() - RATE * gradient for (name, array), gradient in zip(p.items(), gradients, strict=True)
    }


@each
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_follows_the_gradient_of_loss_and_penalties(
    cell: str, accumulate: int, penalties: dict[str, float]
) -> None:
    """Weights after one step to 2e-5, the five lanes' halves unequal; the loss that is reported is the data's alone."""
    config = _config(cell, output_dropout=0.2)
    learner = _learner(config, accumulate=accumulate, **penalties)
    outcome = learner.step(*window(), RATE)
    loss, expected = _reference(config, penalties)
    assert outcome[0].item() == pytest.approx(loss, abs=1e-4)
    plain = _learner(config, accumulate=accumulate).step(*window(), RATE)
    assert outcome[0].item() == plain[0].item()
    for name, array in learner.model.numpy_arrays().items():
        np.testing.assert_allclose(array, expected[name].numpy(), atol=2e-5, err_msg=name)


@each
def test_torchs_kernels_follow_it_too(penalties: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is compiled: the same step."""
    fused, plain = _learner(_config(), **penalties), _learner(_config(), **penalties)
    fused.step(*window(), RATE)
    monkeypatch.setattr(recurrent, "is_available", lambda *_: False)
    plain.step(*window(), RATE)
    for name, array in plain.model.numpy_arrays().items():
        np.testing.assert_allclose(array, fused.model.numpy_arrays()[name], atol=1e-5, err_msg=name)


def test_the_distance_from_orthogonal_and_its_gradient() -> None:
    """0 for orthogonal blocks, |(g^2 - 1) I|^2 for their multiples; the gradient is 4 W (W^T W - I); gradcheck."""
    q, _ = torch.linalg.qr(torch.randn(3, H, H, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert far_from_orthogonal(q.reshape(-1, H)).item() == pytest.approx(0, abs=1e-20)
    assert far_from_orthogonal(1.5 * q.reshape(-1, H)).item() == pytest.approx(3 * H * 1.25**2)
    matrix = torch.randn(2 * H, H, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (found,) = torch.autograd.grad(far_from_orthogonal(matrix), matrix)
    for W, gradient in zip(matrix.split(H), found.split(H), strict=True):
        torch.testing.assert_close(gradient, 4 * W @ (W.T @ W - torch.eye(H, dtype=torch.float64)))
    assert torch.autograd.gradcheck(far_from_orthogonal, (matrix,))


def test_matrices_become_orthogonal_under_the_penalty() -> None:
    """With nothing to learn but that; and without the penalty they do not."""
    ends = []
    for orthogonal_penalty in (0.0, 0.1):
        learner = _learner(_config(dropout=0.0), orthogonal_penalty=orthogonal_penalty, seed=5)
        for _ in range(300):
            learner.step(*window(), 0.1)
        ends.append(
            sum(float(far_from_orthogonal(a).detach()) for n, a in learner.model.arrays().items() if "weight_hh" in n)
        )
    assert ends[1] < 0.1 < ends[0]


def test_windows_of_one_character_have_no_change() -> None:
    """Nothing to penalise, and nothing that is not a number."""
    learner = _learner(_config(), bptt=1, temporal_penalty=3.0)
    inputs, targets = window()
    assert torch.isfinite(learner.step(inputs[:1], targets[:1], RATE)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_penalty_below_zero_is_refused(name: str) -> None:
    """It would be a reward."""
    for value in (-0.1, float("inf")):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            TrainingConfig(**{name: value})  # type: ignore[arg-type]
