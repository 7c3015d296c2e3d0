"""The loss with soft targets against autograd of its formula, finite differences and torch's own label smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.training.soft_targets import losses
from charrnn.training.teacher import Teacher
from tests.kit.sizes import CPU, RATE, B, E, H, L, T, V, window

N = 13
SHARES = [(0.0, 0.0), (0.0, 0.1), (0.5, 0.0), (0.9, 0.3), (1.0, 0.0), (1.0, 0.2)]


def _drawn(kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    logits = 3 * torch.randn(N, V, generator=random, dtype=kind)
    soft = (2 * torch.randn(N, V, generator=random, dtype=kind)).softmax(1)
    return logits.requires_grad_(), torch.randint(0, V, (N,), generator=random), soft


def _formula(logits: Tensor, targets: Tensor, soft: Tensor, weight: float, smoothing: float) -> Tensor:
    """As the papers write it: the cross-entropies with the true character, the even and the teacher's distribution."""
    likely = logits.log_softmax(1)
    true = -likely[torch.arange(len(targets)), targets].sum()
    even = -likely.mean(1).sum()
    taught = -(soft * likely).sum()
    return (1 - weight) * ((1 - smoothing) * true + smoothing * even) + weight * taught


@pytest.mark.parametrize(("weight", "smoothing"), SHARES)
def test_the_gradient_is_that_of_the_formula(weight: float, smoothing: float) -> None:
    """Loss and gradient; what is reported is the plain cross-entropy, which nothing is learned from."""
    logits, targets, soft = _drawn()
    twin = logits.detach().clone().requires_grad_()
    learned, plain = losses(logits, targets, soft, weight=weight, smoothing=smoothing)
    wanted = _formula(twin, targets, soft, weight, smoothing)
    torch.testing.assert_close(learned, wanted)
    torch.testing.assert_close(plain, cross_entropy(twin, targets, reduction="sum").detach())
    assert not plain.requires_grad
    for loss in (learned, wanted):
        (0.37 * loss).backward()
    assert logits.grad is not None
    assert twin.grad is not None
    assert (logits.grad - twin.grad).abs().max() < 1e-6


@pytest.mark.parametrize(("weight", "smoothing"), SHARES[1:])
def test_the_gradient_is_that_of_finite_differences(weight: float, smoothing: float) -> None:
    """In float64."""
    logits, targets, soft = _drawn(torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: losses(z, targets, soft, weight=weight, smoothing=smoothing)[0], [logits], raise_exception=True
    )


@pytest.mark.parametrize("smoothing", [0.05, 0.4])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    """Loss and gradient."""
    logits, targets, _ = _drawn()
    twin = logits.detach().clone().requires_grad_()
    ours = losses(logits, targets, smoothing=smoothing)[0]
    theirs = cross_entropy(twin, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    for loss in (ours, theirs):
        loss.backward()
    torch.testing.assert_close(logits.grad, twin.grad)


@pytest.mark.parametrize("with_soft", [True, False])
def test_without_shares_it_is_the_plain_loss_bit_for_bit(with_soft: bool) -> None:
    """A teacher of no weight, too."""
    logits, targets, soft = _drawn()
    learned, plain = losses(logits, targets, soft if with_soft else None)
    wanted = cross_entropy(logits, targets, reduction="sum")
    assert torch.equal(learned, wanted)
    assert torch.equal(plain, wanted)


def _config(cell: str) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)


def _member(config: ModelConfig, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(seed))
    return {name: 3 * array for name, array in model.numpy_arrays().items()}


@pytest.mark.parametrize("accumulate", [1, 2, B])
@pytest.mark.parametrize(
    "settings",
    [{"distill_weight": 0.7}, {"label_smoothing": 0.2}, {"distill_weight": 0.6, "label_smoothing": 0.1, "l2": 0.2}],
    ids=str,
)
def test_a_step_is_one_along_the_formulas_gradient(settings: dict[str, float], accumulate: int) -> None:
    """Plain gradient descent, whole and in parts of the lanes, beside a penalty: the weights after it, and the loss
    reported, which is that of the true characters."""
    config = _config("lstm")
    training = TrainingConfig(
        **{  # type: ignore[arg-type]
            "batch_size": B, "bptt": T, "state_reset": 0.0, "precision": "fp32", "optimizer": "sgd", "momentum": 0.0,
            "clip_norm": 0.0, "weight_decay": 0.0, "seed": 3, **settings,
        }
    )  # fmt: skip
    is_taught = "distill_weight" in settings
    teacher = Teacher(config, [_member(config, 8)], V, CPU, lanes=B) if is_taught else None
    learner = Learner(config, training, V, CPU, accumulate=accumulate, teacher=teacher)
    inputs, targets = window()
    reported = learner.step(inputs, targets, RATE)[0]

    model, taught = CharacterModel(config, V), CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    taught.load_arrays(_member(config, 8))
    logits, _ = model(inputs, model.zero_state(B))
    soft = taught(inputs, taught.zero_state(B))[0].detach().softmax(-1)
    weight = settings.get("distill_weight", 0.0)
    wanted = _formula(
        logits.flatten(0, 1), targets.flatten(), soft.flatten(0, 1), weight, settings.get("label_smoothing", 0.0)
    ) / (T * B)
    plain = cross_entropy(logits.flatten(0, 1), targets.flatten())
    (wanted + settings.get("l2", 0.0) / 2 * sum((array**2).sum() for array in model.parameters())).backward()
    assert reported == pytest.approx(plain.item(), abs=1e-6)
    assert abs(wanted.item() - plain.item()) > 1e-3
    for name, array in model.arrays().items():
        assert array.grad is not None
        np.testing.assert_allclose(
            learner.model.numpy_arrays()[name], (array - RATE * array.grad).detach().numpy(), atol=1e-6, err_msg=name
        )
