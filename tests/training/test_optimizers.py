"""The update rules against torch's AdamW, against their formulas, and against what defines them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.network.model import CharacterModel
from charrnn.settings.choices import OptimizerName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.optimizers.muon import orthogonalised
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.optimizers.updater import Updater
from charrnn.training.recipe import completed_training
from tests.kit.every_option import OPTIMIZERS

SHAPES = [(7, 5), (13,), (3, 41), (1,)]
STEPS = 12


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _weights() -> list[Tensor]:
    return [_random(*shape, seed=n).requires_grad_() for n, shape in enumerate(SHAPES)]


def _gradients(step: int, weights: list[Tensor]) -> list[Tensor]:
    """Random ones, a few of them zero."""
    return [
        _random(*array.shape, seed=100 * step + n) * (_random(*array.shape, seed=7 * step + n) > -1)
        for n, array in enumerate(weights)
    ]


def _updated(*, on_device: bool = False, **settings: Any) -> list[Tensor]:
    """Weights after some steps."""
    weights = _weights()
    config = TrainingConfig(learning_rate=0.02, weight_decay=0.3, **settings)
    updater = Updater(config, {str(n): array for n, array in enumerate(weights)}, on_device=on_device)
    for step in range(STEPS):
        updater.step(_gradients(step, weights), step)
    return [array.detach() for array in weights]


def _updated_by_torch(make: Any, **settings: Any) -> list[Tensor]:
    """The same with an optimizer of torch's: matrices decay."""
    weights = _weights()
    groups = [
        {"params": [array for array in weights if array.dim() > 1], "weight_decay": 0.3},
        {"params": [array for array in weights if array.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = make(groups, lr=0.02, **settings)
    for step in range(STEPS):
        for array, gradient in zip(weights, _gradients(step, weights), strict=True):
            array.grad = gradient
        optimizer.step()
    return [array.detach() for array in weights]


def _model(**settings: Any) -> dict[str, torch.nn.Parameter]:
    """The arrays of a small model."""
    config = {"num_layers": 1, "hidden_size": 4, "embedding_size": 3, **settings}
    model = CharacterModel(ModelConfig(**config), 5)
    model.initialise(torch.Generator().manual_seed(0))
    return model.arrays()


def _random_gradients(arrays: Any, seed: int) -> list[Tensor]:
    return [_random(*array.shape, seed=seed + n) for n, array in enumerate(arrays.values())]


@pytest.fixture
def is_compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether compiled code is found."""
    if not request.param:
        monkeypatch.setattr("charrnn.native.window.find_library", lambda: None)
    return bool(request.param)


def test_each_name_has_its_optimizer() -> None:
    """Which says truly how much it keeps of each weight."""
    arrays = _model(num_layers=2)
    for name in get_args(OptimizerName):
        config = TrainingConfig(**completed_training({"optimizer": name}))
        kept = [
            key for key, array in Updater(config, arrays).to_numpy().items()
            if key.endswith(".layers.2.weight_hh") and array.shape == arrays["layers.2.weight_hh"].shape
        ]  # fmt: skip
        assert len(kept) == find_optimizer(name).kept


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize(("name", "theirs"), [("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)])
def test_sgd_and_rmsprop_are_torchs(name: Any, theirs: Any, momentum: float, on_device: bool) -> None:
    """Over steps, with and without momentum, on the host and as a device is asked."""
    ours = _updated(optimizer=name, momentum=momentum, beta2=0.9, on_device=on_device)
    settings = {"momentum": momentum, **({"alpha": 0.9} if name == "rmsprop" else {})}
    for one, other in zip(ours, _updated_by_torch(theirs, **settings), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("is_compiled")
@pytest.mark.parametrize("is_compiled", [True, False], indirect=True)
@pytest.mark.parametrize("threads", [1, 3])
def test_without_caution_it_is_torchs_adamw(threads: int) -> None:
    """To the last few bits, over steps, compiled and written out."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = _updated(optimizer="adamw", cautious=False)
    finally:
        torch.set_num_threads(before)
    theirs = _updated_by_torch(torch.optim.AdamW, betas=(0.9, 0.99))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("is_compiled")
@pytest.mark.parametrize("is_compiled", [True, False], indirect=True)
def test_caution_leaves_out_what_goes_against_the_gradient() -> None:
    """One step from a momentum made by hand: the mask, and the factor that makes up for it, as in the paper."""
    weights = torch.zeros(4).requires_grad_()
    updater = Updater(TrainingConfig(optimizer="adamw", learning_rate=0.02), {"bias": weights})
    updater.step([torch.tensor([1.0, 1.0, 1.0, 1.0])], 0)
    first = weights.detach().clone()
    torch.testing.assert_close(first, torch.full((4,), -0.02))  # all along the gradient: AdamW's step of lr
    updater.step([torch.tensor([1.0, -0.5, 1.0, 0.0])], 1)  # the momentum of the second still points the other way
    moments = 0.9 * 0.1 + 0.1 * 1.0, 0.99 * 0.01 + 0.01 * 1.0
    change = 0.02 * (moments[0] / (1 - 0.9**2)) / (moments[1] / (1 - 0.99**2)) ** 0.5
    expected = first - torch.tensor([1.0, 0.0, 1.0, 0.0]) * change * 2  # half are left, so twice as far
    torch.testing.assert_close(weights.detach(), expected, rtol=1e-5, atol=1e-6)


def test_caution_is_the_same_compiled_and_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over steps, for vectors and matrices of odd sizes."""
    compiled = _updated(optimizer="adamw")
    monkeypatch.setattr("charrnn.native.window.find_library", lambda: None)
    written = _updated(optimizer="adamw")
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
    arrays = _model(hidden_size=8)
    updater = Updater(TrainingConfig(optimizer="muon", weight_decay=0.0), arrays)
    weights, moves = arrays["layers.1.weight_hh"], []
    for step in range(3):
        before = weights.detach().clone()
        updater.step(_random_gradients(arrays, 10 * step), step)
        moves.append(weights.detach() - before)
    torch.testing.assert_close(moves[1], moves[0], rtol=1e-4, atol=1e-6)
    assert float((moves[2] - moves[0]).norm()) > 0.1 * float(moves[0].norm())


def test_muon_moves_the_layers_matrices_and_adamw_the_rest() -> None:
    """One step: a quarter of each gate's block moves by 0.2 sqrt(larger side) times an orthogonal one."""
    H, E = 8, 3
    arrays = _model(num_layers=2, hidden_size=H, embedding_size=E)
    before = {name: array.detach().clone() for name, array in arrays.items()}
    config = TrainingConfig(optimizer="muon", learning_rate=0.1, muon_ratio=0.5, weight_decay=0.0, cautious=False)
    Updater(config, arrays).step(_random_gradients(arrays, 0), 0)
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


@pytest.mark.parametrize("on_device", [False, True])
def test_schedule_free_is_the_algorithm_of_the_paper(on_device: bool) -> None:
    """Its lines, in float64, over steps at rates that differ; matrices decay, at y, and biases do not."""
    arrays = _model()
    beta1, beta2, decay, start = 0.8, 0.97, 0.3, {name: a.detach().double() for name, a in arrays.items()}
    config = _schedule_free(beta1=beta1, beta2=beta2, weight_decay=decay)
    updater = Updater(config, arrays, on_device=on_device)
    rates = [0.01, 0.02, 0.03, 0.03, 0.03, 0.03, 0.015]
    for t, rate in enumerate(rates):
        updater.set_rate(rate)
        updater.step(_random_gradients(arrays, 10 * t), t)
    averages = updater.averages
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
    for name in get_args(OptimizerName):
        config = TrainingConfig(**completed_training({"optimizer": name}))
        assert bool(Updater(config, _model()).averages) == (name == "schedule-free")
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
    follows = {"weight_decay": 0.01, "decay": "linear", "average_from": None, "learning_rate": 0.012}
    assert completed_training({"optimizer": "adamw"}) == {"optimizer": "adamw", **follows}
    assert completed_training({"optimizer": "muon"}) == {"optimizer": "muon"}


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_step_changes_nothing(name: str, cautious: bool) -> None:
    """Neither weights nor moments, even where it is the first; the next good step is made."""
    arrays = _model()
    config = TrainingConfig(**completed_training({"optimizer": name, "cautious": cautious}))
    updater = Updater(config, arrays, on_device=True)
    before = {key: array.detach().clone() for key, array in arrays.items()}
    state = {key: array.copy() for key, array in updater.to_numpy().items()}
    updater.step([torch.ones_like(array) for array in arrays.values()], 0, is_bad=torch.tensor(True))
    for key, array in arrays.items():
        assert torch.equal(array.detach(), before[key])
    for key, array in updater.to_numpy().items():
        np.testing.assert_array_equal(array, state[key])
    updater.step([torch.ones_like(array) for array in arrays.values()], 0, is_bad=torch.tensor(False))
    assert all(not torch.equal(array.detach(), before[key]) for key, array in arrays.items())


@pytest.mark.usefixtures("is_compiled")
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("is_compiled", [True, False], indirect=True)
def test_a_rate_beyond_all_bounds_is_no_crash(name: str) -> None:
    """The weights become useless, which the run finds and reports; the update itself does not fail."""
    arrays = _model()
    asked = {"optimizer": name, "learning_rate": 3e38, "weight_decay": 3e38}
    updater = Updater(TrainingConfig(**completed_training(asked)), arrays)
    before = {name: array.detach().clone() for name, array in arrays.items()}
    updater.step([torch.ones_like(array) for array in arrays.values()], 0)
    assert any(not torch.equal(array.detach(), before[name]) for name, array in arrays.items())


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_on_the_device_is_the_plain_one(name: str, cautious: bool) -> None:
    """What a graph replays beside what the host computes, with steps in between that are skipped."""
    results = []
    for on_device in (False, True):
        arrays = _model(num_layers=2, hidden_size=8)
        asked = {"optimizer": name, "cautious": cautious, "weight_decay": 0.3}
        config = TrainingConfig(**completed_training(asked))
        updater = Updater(config, arrays, on_device=on_device)
        for step in range(7):
            updater.set_rate(0.03 / (step + 1))
            for is_bad in (False, True) if on_device and step in (2, 5) else (False,):
                gradients = [gradient * (1 - is_bad) for gradient in _random_gradients(arrays, 10 * step)]
                updater.step(gradients, step, is_bad=torch.tensor(is_bad))
        results.append([array.detach() for array in arrays.values()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("on_device", [False, True])
def test_the_state_goes_out_and_in(on_device: bool) -> None:
    """Named arrays of the parameter's shape, bar the count of steps; a second optimizer goes on as the first."""
    results = []
    for is_interrupted in (False, True):
        arrays = _model()
        updater = Updater(TrainingConfig(), arrays, on_device=on_device)
        for step in range(4):
            updater.step(_random_gradients(arrays, 10 * step), step)
            if is_interrupted and step == 1:
                saved = updater.to_numpy()
                assert saved["optimizer.momentum_buffer.layers.1.weight_hh"].shape == (16, 4)
                assert saved["optimizer.exp_avg.decoder.bias"].shape == (5,)
                updater = Updater(TrainingConfig(), arrays, on_device=on_device)
                updater.load(saved)
                with pytest.raises(KeyError, match="step"):
                    updater.load({key: array for key, array in saved.items() if key != "optimizer.step"})
                with pytest.raises(ValueError, match="shape"):
                    updater.load({**saved, "optimizer.exp_avg.decoder.bias": np.zeros(1, np.float32)})
                updater.load(saved)
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
