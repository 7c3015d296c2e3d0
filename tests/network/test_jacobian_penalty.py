"""The penalty on a step back in time against torch's Jacobians and finite differences, in whole and in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.nn.functional import cross_entropy

from charrnn.network import layers as recurrent
from charrnn.network.jacobian_penalty import back_in_time, excess_gradient, excesses, make_keeper
from charrnn.network.model import CharacterModel
from charrnn.network.noise import draw_noise
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from tests.kit.sizes import CPU, RATE, B, E, H, L, T, V, window

PENALTY = 0.7
relu_or_not = pytest.mark.parametrize("activation", ["tanh", "relu"])


def _config(activation: str = "tanh", **settings: Any) -> ModelConfig:
    sizes: dict[str, Any] = {"cell": "rnn", "num_layers": L, "hidden_size": H, "embedding_size": E, "dropout": 0.0}
    return ModelConfig(**{**sizes, "activation": activation, **settings})


def _learner(config: ModelConfig, penalty: float, *, accumulate: int = 1, **settings: Any) -> Learner:
    training = TrainingConfig(
        batch_size=B, bptt=T, state_reset=0.0, precision="fp32", optimizer="sgd", momentum=0.0, clip_norm=0.0,
        weight_decay=0.0, seed=3, jacobian_penalty=penalty,
    )  # fmt: skip
    return Learner(config, replace(training, **settings), V, CPU, accumulate=accumulate)


class _Unrolled:
    """A model's step in float64 with every state at hand: what it lost, and what can be asked of each Jacobian."""

    def __init__(self, config: ModelConfig, model: CharacterModel | None = None) -> None:
        if model is None:
            model = CharacterModel(config, V)
            model.initialise(torch.Generator().manual_seed(3))
        noise = draw_noise(torch.Generator().manual_seed(3), config, T, B, 0.0, V)
        self.p = {name: array.detach().double().requires_grad_() for name, array in model.arrays().items()}
        self._function = torch.relu if config.activation == "relu" else torch.tanh
        inputs, targets = window()
        outputs = [*self.p["embedding"][inputs]]
        self.layers: list[tuple[str, Tensor, list[Tensor], list[Tensor]]] = []
        for number in range(config.num_layers):
            name = f"layers.{number + 1}."
            matrix = self.p[f"{name}weight_hh"]
            matrix = matrix * noise.recurrent[number].double() if noise.recurrent else matrix
            read, states = outputs, [torch.zeros(B, H, dtype=torch.float64)]
            for x in read:
                states.append(self.step(name, matrix, x, states[-1]))
            outputs = states[1:]
            self.layers.append((name, matrix, read, states))
        logits = torch.stack(outputs) @ self.p["decoder.weight"].T + self.p["decoder.bias"]
        self.loss = cross_entropy(logits.reshape(-1, V), targets.reshape(-1))

    def step(self, name: str, matrix: Tensor, x: Tensor, h: Tensor) -> Tensor:
        """(..., I), (..., H) -> (..., H)."""
        return self._function(x @ self.p[f"{name}weight_ih"].T + h @ matrix.T + self.p[f"{name}bias"])

    def penalties(self, number: int) -> Callable[[Tensor], Tensor]:
        """Omega of a layer as a function of its matrix, with states and their gradients as they are."""
        name, matrix, read, states = self.layers[number]
        gradients = torch.autograd.grad(self.loss, states[1:], retain_graph=True)
        terms: list[tuple[Tensor, Tensor]] = []
        for x, before, after, d in zip(read, states, states[1:], gradients, strict=False):
            for lane in range(B):
                x_b, d_b = x[lane].detach(), d[lane]
                whole = jacobian(lambda h, x_b=x_b: self.step(name, matrix.detach(), x_b, h), before[lane].detach())
                slope = (after[lane] > 0).double() if self._function is torch.relu else 1 - after[lane].detach() ** 2
                torch.testing.assert_close(whole, slope[:, None] * matrix.detach())  # J_t = diag(f'_t) V
                terms.append((d_b, slope))

        def omega(V: Tensor) -> Tensor:
            ratios = [torch.linalg.norm((d * slope) @ V) / torch.linalg.norm(d) for d, slope in terms]
            return torch.stack([(ratio - 1) ** 2 for ratio in ratios]).mean()

        return omega


def _by_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    found = torch.zeros_like(at)
    for place in np.ndindex(*at.shape):
        moved = torch.zeros_like(at)
        moved[place] = step
        found[place] = (function(at + moved) - function(at - moved)) / (2 * step)
    return found


@relu_or_not
def test_a_step_back_is_torchs_jacobian(activation: str) -> None:
    """Whole gradients from those of the readers alone, norms' ratios, and the immediate derivative by differences."""
    unrolled = _Unrolled(_config(activation))
    for number, (_, matrix, _, states) in enumerate(unrolled.layers):
        after = torch.stack(states[1:]).detach()
        totals = torch.stack(torch.autograd.grad(unrolled.loss, states[1:], retain_graph=True))
        slopes = (after > 0).double() if activation == "relu" else 1 - after**2
        passed_on = (totals * slopes) @ matrix.detach()
        direct = totals - torch.cat([passed_on[1:], torch.zeros(1, B, H, dtype=torch.float64)])
        found, passed = back_in_time(direct, slopes, matrix.detach())
        torch.testing.assert_close(found, totals)
        torch.testing.assert_close(passed, passed_on)
        omega = unrolled.penalties(number)
        assert float(excesses(found, passed)[0].square().mean()) == pytest.approx(float(omega(matrix.detach())))
        gradient = excess_gradient(found, passed, slopes) / (T * B)
        torch.testing.assert_close(gradient, _by_differences(omega, matrix.detach()), rtol=1e-5, atol=1e-9)


@relu_or_not
@pytest.mark.parametrize(
    ("accumulate", "settings"), [(1, {}), (2, {}), (1, {"weight_drop": 0.4}), (1, {"clip": "off the fast path"})]
)
def test_an_update_follows_loss_and_penalty(
    activation: str, accumulate: int, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights after one step of plain descent to 1e-5; the five lanes' halves are unequal; the loss is the data's."""
    if settings.pop("clip", None):
        monkeypatch.setattr(recurrent, "is_available", lambda *_: False)
    config = _config(activation, **settings)
    learner, plain = (_learner(config, rate, accumulate=accumulate) for rate in (PENALTY, 0.0))
    outcome, without = learner.step(*window(), RATE), plain.step(*window(), RATE)
    assert outcome[0].item() == without[0].item()
    unrolled = _Unrolled(config)
    gradients = torch.autograd.grad(unrolled.loss, [*unrolled.p.values()], retain_graph=True)
    wanted = dict(zip(unrolled.p, gradients, strict=True))
    noise = draw_noise(torch.Generator().manual_seed(3), config, T, B, 0.0, V)
    for number, (name, matrix, _, _) in enumerate(unrolled.layers):
        gradient = _by_differences(unrolled.penalties(number), matrix.detach())
        factors = noise.recurrent[number].double() if noise.recurrent else 1.0
        wanted[f"{name}weight_hh"] = wanted[f"{name}weight_hh"] + PENALTY * gradient * factors
    for name, array in learner.model.numpy_arrays().items():
        expected = unrolled.p[name].detach() - RATE * wanted[name]
        np.testing.assert_allclose(array, expected.numpy(), atol=1e-5, err_msg=name)
        if not name.endswith("weight_hh"):
            np.testing.assert_array_equal(array, plain.model.numpy_arrays()[name])
    change = learner.model.numpy_arrays()["layers.1.weight_hh"] - plain.model.numpy_arrays()["layers.1.weight_hh"]
    assert np.abs(change).max() > 1e-3


def test_gradients_keep_their_length_under_it() -> None:
    """Learned for as long, with it and without it: the mean square of what their length changes by in a step."""
    config, found = _config(num_layers=1), []
    for penalty in (0.0, 1.0):
        learner = _learner(config, penalty)
        for _ in range(50):  # later these few characters are known by heart, and their gradients are what is left over
            learner.step(*window(), 0.1)
        unrolled = _Unrolled(config, learner.model)
        (_, matrix, _, _), omega = unrolled.layers[0], unrolled.penalties(0)
        found.append(float(omega(matrix.detach())))
    assert found[1] < 0.3 * found[0], found


@pytest.mark.parametrize("scale", [None, 1.0, 2.0**16])
def test_scaled_losses_scale_the_penalty(scale: float | None) -> None:
    """As they do the loss; what is not finite stays so, and steps without a gradient ask for nothing."""
    generator = torch.Generator().manual_seed(1)
    outputs = torch.tanh(torch.randn(T, B, H, generator=generator)).requires_grad_()
    matrix = torch.randn(H, H, generator=generator, requires_grad=True)
    readers = torch.randn(T, B, H, generator=generator)
    readers[-2:] = 0  # the last steps have no gradient at all
    unit, factor = 1 / (T * B), scale or 1.0

    def gradient(readers: Tensor) -> Tensor:
        keeper = make_keeper(TrainingConfig(jacobian_penalty=PENALTY), "tanh", unit, scale and torch.tensor(scale))
        assert keeper is not None
        (found,) = torch.autograd.grad((keeper(outputs, matrix) * readers).sum() * unit * factor, matrix)
        return found / factor

    slopes = 1 - outputs.detach() ** 2
    expected = excess_gradient(*back_in_time(readers, slopes, matrix.detach()), slopes) * PENALTY / (T * B)
    torch.testing.assert_close(gradient(readers), expected)
    assert torch.equal(gradient(torch.zeros_like(readers)), torch.zeros(H, H))
    assert not torch.isfinite(torch.autograd.grad((outputs * readers * torch.inf).sum(), outputs)[0]).all()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "is for the rnn, whose gradients vanish and explode: --cell lstm has its gates"),
        ("--cell gru", "--cell gru has its gates"),
        ("--cell rnn --layer-norm", "with --layer-norm it is another"),
        ("--cell rnn --multiplicative", "with --multiplicative it is another"),
        ("--cell rnn --batch-norm", "with --batch-norm it is another"),
        ("--cell rnn --zoneout 0.1", "with --zoneout it is another"),
        ("--cell rnn --activation modrelu", "with --activation modrelu it is another"),
        ("--cell rnn --orthogonal", "with --orthogonal it is another"),
        ("--cell rnn --freeze recurrent", "leaves them as they were"),
        ("--cell rnn --jacobian-penalty -1", "--jacobian-penalty"),
    ],
)
def test_what_it_is_not_made_for_is_refused(words: str, why: str, text_file: Callable[..., Path], command: Any) -> None:
    """With the reason, before a folder is made."""
    status, _, said = command("train", str(text_file()), "--out", "run", "--jacobian-penalty", "0.5", *words.split())
    assert status == 2
    assert why in " ".join(said.split())
    assert not Path("run").exists()
