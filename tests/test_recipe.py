"""Defaults: pure, within bounds, and moving the way the experiments point."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from charrnn import device
from charrnn.config import Budget, ModelConfig
from charrnn.kernels import GPU, IMAGINED, expected
from charrnn.recipe import REFERENCE_SPEED, choose, default_budget, expected_characters, operations


@pytest.mark.parametrize(
    ("characters", "minutes", "hidden_size", "dropout"),
    [
        (1_003_854, 3, 512, 0.36),  # tiny Shakespeare
        (1_003_854, 10, 576, 0.6),
        (2_946_211, 3, 512, 0.1),  # War and Peace, 250,000 characters held out
        (2_946_211, 10, 704, 0.24),
        (2_876_589, 3, 512, 0.1),  # the same, a tenth held out
        (2_876_589, 10, 704, 0.25),
        (90_000, 3, 192, 0.6),
        (17_000_000, 2, 448, 0.0),  # stdlib
    ],
)
def test_choices_are_those_that_the_experiments_found(
    characters: int, minutes: float, hidden_size: int, dropout: float
) -> None:
    """On the machine they ran on; README and experiments name them."""
    model = choose(characters, Budget(minutes=minutes), "cpu", REFERENCE_SPEED).model
    assert (model.num_layers, model.hidden_size, model.dropout) == (1, hidden_size, dropout)


@pytest.mark.parametrize("characters", [180, 100_000, 1_000_000, 3_000_000, 100_000_000])
@pytest.mark.parametrize("minutes", [0.05, 1, 3, 10, 60, 600])
def test_every_choice_is_within_bounds_and_the_same_again(characters: int, minutes: float) -> None:
    """Whole cache lines of units; a rate of dropout that leaves something."""
    recipe = choose(characters, Budget(minutes=minutes), "cpu", REFERENCE_SPEED)
    assert recipe == choose(characters, Budget(minutes=minutes), "cpu", REFERENCE_SPEED)
    assert 64 <= recipe.model.hidden_size <= 1024
    assert recipe.model.hidden_size % 64 == 0
    assert 0.0 <= recipe.model.dropout <= 0.6


def test_more_time_and_a_faster_machine_take_a_larger_model() -> None:
    """The same work, by either, takes the same one."""
    widths = [choose(10**7, Budget(minutes=m), "cpu", REFERENCE_SPEED).model.hidden_size for m in (1, 3, 10, 60)]
    assert widths == sorted(set(widths))
    assert choose(10**7, Budget(minutes=6), "cpu", REFERENCE_SPEED / 2).model.hidden_size == widths[1]


def test_text_that_is_read_again_takes_dropout() -> None:
    """None where most of it is new; a budget in epochs says it outright."""
    rates = [choose(n, Budget(minutes=3), "cpu", REFERENCE_SPEED).model.dropout for n in (10**8, 10**7, 10**6, 10**5)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert rates[-1] > 0.3
    assert choose(10**6, Budget(epochs=1), "cpu", REFERENCE_SPEED).model.dropout == 0.0
    assert choose(10**6, Budget(epochs=50), "cpu", REFERENCE_SPEED).model.dropout > 0.4


def test_what_the_user_chose_stays_and_the_rest_goes_with_it() -> None:
    """A small model sees more text in the same time, so it reads a small text more often."""
    asked = choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED, {"hidden_size": 100, "cell": "gru"}).model
    assert (asked.hidden_size, asked.cell) == (100, "gru")
    assert asked.dropout > choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED).model.dropout
    assert choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED, {"dropout": 0.07}).model.dropout == 0.07
    assert choose(10**6, Budget(minutes=3), "cuda", 0.0, {"num_layers": 3}).model.num_layers == 3


def test_what_only_grows_begins_every_window_from_zero() -> None:
    """A urnn, and an rnn that keeps lengths without a bound, on either device; nothing else."""
    for device_type in ("cpu", "cuda"):
        for asked, expected_share in (
            ({"cell": "urnn"}, 1.0),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu"}, 1.0),
            ({"cell": "rnn", "orthogonal": True, "activation": "relu"}, 0.01),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu", "layer_norm": True}, 0.01),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu", "batch_norm": True}, 0.01),
            ({"cell": "rnn", "activation": "modrelu"}, 0.01),
            ({"orthogonal": True}, 0.01),
        ):
            recipe = choose(1_000_000, Budget(minutes=3), device_type, REFERENCE_SPEED, asked)
            assert recipe.training.state_reset == expected_share, asked


def test_what_is_made_once_for_a_window_counts() -> None:
    """Matrices made by products with themselves, the more of them the wider; and steps without a product."""
    for hidden in (64, 512):
        plain, made = (ModelConfig(hidden_size=hidden, orthogonal=each) for each in (False, True))
        once = operations(made, 65) - operations(plain, 65)
        assert once == 6 * 4 * hidden**2 * 6 * hidden / 1024
    assert operations(ModelConfig(cell="urnn", hidden_size=64), 65) > operations(ModelConfig(hidden_size=64), 65)


def test_operations_are_those_of_the_products() -> None:
    """By hand: 2 layers of 3 units, 5 characters; the first layer's input is not multiplied."""
    lstm = ModelConfig(num_layers=2, hidden_size=3, embedding_size=9)
    assert operations(lstm, 5) == 3 * 2 * (4 * 3 * 3 + 4 * 3 * 6 + 3 * 5)
    assert operations(ModelConfig(cell="gru", num_layers=1, hidden_size=3), 5) == 3 * 2 * (3 * 3 * 3 + 3 * 5)
    assert expected_characters(lstm, 5, 2e9, 10) == pytest.approx(2e9 * 10 / (3 * 2 * (36 + 72 + 15)))


@pytest.mark.parametrize(
    ("capability", "per_multiprocessor"),
    [((9, 0), 3e12), ((8, 9), 0.6e12), ((8, 0), 1.2e12), ((7, 5), 0.5e12), ((6, 1), 1e11)],
)
def test_nominal_speed_of_a_gpu_goes_by_its_generation(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], per_multiprocessor: float
) -> None:
    """And by its size; tf32 is taken for half as fast, fp32 for a tenth."""
    monkeypatch.setattr(device, "describe_gpu", lambda _: GPU("a GPU", capability, 30, 10**10))
    found = [device.nominal_speed(torch.device("cuda"), precision) for precision in ("fp16", "tf32", "fp32")]
    assert found == pytest.approx([30 * per_multiprocessor * share for share in (1.0, 0.5, 0.1)])


@pytest.mark.parametrize(("best_set", "per_thread"), [(None, 17e9), (0, 8e9), (1, 25e9), (2, 50e9)])
def test_nominal_speed_is_that_of_the_threads(
    monkeypatch: pytest.MonkeyPatch, best_set: int | None, per_thread: float
) -> None:
    """Two threads in bf16 are what the experiments ran on; without the library, or in fp32, fewer operations."""
    library = None if best_set is None else SimpleNamespace(best_set=best_set)
    monkeypatch.setattr(device, "find_library", lambda: library)
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert device.nominal_speed(torch.device("cpu"), "fp32") == threads * per_thread
        if library is not None:
            assert device.nominal_speed(torch.device("cpu"), "bf16") * 2 == REFERENCE_SPEED * threads


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_choices_move_one_way(name: str) -> None:
    """Never narrower with more time or speed, never wider for less text, never less dropout for more epochs."""
    sizes = [round(180 * 1.9**k) for k in range(22)]
    speeds = [8e9 * 1.7**k for k in range(12)]
    times = [0.05 * 1.8**k for k in range(18)]
    widths = np.zeros((len(sizes), len(speeds), len(times)), int)
    read = []
    for place in np.ndindex(widths.shape):
        size, speed, minutes = sizes[place[0]], speeds[place[1]], times[place[2]]
        model = choose(size, Budget(minutes=minutes), name, speed).model
        epochs = expected_characters(model, 64, speed, 60 * minutes) / size
        assert choose(size, Budget(epochs=epochs), name, speed).model.dropout == model.dropout
        widths[place] = model.hidden_size
        read.append((epochs, model.dropout))
    for axis in range(3):
        assert (np.diff(widths, axis=axis) >= 0).all()
    assert (widths % 64 == 0).all()
    assert (widths >= 64).all()
    assert (widths <= 1024).all()
    rates = [rate for _, rate in sorted(read)]
    assert rates == sorted(rates)
    assert rates[0] >= 0.0
    assert rates[-1] <= 0.6
    assert len(np.unique(widths)) == 16
    assert len(set(rates)) > 50


@pytest.mark.parametrize("budget", [Budget(minutes=0.5), Budget(minutes=10), Budget(epochs=3), Budget(epochs=100)])
def test_choices_for_a_gpu_suit_its_fastest_kernel(budget: Budget) -> None:
    """Whatever the text: a kernel better than the standard one, wider and deeper for more text, enough updates."""
    sizes = [round(5000 * 1.7**k) for k in range(22)]
    recipes = [choose(size, budget, "cuda", 4e14) for size in sizes]
    for size, recipe in zip(sizes, recipes, strict=True):
        model, training = recipe.model, recipe.training
        for input_size in (model.embedding_size, model.hidden_size):
            kernel = expected("lstm", input_size, model.hidden_size, training.batch_size, "fp16", IMAGINED)
            assert kernel.forward == kernel.backward == ("small" if model.hidden_size == 128 else "persistent")
        steps = training.batch_size * training.bptt
        assert steps == 16 * 64 or steps * 20_000 <= 40 * size
    weights = [(recipe.model.num_layers, recipe.model.hidden_size) for recipe in recipes]
    assert weights == sorted(weights)
    assert weights[0] == (1, 128)
    assert weights[-1] == (3, 1024)
    if budget.epochs is not None:  # in minutes, deeper models read less
        read = [recipe.training.batch_size * recipe.training.bptt for recipe in recipes]
        assert read == sorted(read)
        assert read[-1] == 128 * 128


def test_the_default_budget_is_minutes_unless_a_gpu_knows_the_text_sooner() -> None:
    """Six epochs of a small text on a GPU; ten minutes of a large one, on a slow GPU, and on any CPU."""
    ten = Budget(minutes=10)
    assert default_budget(10**6, "cuda", 4e14) == Budget(epochs=6)
    assert default_budget(10**9, "cuda", 4e14) == default_budget(10**6, "cuda", 5e10) == ten
    assert default_budget(10**6, "cpu", REFERENCE_SPEED) == ten


def test_on_a_gpu_the_pace_of_the_steps_limits_what_is_read() -> None:
    """By hand: 2 layers at 6 us a step; more lanes read more, until the arithmetic is what limits."""
    model = ModelConfig(num_layers=2, hidden_size=3)
    assert expected_characters(model, 5, 1e14, 10, lanes=16) == pytest.approx(10 * 16 / 12e-6)
    assert expected_characters(model, 5, 2e9, 10, lanes=10**6) == expected_characters(model, 5, 2e9, 10)
