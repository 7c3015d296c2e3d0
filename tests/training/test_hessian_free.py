"""Hessian-free steps: the rule on losses that are known, the steps of a learner, and what does not go with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.cells.names import NAMES
from charrnn.errors import UsageError
from charrnn.network.speed import REFERENCE
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.conflicts import check_together
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.distributed import World
from charrnn.training.estimates import training_memory
from charrnn.training.learner import Learner
from charrnn.training.optimizers import hessian_free
from charrnn.training.optimizers.conjugate_gradients import Iterate
from charrnn.training.optimizers.hessian_free import next_damping
from charrnn.training.optimizers.updater import Updater
from charrnn.training.plan import TrainRequest, plan_start
from charrnn.training.recipe import completed_training
from charrnn.training.step_mode import choose_way
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text
from tests.kit.twenty_steps import REQUEST, train

T, B, V = 9, 6, 7
CPU = torch.device("cpu")


def _configured(**settings: Any) -> TrainingConfig:
    return TrainingConfig(**completed_training({"optimizer": "hessian-free", **settings}))


# The rule.


class Bowl:
    """f(w) = (w - m)^T A (w - m) / 2 + more(w), of which the curvature knows A alone."""

    def __init__(self, weights: Tensor, more: Callable[[Tensor], Tensor] = torch.zeros_like) -> None:
        random = torch.Generator().manual_seed(1)
        root = torch.randn(len(weights), len(weights), generator=random)
        self.A = root @ root.T / 4 + torch.eye(len(weights))
        self.m = torch.randn(len(weights), generator=random)
        self._weights, self._more = weights, more

    def loss(self) -> float:
        apart = self._weights.detach() - self.m
        return float(0.5 * apart @ self.A @ apart + self._more(self._weights.detach()).sum())

    def gradient(self) -> Tensor:
        weights = self._weights.detach().clone().requires_grad_()
        apart = weights - self.m
        (found,) = torch.autograd.grad(0.5 * apart @ self.A @ apart + self._more(weights).sum(), weights)
        return found

    def curvature(self, _weights: list[Tensor], _turn: int) -> Any:
        return self

    def product(self, vector: Tensor, structural: float = 0.0) -> Tensor:
        return self.A @ vector + structural * vector  # states that are the weights themselves

    def diagonal(self, _seed: int, _samples: int) -> Tensor:
        return torch.diagonal(self.A).clone()


def _step(updater: Updater, bowl: Bowl, turn: int = 0) -> None:
    updater.step([bowl.gradient()], turn, objective=bowl)


@pytest.mark.parametrize(("damping", "structural"), [(1e-9, 0.0), (0.3, 0.0), (0.3, 2.0)])
def test_a_quadratic_loss_takes_the_damped_newton_step(damping: float, structural: float) -> None:
    """w - (A + lambda (1 + mu))^-1 g; the model was right to the last, and the damping falls by a third."""
    weights = torch.zeros(5, requires_grad=True)
    updater = Updater(_configured(damping=damping, structural_damping=structural), {"w": weights})
    bowl = Bowl(weights)
    expected = -torch.linalg.solve(bowl.A + damping * (1 + structural) * torch.eye(5), bowl.gradient())
    _step(updater, bowl)
    torch.testing.assert_close(weights.detach(), expected, rtol=1e-3, atol=1e-4)
    state = updater.to_numpy()
    np.testing.assert_allclose(state["optimizer.damping.w"], damping * 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(state["optimizer.direction.w"], expected.numpy(), rtol=1e-3, atol=1e-4)


def test_the_next_search_begins_from_most_of_the_last_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.zeros(5, requires_grad=True)
    updater, bowl, begun = Updater(_configured(), {"w": weights}), Bowl(weights), []
    search = hessian_free.minimise

    def watched(product: Any, b: Tensor, start: Tensor, *rest: Any) -> Any:
        begun.append(start.clone())
        return search(product, b, start, *rest)

    monkeypatch.setattr(hessian_free, "minimise", watched)
    _step(updater, bowl)
    ended = torch.from_numpy(updater.to_numpy()["optimizer.direction.w"].copy())
    _step(updater, bowl, 1)
    assert not begun[0].any()
    torch.testing.assert_close(begun[1], 0.95 * ended)


def test_the_damping_rule_by_hand() -> None:
    for ratio, factor in (
        (-5.0, 1.5), (0.0, 1.5), (0.2499, 1.5), (float("nan"), 1.5), (-float("inf"), 1.5), (0.25, 1.0), (0.5, 1.0),
        (0.75, 1.0), (0.7501, 2 / 3), (1.0, 2 / 3), (9.0, 2 / 3),
    ):  # fmt: skip
        assert next_damping(0.6, ratio) == pytest.approx(0.6 * factor)
    assert next_damping(1e-10, 1.0) > 0
    assert next_damping(1e10, -1.0) < 1e11


def test_a_loss_that_bends_away_shortens_the_step() -> None:
    """What the model knows nothing of rises steeply: an earlier iterate and a shorter step, which still gains enough,
    and more damping."""
    weights = torch.zeros(5, requires_grad=True)
    updater = Updater(_configured(damping=1e-9), {"w": weights})
    bowl = Bowl(weights, lambda w: 40.0 * w**4)
    before, slope = bowl.loss(), bowl.gradient()
    _step(updater, bowl)
    moved = weights.detach()
    assert moved.any()
    assert bowl.loss() <= before + 0.01 * float(slope @ moved)
    np.testing.assert_allclose(updater.to_numpy()["optimizer.damping.w"], 1.5e-9, rtol=1e-6)


@pytest.mark.parametrize("value", [1e9, float("inf"), float("nan")])
def test_where_nothing_helps_the_weights_stay(value: float) -> None:
    """Every other place is worse, or no number at all: weights as they were to the bit, and more damping; the next
    step is made where the loss is good again."""
    weights = torch.full((5,), 0.1).requires_grad_()
    updater = Updater(_configured(damping=0.2), {"w": weights})
    bowl = Bowl(weights, lambda w: torch.where((w == 0.1).all(), 0.0, value) * torch.ones(1))
    before = weights.detach().clone()
    updater.step([Bowl(weights).gradient()], 0, objective=bowl)
    assert torch.equal(weights.detach(), before)
    np.testing.assert_allclose(updater.to_numpy()["optimizer.damping.w"], 0.3, rtol=1e-6)
    good = Bowl(weights)
    loss = good.loss()
    _step(updater, good, 1)
    assert good.loss() < loss


def test_a_rate_is_the_length_the_search_begins_with() -> None:
    """As after a rollback, which halves it: half the way."""
    ends = []
    for rate in (1.0, 0.5):
        weights = torch.zeros(5, requires_grad=True)
        updater = Updater(_configured(damping=1e-9), {"w": weights})
        updater.set_rate(rate)
        _step(updater, Bowl(weights))
        ends.append(weights.detach())
    torch.testing.assert_close(ends[1], 0.5 * ends[0])


# The learner.


def _learner(cell: str = "rnn", *, accumulate: int = 1, dropout: float = 0.3, **settings: Any) -> Learner:
    model = ModelConfig(cell=cell, num_layers=2, hidden_size=8, embedding_size=5, dropout=dropout)
    training = _configured(**{"batch_size": B, "bptt": T, "state_reset": 0.2, "cg_steps": 12, **settings})
    return Learner(model, training, V, CPU, accumulate=accumulate)


def _window(number: int) -> tuple[Tensor, Tensor]:
    """From a text that can be learnt: each id follows from the one before."""
    ids = (torch.arange(T + 1)[:, None] * 3 + torch.arange(B)[None, :] * 2 + number) % V
    return ids[:-1], ids[1:]


@pytest.mark.parametrize("cell", NAMES)
def test_every_cell_learns(cell: str) -> None:
    """In five steps more than SGD does in as many, at any of three rates."""
    reset = 1.0 if cell == "urnn" else 0.2  # its carried state only grows
    learner = _learner(cell, dropout=0.0, state_reset=reset)
    first = float(learner.step(*_window(0), 1.0)[0])
    for number in range(1, 5):
        learner.step(*_window(number), 1.0)
    reached = float(learner.step(*_window(5), 1.0)[0])
    assert reached < 0.8 * first
    for rate in (0.1, 0.3, 1.0):
        asked = {"optimizer": "sgd", "batch_size": B, "bptt": T, "state_reset": reset, "precision": "fp32"}
        other = Learner(learner.model.config, TrainingConfig(**asked), V, CPU)
        for number in range(5):
            other.step(*_window(number), rate)
        assert float(other.step(*_window(5), rate)[0]) > reached


def test_no_step_makes_its_own_window_worse() -> None:
    """With dropout and resets: the window from the same state, with the same numbers drawn, before and after."""
    learner = _learner("gru")
    for number in range(4):
        random, carry = learner._random.get_state(), [tuple(a.clone() for a in layer) for layer in learner._carry]
        before = float(learner.step(*_window(number), 1.0)[0])
        learner._random.set_state(random)
        for ours, then in zip(learner._carry, carry, strict=True):
            for to, value in zip(ours, then, strict=True):
                to.copy_(value)
        weights = {name: torch.from_numpy(array.copy()) for name, array in learner.model.numpy_arrays().items()}
        after = float(learner.step(*_window(number), 1.0)[0])
        assert after <= before
        with torch.no_grad():
            for name, array in learner.model.arrays().items():
                array.copy_(weights[name])


def test_a_step_in_parts_is_the_step_in_one_piece() -> None:
    """Of lanes that do not divide evenly, where the diagonal is estimated alike: by other random signs it would end
    elsewhere along the same way."""
    whole, parts = _learner("lstm"), _learner("lstm", accumulate=4)
    for learner in (whole, parts):
        learner.step(*_window(0), 1.0)
    for name, array in whole.model.numpy_arrays().items():
        assert np.isfinite(array).all()
        apart = np.abs(array - parts.model.numpy_arrays()[name]).max()
        assert apart < 0.2, name
    assert whole.step(*_window(0), 1.0)[0] == pytest.approx(parts.step(*_window(0), 1.0)[0].item(), rel=0.1)


def test_steps_repeat_and_go_on_bit_for_bit() -> None:
    """The state goes out and in in the middle: damping, direction, lanes of the curvature and all."""
    whole, first = _learner(), _learner()
    for number in range(5):
        whole.step(*_window(number), 1.0)
    for number in range(2):
        first.step(*_window(number), 1.0)
    state = first.state()
    assert state["optimizer.direction.layers.2.weight_hh"].shape == (8, 8)
    assert state["optimizer.damping.embedding"].shape == ()
    second = _learner()
    assert second.load(first.model.numpy_arrays(), state) == []
    for number in range(2, 5):
        second.step(*_window(number), 1.0)
    for name, array in whole.model.numpy_arrays().items():
        np.testing.assert_array_equal(array, second.model.numpy_arrays()[name])
    for name, array in whole.state().items():
        np.testing.assert_array_equal(array, second.state()[name])


@pytest.mark.parametrize("freeze", ["recurrent", "echo"])
def test_what_is_frozen_stays(freeze: str) -> None:
    learner = _learner(freeze=freeze)
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    losses = [float(learner.step(*_window(0), 1.0)[0]) for _ in range(3)]
    assert losses[-1] < losses[0]
    changed = {name for name, array in learner.model.numpy_arrays().items() if (array != before[name]).any()}
    decoder = {"decoder.weight", "decoder.bias"}
    assert changed == (decoder if freeze == "echo" else {*decoder, "embedding"})


# A run.


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    path = text_file(2000)
    return corpora.load([Source(path, "text.txt")], DataConfig(), name="text")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_stopped_and_resumed_is_the_same_run(corpus: Corpus, tmp_path: Path, accumulate: int) -> None:
    """Tensors of both checkpoints, metrics and samples, with dropout."""
    settings = {"batch_size": 4, "bptt": 12, "seed": 3, "optimizer": "hessian-free", "cg_steps": 5}
    run = {**REQUEST.run, "accumulate": accumulate}
    request = replace(REQUEST, training=settings, run=run, budget=Budget(steps=7))
    assert train(tmp_path / "whole", corpus, request).step == 7
    for k in (1, 4):
        train(tmp_path / f"cut-{k}", corpus, request, stop_after=k)
        train(tmp_path / f"cut-{k}", corpus, request)
        assert_same_run(tmp_path / f"cut-{k}", tmp_path / "whole")


def test_a_command_trains_with_it(command: Command) -> None:
    """On documents, too, and with another length of the window than the last; the notes say what was chosen."""
    Path("text.txt").write_text(make_text(3000), "utf-8")
    small = ("--cell", "rnn", "--hidden", "8", "--embedding", "4", "--threads", "1", "--steps", "2")
    ended = command("train", "text.txt", *small, "--optimizer", "hessian-free", "--documents", "lines")
    assert ended.status == 0, ended.err
    assert "hessian-free, learning rate 1 (constant)" in " ".join(ended.err.split())


# What does not go with it.


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_norm": 1.0}, {"warmup": 5}, {"random_bptt": True}, {"decay": "linear"}, {"average": 0.1},
        {"average_after": 2}, {"average_from": 0.0}, {"weight_decay": 0.01}, {"activation_penalty": 1.0},
        {"temporal_penalty": 1.0}, {"orthogonal_penalty": 0.1}, {"jacobian_penalty": 0.1}, {"precision": "auto"},
        {"precision": "bf16"}, {"label_smoothing": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_what_sets_or_bounds_a_step_is_refused(settings: dict[str, Any]) -> None:
    """In the option's name and with the reason; by itself nothing of it is on."""
    ((name, value),) = settings.items()
    option = TrainingConfig.spelled(name, value).split()[0]
    with pytest.raises(UsageError, match=f"^{option}.* does not go with --optimizer hessian-free: ") as raised:
        _configured(**settings)
    assert f"leave {option} out" in " ".join(raised.value.hints)
    TrainingConfig(**{**settings, "optimizer": "adamw"})
    _configured(l2=0.1)


def test_batch_normalisation_and_several_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="--batch-norm does not go with --optimizer hessian-free"):
        check_together(ModelConfig(batch_norm=True), _configured())
    with pytest.raises(UsageError, match="--optimizer hessian-free is for one process"):
        choose_way(ModelConfig(), _configured(), CPU, World(0, 2))
    for device in ("cpu", "cuda"):
        assert choose_way(ModelConfig(), _configured(), torch.device(device), World()) == "host"


# What is chosen for it.


def test_memory_by_hand() -> None:
    """Weights, gradient, direction, 8 vectors of the search and its 22 iterates; and what is kept of a third of the
    lanes to be differentiated twice, in two parts of the lanes 15 numbers a unit of an rnn and 5 a logit."""
    model = ModelConfig(cell="rnn", num_layers=2, hidden_size=5, embedding_size=3)
    training = _configured(batch_size=18, bptt=40, curvature_share=1 / 3, cg_steps=100)
    weights = 7 * 3 + (5 * 3 + 5 * 5 + 5) + (5 * 5 + 5 * 5 + 5) + 7 * 5 + 7
    iterates = len({*(int(np.ceil(1.3**n)) for n in range(40) if np.ceil(1.3**n) < 100), 100})
    needed = training_memory(model, training, 7, kept=1, parts=2)
    assert needed == 4 * weights * (2 + 1 + 8 + iterates) + 4 * (15 * 2 * 5 + 5 * 7) * 3 * 40


def test_the_recipe_counts_on_few_passes() -> None:
    """A step computes its window many times over: less is read, so that layers are narrower and no text is known by
    heart."""
    plain, searching = (
        plan_start(TrainRequest(training=training), 1_000_000, REFERENCE)
        for training in ({}, {"optimizer": "hessian-free"})
    )
    assert searching.model.hidden_size < plain.model.hidden_size
    assert searching.model.dropout < plain.model.dropout
    assert searching.training.bptt * searching.training.batch_size >= 10_000
    assert searching.training.learning_rate == 1.0
    fitted = plan_start(TrainRequest(training={"optimizer": "hessian-free"}), 1000, REFERENCE).training
    assert fitted.batch_size * fitted.bptt <= 900


def test_along_a_slope_that_does_not_fall_no_step_is_made() -> None:
    """And nothing is computed for it."""
    for slope in (0.0, 0.5, math.nan):
        assert hessian_free._line_search(None, None, None, 1.0, slope, 1.0) == 0.0  # type: ignore[arg-type]


def test_a_search_that_ends_uphill_makes_no_step_that_raises_the_loss() -> None:
    """Not even by the hundredth part of a steep slope: where the search began from the last direction, which leads up
    now, and everything further on is much worse."""
    weights = torch.zeros(5, requires_grad=True)
    updater = Updater(_configured(damping=1e-9, cg_steps=2), {"w": weights})
    bowl = Bowl(weights)
    up = bowl.gradient() * (0.05 / bowl.gradient().norm())

    class Valley:
        def loss(self) -> float:
            moved, apart = weights.detach(), float((weights.detach() - up).norm())
            return 0.16 + (0.3 + 1e3 * apart if moved.any() else 0.0)

        def curvature(self, _weights: list[Tensor], _turn: int) -> Any:
            return bowl

    updater.load({**updater.to_numpy(), "optimizer.direction.w": (up / 0.95).numpy()})
    updater.step([bowl.gradient() * 1e3], 0, objective=Valley())
    assert Valley().loss() == 0.16


def test_backtracking_goes_past_losses_that_are_infinite() -> None:
    """To the latest iterate before which the loss is not lower."""
    weights = torch.zeros(1)
    losses = (0.2, 0.1, 0.1, math.inf, math.inf)

    class Steps:
        def loss(self) -> float:
            return losses[int(weights)]

    found = [Iterate(number, torch.tensor([float(number)]), 0.0) for number in range(5)]
    tried = hessian_free._backtracked(found, Steps(), hessian_free._Place([weights]))  # type: ignore[arg-type]
    assert (float(tried.change), tried.loss) == (2.0, 0.1)
