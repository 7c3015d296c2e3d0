"""The update rules against torch's AdamW, against their formulas, and against what defines them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training import optim
from charrnn.training.muon import orthogonalised
from charrnn.training.optim import (
    Rules,
    load_optimizer_arrays,
    make_optimizer,
    optimizer_arrays,
    optimizer_averages,
    set_learning_rate,
)
from charrnn.training.recipe import completed_training

SHAPES = [(7, 5), (13,), (3, 41), (1,)]
STEPS = 12


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _run(make: Any, shapes: list[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    """Weights after some steps over random gradients, a few of them zero."""
    weights = [_random(*shape, seed=n).requires_grad_() for n, shape in enumerate(shapes)]
    groups = [{"params": weights[:2], "weight_decay": 0.3}, {"params": weights[2:], "weight_decay": 0.0}]
    optimizer = make(groups)
    for step in range(STEPS):
        for n, array in enumerate(weights):
            array.grad = _random(*array.shape, seed=100 * step + n) * (_random(*array.shape, seed=7 * step + n) > -1)
        optimizer.step()
    return [array.detach() for array in weights]


def _rules(groups: list[dict[str, Any]], *, cautious: bool) -> Rules:
    return Rules(groups, lr=0.02, betas=(0.9, 0.99), cautious=cautious, is_narrow=False)


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_without_caution_it_is_torchs_adamw(is_compiled: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last few bits, over steps, compiled and written out."""
    if not is_compiled:
        monkeypatch.setattr(optim, "find_library", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = _run(lambda groups: _rules(groups, cautious=False))
    finally:
        torch.set_num_threads(before)
    theirs = _run(lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.99)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_caution_leaves_out_what_goes_against_the_gradient(is_compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step from a momentum made by hand: the mask, and the factor that makes up for it, as in the paper."""
    if not is_compiled:
        monkeypatch.setattr(optim, "find_library", lambda: None)
    weights = torch.zeros(4).requires_grad_()
    optimizer = _rules([{"params": [weights], "weight_decay": 0.0}], cautious=True)
    weights.grad = torch.tensor([1.0, 1.0, 1.0, 1.0])
    optimizer.step()
    first = weights.detach().clone()
    torch.testing.assert_close(first, torch.full((4,), -0.02))  # all along the gradient: AdamW's step of lr
    weights.grad = torch.tensor([1.0, -0.5, 1.0, 0.0])  # the momentum of the second still points the other way
    optimizer.step()
    moments = 0.9 * 0.1 + 0.1 * 1.0, 0.99 * 0.01 + 0.01 * 1.0
    change = 0.02 * (moments[0] / (1 - 0.9**2)) / (moments[1] / (1 - 0.99**2)) ** 0.5
    expected = first - torch.tensor([1.0, 0.0, 1.0, 0.0]) * change * 2  # half are left, so twice as far
    torch.testing.assert_close(weights.detach(), expected, rtol=1e-5, atol=1e-6)


def test_caution_is_the_same_compiled_and_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over steps, for vectors and matrices of odd sizes."""
    compiled = _run(lambda groups: _rules(groups, cautious=True))
    monkeypatch.setattr(optim, "find_library", lambda: None)
    written = _run(lambda groups: _rules(groups, cautious=True))
    for one, other in zip(compiled, written, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("is_narrow", [False, True])
@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 16, 16)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_loses_its_sizes(
    shape: tuple[int, int, int], is_narrow: bool
) -> None:
    """Against the singular value decomposition: the same vectors, and values that are far more alike."""
    matrices = _random(*shape, seed=3)
    result = orthogonalised(matrices, is_narrow=is_narrow)
    u, sizes, v = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ result @ v.mT
    values = torch.diagonal(core, dim1=1, dim2=2)
    assert float(values.max()) < 1.3
    assert ((values.amin(1) / values.amax(1)) > 2 * (sizes.amin(1) / sizes.amax(1)).clamp(max=0.2)).all()
    assert float((core - torch.diag_embed(values)).abs().max()) < (0.1 if is_narrow else 1e-3)


def test_muon_goes_twice_in_the_direction_it_finds() -> None:
    """The second of two steps repeats the first, whatever its gradient; the third finds a new direction."""
    model = CharacterModel(ModelConfig(num_layers=1, hidden_size=8, embedding_size=3), 5)
    model.initialise(torch.Generator().manual_seed(0))
    arrays = model.arrays()
    optimizer = make_optimizer(TrainingConfig(optimizer="muon", weight_decay=0.0), arrays)
    weights, moves = arrays["layers.1.weight_hh"], []
    for step in range(3):
        before = weights.detach().clone()
        for n, array in enumerate(arrays.values()):
            array.grad = _random(*array.shape, seed=10 * step + n)
        optimizer.step()
        moves.append(weights.detach() - before)
    torch.testing.assert_close(moves[1], moves[0], rtol=1e-4, atol=1e-6)
    assert float((moves[2] - moves[0]).norm()) > 0.1 * float(moves[0].norm())


def test_muon_moves_the_layers_matrices_and_adamw_the_rest() -> None:
    """One step: a quarter of each gate's block moves by 0.2 sqrt(larger side) times an orthogonal one."""
    H, E = 8, 3
    model = CharacterModel(ModelConfig(num_layers=2, hidden_size=H, embedding_size=E), 5)
    model.initialise(torch.Generator().manual_seed(0))
    arrays = model.arrays()
    before = {name: array.detach().clone() for name, array in arrays.items()}
    config = TrainingConfig(optimizer="muon", learning_rate=0.1, muon_ratio=0.5, weight_decay=0.0, cautious=False)
    optimizer = make_optimizer(config, arrays)
    for n, array in enumerate(arrays.values()):
        array.grad = _random(*array.shape, seed=n)
    optimizer.step()
    for name, array in arrays.items():
        change = (before[name] - array.detach()) / 0.1
        if name.startswith("layers.") and array.dim() == 2:
            parts = 4 if array.shape[1] < H else 16
            values = torch.linalg.svdvals((change / 0.5 / (0.2 * H**0.5)).view(parts, -1, array.shape[1]))
            assert 0.3 < float(values.amax(1).min()) <= float(values.max()) < 1.3, name
        else:
            torch.testing.assert_close(change.abs(), torch.ones_like(change), rtol=1e-4, atol=1e-4)


def _schedule_free(**settings: Any) -> TrainingConfig:
    return TrainingConfig(optimizer="schedule-free", decay="constant", average=0.0, **settings)


@pytest.mark.parametrize("is_capturable", [False, True])
def test_schedule_free_is_the_algorithm_of_the_paper(is_capturable: bool) -> None:
    """Its lines, in float64, over steps at rates that differ; matrices decay, at y, and biases do not."""
    model = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5)
    model.initialise(torch.Generator().manual_seed(0))
    arrays = model.arrays()
    beta1, beta2, decay, start = 0.8, 0.97, 0.3, {name: a.detach().double() for name, a in arrays.items()}
    optimizer = make_optimizer(
        _schedule_free(beta1=beta1, beta2=beta2, weight_decay=decay), arrays, is_capturable=is_capturable
    )
    rates = [0.01, 0.02, 0.03, 0.03, 0.03, 0.03, 0.015]
    for t, rate in enumerate(rates):
        set_learning_rate(optimizer, rate)
        for n, array in enumerate(arrays.values()):
            array.grad = _random(*array.shape, seed=10 * t + n)
        optimizer.step()
    averages = optimizer_averages(optimizer, list(arrays.values()))
    for n, (name, array) in enumerate(arrays.items()):
        x, z, v, weights = start[name], start[name], torch.zeros_like(start[name]), 0.0
        for t, rate in enumerate(rates):
            y = (1 - beta1) * z + beta1 * x
            g = _random(*array.shape, seed=10 * t + n).double()
            v = beta2 * v + (1 - beta2) * g**2
            step = g / ((v / (1 - beta2 ** (t + 1))).sqrt() + 1e-8)
            z = z - rate * step - rate * (decay if array.dim() > 1 else 0.0) * y
            weights += rate**2
            c = rate**2 / weights
            x = (1 - c) * x + c * z
        torch.testing.assert_close(averages[n].double(), x, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(array.detach().double(), (1 - beta1) * z + beta1 * x, rtol=1e-5, atol=1e-6)


def test_only_schedule_free_keeps_averages() -> None:
    """The others have none, and it takes neither a falling rate nor averages of averages."""
    arrays = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5).arrays()
    assert optimizer_averages(make_optimizer(TrainingConfig(), arrays), list(arrays.values())) == []
    for settings, said in (
        ({"decay": "linear"}, "--decay is linear"),
        ({"average": 0.1}, "--average 0.1"),
        ({"average_after": 2}, "--average-after 2"),
        ({"average_from": 0.5}, "--average-from 0.5"),
    ):
        chosen = completed_training({"optimizer": "schedule-free", **settings})
        with pytest.raises(UsageError, match=said):
            TrainingConfig(**chosen)
    assert TrainingConfig(**completed_training({"optimizer": "schedule-free"})) == _schedule_free()
    assert completed_training({"optimizer": "adamw"}) == {"optimizer": "adamw"}


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", ["muon", "adamw", "schedule-free"])
def test_a_step_with_found_inf_changes_nothing(name: str, cautious: bool) -> None:
    """Neither weights nor moments, even where it is the first; the next good step is made."""
    model = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5)
    model.initialise(torch.Generator().manual_seed(0))
    arrays = model.arrays()
    config = TrainingConfig(**completed_training({"optimizer": name, "cautious": cautious}))
    optimizer = make_optimizer(config, arrays, is_capturable=True)
    assert isinstance(optimizer, Rules)
    before = {key: array.detach().clone() for key, array in arrays.items()}
    for array in arrays.values():
        array.grad = torch.full_like(array, torch.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    for key, array in arrays.items():
        assert torch.equal(array.detach(), before[key])
    saved = optimizer_arrays(optimizer, arrays)
    assert saved
    assert all(np.isfinite(array).all() for array in saved.values())
    optimizer.found_inf = torch.zeros(())
    for array in arrays.values():
        array.grad = torch.ones_like(array)
    optimizer.step()
    assert all(not torch.equal(array.detach(), before[key]) for key, array in arrays.items())


@pytest.mark.parametrize("name", ["muon", "schedule-free"])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_rate_beyond_all_bounds_is_no_crash(is_compiled: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights become useless, which the run finds and reports; the update itself does not fail."""
    if not is_compiled:
        monkeypatch.setattr(optim, "find_library", lambda: None)
    arrays = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5).arrays()
    asked = {"optimizer": name, "learning_rate": 1e200, "weight_decay": 1e200}
    optimizer = make_optimizer(TrainingConfig(**completed_training(asked)), arrays)
    before = {name: array.detach().clone() for name, array in arrays.items()}
    for array in arrays.values():
        array.grad = torch.ones_like(array)
    optimizer.step()
    assert any(not torch.equal(array.detach(), before[name]) for name, array in arrays.items())


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", ["muon", "adamw", "schedule-free"])
def test_a_capturable_step_is_the_plain_one(name: str, cautious: bool) -> None:
    """What a graph replays beside what the host computes, with steps in between that are skipped."""
    results = []
    for is_capturable in (False, True):
        model = CharacterModel(ModelConfig(num_layers=2, hidden_size=8, embedding_size=3), 5)
        model.initialise(torch.Generator().manual_seed(0))
        arrays = model.arrays()
        asked = {"optimizer": name, "cautious": cautious, "weight_decay": 0.3}
        config = TrainingConfig(**completed_training(asked))
        optimizer = make_optimizer(config, arrays, is_capturable=is_capturable)
        assert isinstance(optimizer, Rules)
        for step in range(7):
            set_learning_rate(optimizer, 0.03 / (step + 1))
            for is_bad in (False, True) if is_capturable and step in (2, 5) else (False,):
                for n, array in enumerate(arrays.values()):
                    gradient = _random(*array.shape, seed=10 * step + n)
                    array.grad = gradient * torch.inf if is_bad else gradient
                optimizer.found_inf = torch.tensor(float(is_bad)) if is_capturable else None
                optimizer.step()
                optimizer.turn -= is_bad
        results.append([array.detach() for array in arrays.values()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("is_capturable", [False, True])
def test_the_state_goes_out_and_in(is_capturable: bool) -> None:
    """Named arrays of the parameter's shape, bar the count of steps; a second optimizer goes on as the first."""
    results = []
    for is_interrupted in (False, True):
        model = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5)
        model.initialise(torch.Generator().manual_seed(0))
        arrays = model.arrays()
        optimizer = make_optimizer(TrainingConfig(), arrays, is_capturable=is_capturable)
        for step in range(4):
            for n, array in enumerate(arrays.values()):
                array.grad = _random(*array.shape, seed=10 * step + n)
            optimizer.step()
            if is_interrupted and step == 1:
                saved = optimizer_arrays(optimizer, arrays)
                assert saved["optimizer.momentum_buffer.layers.1.weight_hh"].shape == (16, 4)
                assert saved["optimizer.exp_avg.decoder.bias"].shape == (5,)
                optimizer = make_optimizer(TrainingConfig(), arrays, is_capturable=is_capturable)
                load_optimizer_arrays(optimizer, arrays, saved)
        results.append([array.detach() for array in arrays.values()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_training_does_not_load_torchs_compiler() -> None:
    """It would take as long as torch itself, at every start."""
    program = """
import sys, torch
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
learner = Learner(ModelConfig(hidden_size=4), TrainingConfig(batch_size=2, bptt=3), 5, torch.device("cpu"))
ids = torch.zeros(3, 2, dtype=torch.int64)
learner.step(ids, ids, 0.01)
learner.state()
print([name for name in sys.modules if name.startswith("torch._dynamo")])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"
