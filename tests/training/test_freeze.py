"""Weights that stay as they were drawn: nothing moves them, and what learns learns as it would beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.parameters import is_trained
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.estimates import training_memory
from charrnn.training.learner import Learner
from charrnn.training.step_mode import Way

T, B, V = 6, 5, 9
CPU = torch.device("cpu")
CELLS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "rnn"},
    {"cell": "rnn", "activation": "relu"},
    {"zoneout": 0.2},
]


def _learner(
    freeze: str, model: dict[str, Any] | None = None, *, way: Way | None = None, accumulate: int = 1, **settings: Any
) -> Learner:
    config = ModelConfig(num_layers=2, hidden_size=7, embedding_size=4, **(model or {}))
    training = TrainingConfig(
        batch_size=B,
        bptt=T,
        freeze=freeze,
        **{"precision": "fp32", "weight_decay": 0.3, **settings},  # type: ignore[arg-type]
    )
    return Learner(config, training, V, CPU, accumulate=accumulate, way=way)


def _windows(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (count, T + 1, B)))
    return [(window[:-1], window[1:]) for window in ids]


@pytest.mark.parametrize("way", ["host", "device"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("freeze", ["recurrent", "echo"])
def test_what_is_frozen_stays_and_the_rest_moves(freeze: Any, optimizer: str, way: Way) -> None:
    """Bit for bit, whatever moves the others; there are no moments and no average of what stays."""
    learner = _learner(freeze, way=way, optimizer=optimizer, average=0.5)
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    for window in _windows(3):
        learner.step(*window, 0.02)
        learner.average(0.5)
    for name, array in learner.model.numpy_arrays().items():
        assert (array != before[name]).any() == is_trained(name, freeze), name
    owners = {
        name.split(".", 1)[1].removeprefix("exp_avg_sq.").removeprefix("exp_avg.").removeprefix("step.")
        for name in learner.state()
        if name.startswith(("optimizer.", "average."))
    }
    assert not any(name in owner for name in before if not is_trained(name, freeze) for owner in owners)
    with learner.averaged():
        for name, array in learner.model.numpy_arrays().items():
            assert (array != before[name]).any() == is_trained(name, freeze), name


@pytest.mark.parametrize("model", CELLS, ids=str)
@pytest.mark.parametrize("freeze", ["recurrent", "echo"])
def test_what_learns_has_the_gradient_it_has_where_all_learns(freeze: Any, model: dict[str, Any]) -> None:
    """In one step from the same weights."""
    whole, part = (_learner(each, model, clip_norm=0.0) for each in ("none", freeze))
    for learner in (whole, part):
        learner.step(*_windows(1)[0], 0.02)
    compared = 0
    for name, array in part.model.arrays().items():
        theirs = whole.model.arrays()[name].grad
        if is_trained(name, freeze):
            torch.testing.assert_close(array.grad, theirs, rtol=0, atol=1e-7)
            compared += 1
        else:
            assert array.grad is None
    assert compared == (3 if freeze == "recurrent" else 2)


@pytest.mark.parametrize("model", CELLS, ids=str)
def test_an_echo_is_gone_back_through_nowhere(model: dict[str, Any]) -> None:
    """What the decoder reads is a constant; the room of a window is used again for the next."""
    learner = _learner("echo", model)
    rooms = []
    for inputs, targets in _windows(3):
        learner.step(inputs, targets, 0.02)
        read, _, state = learner.model.stack(
            learner.model.embedding, learner.model.zero_state(B), ids=inputs
        )  # with gradients on
        assert not read.requires_grad
        assert not any(array.requires_grad for layer in state for array in layer)
        memory = [layer._memory.free for layer in learner.model.stack.layers]  # type: ignore[union-attr]
        rooms.append([[tensor.data_ptr() for kept in free.values() for tensor in kept] for free in memory])  # type: ignore[union-attr,operator]
    assert rooms[0] == rooms[-1]


@pytest.mark.parametrize("freeze", ["recurrent", "echo"])
def test_a_step_in_parts_is_the_step_in_one_piece(freeze: str) -> None:
    """Dropout and resets too."""
    learners = [_learner(freeze, {"dropout": 0.3}, accumulate=parts, state_reset=0.3) for parts in (1, 2)]
    for window in _windows(4):
        one, other = (learner.step(*window, 0.02) for learner in learners)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    for name, array in learners[0].model.numpy_arrays().items():
        np.testing.assert_allclose(array, learners[1].model.numpy_arrays()[name], atol=1e-5, err_msg=name)


def test_an_echo_state_network_learns() -> None:
    """A text that repeats is known from the echoes alone."""
    model = ModelConfig(cell="rnn", hidden_size=40, embedding_size=5, spectral_radius=0.9)
    training = TrainingConfig(batch_size=4, bptt=10, learning_rate=0.05, freeze="echo")
    learner = Learner(model, training, V, CPU)
    ids = torch.arange(44).reshape(11, 4).cumsum(0) % V
    losses = [float(learner.step(ids[:-1], ids[1:], 0.05)[0]) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_what_does_not_learn_needs_less_memory() -> None:
    """No gradient, no moments; and where nothing is gone back through, only what the decoder reads."""
    model = ModelConfig(hidden_size=300, embedding_size=100)
    needed = [training_memory(model, TrainingConfig(freeze=each), 50, kept=2) for each in ("none", "recurrent", "echo")]  # type: ignore[arg-type]
    layers = 4 * 300 * (300 + 100 + 1)
    assert needed[0] - needed[1] == 4 * 3 * layers
    assert needed[1] - needed[2] == 4 * 3 * 50 * 100 + 4 * 300 * 5 * 16 * 64


@pytest.mark.parametrize(
    ("model", "training", "said"),
    [
        ({}, {"freeze": "decoder"}, "--freeze is 'decoder'"),
        ({}, {"freeze": "recurrent", "orthogonal_penalty": 0.1}, "--freeze recurrent leaves them as they were"),
        ({}, {"freeze": "echo", "temporal_penalty": 0.1}, "--temporal-penalty is on what the layers put out"),
        ({}, {"freeze": "echo", "activation_penalty": 0.1}, "--activation-penalty is on what"),
        ({"tie": True, "embedding_size": 8}, {"freeze": "echo"}, "under --tie its matrix is the embedding"),
    ],
)
def test_what_makes_no_sense_is_refused(model: dict[str, Any], training: dict[str, Any], said: str) -> None:
    """With the reason and what to do."""
    with pytest.raises(UsageError) as caught:
        Learner(ModelConfig(hidden_size=8, **model), TrainingConfig(**training), V, CPU)
    assert said in str(caught.value)
    assert caught.value.hint
