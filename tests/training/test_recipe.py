"""Defaults: pure, within bounds, and moving the way the experiments point."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.native.window import find_library
from charrnn.network import device
from charrnn.network.cudnn import GPU, IMAGINED, expected
from charrnn.network.speed import REFERENCE, Machine, expected_characters, operations
from charrnn.settings.choices import OptimizerName
from charrnn.settings.config import Budget, ModelConfig, TrainingConfig
from charrnn.training.plan import TrainRequest, plan_start
from charrnn.training.recipe import choose, default_budget

H200 = Machine(4e14, IMAGINED, "fp16")
"""At its nominal speed, about."""


@pytest.mark.parametrize(
    ("characters", "minutes", "hidden_size", "dropout", "members", "decay"),
    [
        (1_003_854, 3, 512, 0.48, 1, 0.1),  # tiny Shakespeare
        (1_003_854, 10, 704, 0.5, 2, 0.1),
        (1_003_854, 60, 960, 0.5, 5, 0.1),
        (2_946_211, 3, 512, 0.1, 1, 0.01),  # War and Peace, 250,000 characters held out
        (2_946_211, 10, 704, 0.24, 1, 0.01),
        (2_876_589, 3, 512, 0.1, 1, 0.01),  # the same, a tenth held out
        (2_876_589, 10, 704, 0.25, 1, 0.01),
        (270_000, 10, 512, 0.5, 4, 0.1),
        (90_000, 3, 256, 0.5, 4, 0.1),
        (17_000_000, 2, 448, 0.0, 1, 0.01),  # stdlib
    ],
)
def test_choices_are_those_that_the_experiments_found(
    characters: int, minutes: float, hidden_size: int, dropout: float, members: int, decay: float
) -> None:
    """On the machine they ran on; the manual's pages results and experiments name them."""
    recipe = choose(characters, Budget(minutes=minutes), REFERENCE)
    model, training = recipe.model, recipe.training
    assert (model.num_layers, model.hidden_size, model.dropout) == (1, hidden_size, dropout)
    assert (training.ensemble, training.weight_decay) == (members, decay)


@pytest.mark.parametrize("characters", [180, 100_000, 1_000_000, 3_000_000, 100_000_000])
@pytest.mark.parametrize("minutes", [0.05, 1, 3, 10, 60, 600])
def test_every_choice_is_within_bounds_and_the_same_again(characters: int, minutes: float) -> None:
    """Whole cache lines of units; a rate of dropout that leaves something."""
    recipe = choose(characters, Budget(minutes=minutes), REFERENCE)
    assert recipe == choose(characters, Budget(minutes=minutes), REFERENCE)
    assert 64 <= recipe.model.hidden_size <= 1024
    assert recipe.model.hidden_size % 64 == 0
    assert 0.0 <= recipe.model.dropout <= 0.6
    assert 1 <= recipe.training.ensemble <= 6


def test_minutes_are_shared_among_models_where_one_would_read_the_text_too_often() -> None:
    """Each reads it about six times, of a text so short that the most do not use the minutes up more often; a model
    that the user has given a size, a budget in epochs, and a number that is asked for leave it at that."""
    for characters in (10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7):
        recipe = choose(characters, Budget(minutes=60), REFERENCE)
        read = expected_characters(recipe.model, 64, REFERENCE, 3600) / characters
        members, distill = recipe.training.ensemble, recipe.training.distill
        assert members == 1 or read / members >= 4.5
        is_patient = read >= 5.5 * 9
        assert members == (4 if is_patient else 6) or read / members < 9
        # From three on, a student has half as much again as each of them, and beside four five times as much where that
        # leaves each its passes.
        student = 5.0 if is_patient else 1.5
        share = student / (members + student) if members >= 3 else 0.0
        assert distill == pytest.approx(share, abs=0.01)
        assert not is_patient or read * (1 - distill) / members >= 5.5
        # No more than are left 1,200 updates each.
        few = choose(characters, Budget(minutes=0.3), REFERENCE)
        steps = expected_characters(few.model, 64, REFERENCE, 18) / 1024
        assert few.training.ensemble <= max(1.0, steps / 1200)
        assert choose(characters, Budget(minutes=60), REFERENCE, {"num_layers": 1}).training.ensemble == 1
        assert choose(characters, Budget(epochs=100), REFERENCE).training.ensemble == 1
        asked = choose(characters, Budget(minutes=60), REFERENCE, members=3).training
        assert (asked.ensemble, asked.distill) == (3, 0.0)
        assert choose(characters, Budget(minutes=60), REFERENCE, distill=0.0).training.distill == 0.0


def _schedule(training: TrainingConfig) -> tuple[str, float | None, float]:
    return training.decay, training.average_from, training.learning_rate


FALLING = ("linear", None, 0.012)
MEAN = ("constant", 0.75, 0.018)


def test_a_text_known_by_heart_is_learned_at_a_rate_that_stays() -> None:
    """With the mean of the weights of half of the run: from five passes and a half of each model, however long."""
    assert _schedule(choose(270_000, Budget(minutes=10), REFERENCE).training) == MEAN
    assert _schedule(choose(32_000, None, REFERENCE).training) == MEAN
    for passes, schedule in ((5.4, FALLING), (5.5, MEAN)):
        assert _schedule(choose(10**6, Budget(epochs=passes), REFERENCE).training) == schedule
        assert _schedule(choose(10**6, Budget(epochs=3 * passes), REFERENCE, members=3).training) == schedule
    assert _schedule(choose(3 * 10**6, Budget(minutes=10), REFERENCE).training) == FALLING
    assert _schedule(choose(10**4, Budget(steps=10**5), REFERENCE).training) == FALLING
    assert _schedule(choose(10**6, Budget(epochs=50), H200).training) == FALLING


@pytest.mark.parametrize(
    "asked",
    [
        {"decay": "linear"}, {"decay": "constant"}, {"average": 0.0}, {"average_after": 3}, {"average_from": 0.2},
        {"final_learning_rate": 0.1}, {"optimizer": "adamw"}, {"optimizer": "sgd"},
    ],
)  # fmt: skip
def test_what_is_said_of_the_schedule_sets_the_whole_aside(asked: dict[str, Any]) -> None:
    """The rest is then as it is by itself; a rate or a start of the mean that is given goes with it."""
    request = TrainRequest(training=asked, budget=Budget(epochs=20))
    usual = {"decay": "linear", "average_from": None, "learning_rate": 0.012}
    training = plan_start(request, 10**6).training
    assert {name: getattr(training, name) for name in usual} == {name: asked.get(name, usual[name]) for name in usual}
    given = replace(request, training={"learning_rate": 0.004})
    assert _schedule(plan_start(given, 10**6).training) == ("constant", 0.75, 0.004)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_only_the_default_optimizer_gets_more_weight_decay(optimizer: str) -> None:
    """A decay of sgd or rmsprop is a part of the gradient, and another thing; what is asked for holds for each."""
    request = TrainRequest(training={"optimizer": optimizer})
    decay = plan_start(request, 300_000).training.weight_decay
    assert decay == {"muon": 0.1, "hessian-free": 0.0}.get(optimizer, 0.01)
    if optimizer != "hessian-free":
        asked = replace(request, training={"optimizer": optimizer, "weight_decay": 0.3})
        assert plan_start(asked, 300_000).training.weight_decay == 0.3


def test_a_short_text_takes_fewer_passes_than_ten_minutes_allow() -> None:
    """Where nothing is said of the budget, four models read it until more would not help."""
    recipe = choose(32_000, None, REFERENCE)
    assert (recipe.training.ensemble, recipe.training.distill) == (4, 0.55)
    assert recipe.budget == Budget(epochs=9 * 64)  # each makes 2,000 updates of 1,024 characters, a student 10,000
    assert choose(10**6, None, REFERENCE).budget == choose(32_000, None, REFERENCE, {"hidden_size": 64}).budget
    assert choose(10**6, None, REFERENCE).budget == Budget(minutes=10)
    assert choose(32_000, None, REFERENCE, members=2).budget == Budget(epochs=2 * 64)


def test_more_time_and_a_faster_machine_take_a_larger_model() -> None:
    """The same work, by either, takes the same one."""
    widths = [choose(10**7, Budget(minutes=m), REFERENCE).model.hidden_size for m in (1, 3, 10, 60)]
    assert widths == sorted(set(widths))
    assert choose(10**7, Budget(minutes=6), Machine(REFERENCE.speed / 2)).model.hidden_size == widths[1]


def test_text_that_is_read_again_takes_dropout() -> None:
    """None where most of it is new; a budget in epochs says it outright."""
    rates = [choose(n, Budget(minutes=3), REFERENCE).model.dropout for n in (10**8, 10**7, 10**6, 10**5)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert rates[-1] > 0.3
    assert choose(10**6, Budget(epochs=1), REFERENCE).model.dropout == 0.0
    assert choose(10**6, Budget(epochs=50), REFERENCE).model.dropout > 0.4


def test_what_the_user_chose_stays_and_the_rest_goes_with_it() -> None:
    """A small model sees more text in the same time, so it reads a small text more often."""
    asked = choose(10**6, Budget(minutes=3), REFERENCE, {"hidden_size": 100, "cell": "gru"}).model
    assert (asked.hidden_size, asked.cell) == (100, "gru")
    assert asked.dropout > choose(10**6, Budget(minutes=3), REFERENCE).model.dropout
    assert choose(10**6, Budget(minutes=3), REFERENCE, {"dropout": 0.07}).model.dropout == 0.07
    assert choose(10**6, Budget(minutes=3), replace(H200, speed=0.0), {"num_layers": 3}).model.num_layers == 3


def test_what_only_grows_begins_every_window_from_zero() -> None:
    """A urnn, and an rnn that keeps lengths without a bound, on either device; nothing else."""
    for machine in (REFERENCE, H200):
        for asked, expected_share in (
            ({"cell": "urnn"}, 1.0),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu"}, 1.0),
            ({"cell": "rnn", "orthogonal": True, "activation": "relu"}, 0.01),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu", "layer_norm": True}, 0.01),
            ({"cell": "rnn", "orthogonal": True, "activation": "modrelu", "batch_norm": True}, 0.01),
            ({"cell": "rnn", "activation": "modrelu"}, 0.01),
            ({"orthogonal": True}, 0.01),
        ):
            recipe = choose(1_000_000, Budget(minutes=3), machine, asked)
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
    assert expected_characters(lstm, 5, Machine(2e9), 10) == pytest.approx(2e9 * 10 / (3 * 2 * (36 + 72 + 15)))


@pytest.mark.parametrize(
    ("name", "capability", "multiprocessors", "fp16", "fp32"),
    [
        ("H100 PCIe", (9, 0), 114, 756e12, 51e12),
        ("H200", (9, 0), 132, 989e12, 67e12),
        ("B200", (10, 0), 148, 2250e12, 75e12),
        ("A100", (8, 0), 108, 312e12, 19.5e12),
        ("V100", (7, 0), 80, 125e12, 15.7e12),
        ("RTX 5090", (12, 0), 170, 209.5e12, 104.8e12),
        ("RTX 4090", (8, 9), 128, 165e12, 82.6e12),
        ("RTX 3090", (8, 6), 82, 71e12, 35.6e12),
        ("RTX 3060", (8, 6), 28, 25.5e12, 12.7e12),
        ("RTX 2080 Ti", (7, 5), 68, 53.8e12, 13.4e12),
        ("GTX 1080 Ti", (6, 1), 28, 11.3e12, 11.3e12),
        ("P100", (6, 0), 56, 10.6e12, 10.6e12),
    ],
)
def test_nominal_speed_of_a_gpu_is_near_half_of_its_data_sheet(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    capability: tuple[int, int],
    multiprocessors: int,
    fp16: float,
    fp32: float,
) -> None:
    """By capability and size alone, never more than half; tf32 is half as fast as fp16."""
    monkeypatch.setattr(device, "describe_gpu", lambda _: GPU(name, capability, multiprocessors, 10**10))
    found = [device.nominal_speed(torch.device("cuda"), precision) for precision in ("fp16", "tf32", "fp32")]
    assert 0.39 * fp16 < found[0] <= 0.51 * fp16
    assert found[1] == found[0] / 2
    assert 0.39 * fp32 < found[2] <= 0.51 * fp32


def test_a_machine_is_its_processes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with a GPU of its own; a CPU has none."""
    card = GPU("a GPU", (8, 6), 28, 10**10)
    monkeypatch.setattr(device, "describe_gpu", lambda _: card)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    speeds = [device.nominal_speed(each, "fp16") for each in (cuda, cpu)]
    assert device.describe_machine(cuda, "fp16", processes=3) == Machine(3 * speeds[0], card, "fp16", 3, False)
    has_compiled = find_library() is not None
    assert device.describe_machine(cpu, "fp16") == Machine(speeds[1], None, "fp16", 1, has_compiled)


def test_what_runs_step_by_step_is_half_as_fast() -> None:
    """A cell that nothing knows on a CPU, one that only compiled code knows, and one that torch has a kernel for."""
    read = {}
    for options in ({"peephole": True}, {"cell": "gru", "reset_gate": "before"}, {"cell": "gru"}):
        model = ModelConfig(num_layers=1, hidden_size=64, **options)
        machines = [Machine(1e10, has_compiled=has_compiled) for has_compiled in (True, False)]
        read[model.cell, model.reset_gate] = [expected_characters(model, 50, machine, 10) for machine in machines]
    (peephole, same), (compiled, looped), (plain, by_kernel) = read.values()
    assert peephole == same
    assert plain == by_kernel == compiled == 2 * looped


@pytest.mark.parametrize(("best_set", "per_thread"), [(None, 17e9), (0, 8e9), (1, 25e9), (2, 50e9)])
def test_nominal_speed_is_that_of_the_threads(
    monkeypatch: pytest.MonkeyPatch, best_set: int | None, per_thread: float
) -> None:
    """Two threads in bf16 are what the experiments ran on; without the library, or in fp32, fewer operations."""
    library = None if best_set is None else SimpleNamespace(best_set=best_set, is_narrow_faster=True)
    monkeypatch.setattr(device, "find_library", lambda: library)
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(device, "most_threads", lambda threads=threads: threads)
        assert device.nominal_speed(torch.device("cpu"), "fp32") == threads * per_thread
        if library is not None:
            assert device.nominal_speed(torch.device("cpu"), "bf16") * 2 == REFERENCE.speed * threads
            monkeypatch.setattr(library, "is_narrow_faster", False)  # such as Intel's without AMX
            assert device.nominal_speed(torch.device("cpu"), "bf16") == threads * per_thread
            monkeypatch.setattr(library, "is_narrow_faster", True)


def test_choices_move_one_way() -> None:
    """Never narrower with more time or speed, never wider for less text, never less dropout for more epochs."""
    sizes = [round(180 * 1.9**k) for k in range(22)]
    speeds = [8e9 * 1.7**k for k in range(12)]
    times = [0.05 * 1.8**k for k in range(18)]
    widths = np.zeros((len(sizes), len(speeds), len(times)), int)
    read = []
    for place in np.ndindex(widths.shape):
        size, speed, minutes = sizes[place[0]], speeds[place[1]], times[place[2]]
        machine = Machine(speed)
        model = choose(size, Budget(minutes=minutes), machine, members=1).model
        epochs = expected_characters(model, 64, machine, 60 * minutes) / size
        # Such a text is read more often than the nominal speed says.
        often = 1.6 if epochs >= 4 else 1.0
        assert choose(size, Budget(epochs=often * epochs), machine).model.dropout == model.dropout
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
    assert len(set(rates)) >= 45


@pytest.mark.parametrize("budget", [Budget(minutes=0.5), Budget(minutes=10), Budget(epochs=3), Budget(epochs=100)])
def test_choices_for_a_gpu_suit_its_fastest_kernel(budget: Budget) -> None:
    """Whatever the text: a kernel better than the standard one, wider and deeper for more text, enough updates."""
    sizes = [round(5000 * 1.7**k) for k in range(22)]
    recipes = [choose(size, budget, H200) for size in sizes]
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


def test_members_that_are_asked_for_get_no_time_for_a_student() -> None:
    """Whom nobody trains, unless a share of the budget is asked for it too."""
    by_itself = default_budget(5000, REFERENCE).epochs
    assert by_itself is not None
    assert default_budget(5000, REFERENCE, members=4) == Budget(epochs=by_itself * 4 / 9)
    assert default_budget(5000, REFERENCE, members=4, distill=0.5) == Budget(epochs=by_itself * 8 / 9)
    recipe = choose(5000, None, REFERENCE, members=4)
    assert (recipe.budget, recipe.training.distill) == (Budget(epochs=by_itself * 4 / 9), 0.0)


def test_the_default_budget_is_minutes_unless_a_gpu_knows_the_text_sooner() -> None:
    """Six epochs of a small text on a GPU; ten minutes of a large one, on a slow GPU, and on any CPU."""
    ten = Budget(minutes=10)
    assert default_budget(10**6, H200) == Budget(epochs=6)
    assert default_budget(10**9, H200) == default_budget(10**6, replace(H200, speed=5e10)) == ten
    assert default_budget(10**6, REFERENCE) == ten
    # Layers that are run step by step do not read in ten minutes what plain ones do.
    assert default_budget(3 * 10**7, H200) == Budget(epochs=6)
    assert default_budget(3 * 10**7, H200, {"layer_norm": True}) == ten


# What is expected of a GPU, by its kernels.

RTX_3060 = GPU("RTX 3060", (8, 6), 28, 12 * 2**30, l2=3 * 2**20, bandwidth=360e9)
T4 = GPU("T4", (7, 5), 40, 16 * 2**30, l2=4 * 2**20, bandwidth=320e9)
PERSISTENT, SMALL, STANDARD = 6e-6, 6.7e-6, 17e-6


@pytest.mark.parametrize(
    ("gpu", "cell", "hidden", "lanes", "precision", "layer_step"),
    [
        (IMAGINED, "lstm", 512, 16, "fp16", PERSISTENT),
        (IMAGINED, "lstm", 512, 12, "fp16", STANDARD),
        (IMAGINED, "lstm", 700, 16, "fp16", STANDARD),
        (IMAGINED, "lstm", 512, 16, "fp32", STANDARD),
        (IMAGINED, "gru", 512, 16, "fp16", STANDARD),
        (IMAGINED, "gru", 128, 16, "fp16", SMALL),
        (IMAGINED, "lstm", 3072, 16, "fp16", 2 * 2 * 4 * 3072**2 / 4.8e12),  # 72 MiB, more than the L2
        (RTX_3060, "lstm", 128, 16, "fp16", SMALL),
        (RTX_3060, "lstm", 512, 16, "fp16", STANDARD),  # 2 MiB
        (RTX_3060, "lstm", 1024, 16, "fp16", 2 * 2 * 4 * 1024**2 / 360e9),  # 8 MiB
        (RTX_3060, "lstm", 512, 16, "fp32", 2 * 4 * 4 * 512**2 / 360e9),  # 4 MiB
        (RTX_3060, "gru", 1024, 16, "fp16", 2 * 2 * 3 * 1024**2 / 360e9),
        (RTX_3060, "rnn", 1024, 16, "fp16", STANDARD),  # 2 MiB
        (replace(RTX_3060, l2=None), "lstm", 1024, 16, "fp16", STANDARD),
        (replace(RTX_3060, bandwidth=None), "lstm", 1024, 16, "fp16", STANDARD),
        (T4, "lstm", 512, 16, "fp16", STANDARD),
        (T4, "lstm", 1024, 16, "fp16", 2 * 2 * 4 * 1024**2 / 320e9),
        (T4, "lstm", 160, 1, "fp16", 2.6e-6 + 10.2e-6),  # small forward, which more lanes make slow there
        (T4, "lstm", 160, 64, "fp16", 64e-6 + 10.2e-6),
    ],
)
def test_the_pace_of_a_layer_is_that_of_its_kernel(
    gpu: GPU, cell: str, hidden: int, lanes: int, precision: str, layer_step: float
) -> None:
    """By hand, without arithmetic: the latency, or the recurrent weights twice from memory where the L2 is small."""
    model = ModelConfig(cell=cell, num_layers=1, hidden_size=hidden, embedding_size=128)
    read = expected_characters(model, 5, Machine(1e30, gpu, precision), 10, lanes=lanes)
    assert read == pytest.approx(10 * lanes / layer_step)


def test_on_a_gpu_the_pace_of_the_steps_limits_what_is_read() -> None:
    """By hand: layers one after the other; more lanes read more, until the arithmetic is what limits."""
    model = ModelConfig(num_layers=2, hidden_size=3)
    fast, slow = Machine(1e14, IMAGINED, "fp16"), Machine(2e9, IMAGINED, "fp16")
    assert expected_characters(model, 5, fast, 10, lanes=16) == pytest.approx(10 * 16 / (2 * SMALL))
    assert expected_characters(model, 5, slow, 10, lanes=10**6) == expected_characters(model, 5, Machine(2e9), 10)
    first = replace(model, hidden_size=512, embedding_size=64)  # its input is too narrow for the persistent kernel
    assert expected_characters(first, 5, fast, 10, lanes=16) == pytest.approx(10 * 16 / (STANDARD + PERSISTENT))
    relu = replace(first, cell="rnn", activation="relu")  # torch has a module for it, if charrnn has no compiled one
    assert expected_characters(relu, 5, fast, 10, lanes=16) == pytest.approx(10 * 16 / (STANDARD + PERSISTENT))
    looped = replace(model, layer_norm=True)
    assert expected_characters(looped, 5, fast, 10, lanes=16) == pytest.approx(10 * 16 / (2 * 1.5e-4))


def test_a_split_step_asks_for_the_lanes_of_a_part() -> None:
    """Parts of one process come one after the other, processes work at once; 4 lanes suit no fast kernel."""
    model = ModelConfig(num_layers=1, hidden_size=512, embedding_size=128)
    alone, four = Machine(1e30, IMAGINED, "fp16"), Machine(1e30, IMAGINED, "fp16", processes=4)

    def rate(machine: Machine, lanes: int, accumulate: int) -> float:
        return expected_characters(model, 5, machine, 1.0, lanes=lanes, accumulate=accumulate)

    assert rate(alone, 64, 1) == rate(four, 64, 1) == pytest.approx(64 / PERSISTENT)
    assert rate(alone, 64, 4) == pytest.approx(64 / (4 * PERSISTENT))
    assert rate(alone, 16, 4) == pytest.approx(16 / (4 * STANDARD))
    assert rate(four, 16, 1) == pytest.approx(16 / STANDARD)


@pytest.mark.parametrize(
    ("characters", "layers", "hidden", "lanes", "bptt"),
    [
        (90_000, 1, 128, 16, 64),
        (900_000, 1, 512, 16, 64),
        (9_750_000, 1, 1024, 32, 64),
        (99_750_000, 3, 1024, 128, 128),
    ],
)
@pytest.mark.parametrize("multiprocessors", [114, 132])
def test_an_h100_is_given_the_sizes_of_its_persistent_kernel(
    multiprocessors: int, characters: int, layers: int, hidden: int, lanes: int, bptt: int
) -> None:
    """For six epochs, which it is done with in four minutes: the same as an H200."""
    machine = Machine(multiprocessors * 3e12, replace(IMAGINED, multiprocessors=multiprocessors), "fp16")
    budget = default_budget(characters, machine)
    recipe = choose(characters, budget, machine)
    assert budget == Budget(epochs=6)
    assert (recipe.model.num_layers, recipe.model.hidden_size, recipe.model.dropout) == (layers, hidden, 0.4)
    assert (recipe.training.batch_size, recipe.training.bptt) == (lanes, bptt)


@pytest.mark.parametrize(
    ("gpu", "speed"),
    [
        (RTX_3060, 12.04e12),
        (T4, 15.8e12),
        (GPU("GTX 1650", (7, 5), 14, 4 * 2**30, l2=2**20, bandwidth=128e9), 5.5e12),
        (GPU("GTX 1080", (6, 1), 20, 8 * 2**30, l2=2**21, bandwidth=320e9), 3.8e12),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_ten_minutes_are_enough_on_a_small_gpu(gpu: GPU, speed: float) -> None:
    """Of whatever text: for six epochs, or for 20,000 updates and two characters for each weight."""
    machine = Machine(speed, gpu, "fp16" if gpu.capability >= (7, 0) else "fp32")
    sizes = [round(200_000 * 1.5**k) for k in range(24)]
    in_minutes = 0
    for size in sizes:
        budget = default_budget(size, machine)
        recipe = choose(size, budget, machine)
        model, lanes = recipe.model, recipe.training.batch_size
        read = expected_characters(model, 64, machine, 600, lanes=lanes)
        if budget.epochs is not None:
            assert read > 6 * size
            continue
        in_minutes += 1
        weights = sum(math.prod(shape) for shape in parameter_shapes(model, 64).values())
        assert read >= 20_000 * lanes * recipe.training.bptt
        assert read >= 2 * weights
        assert model.hidden_size % 128 == 0
    assert 0 < in_minutes < len(sizes)


def test_a_small_gpu_takes_a_smaller_model_only_where_time_is_short() -> None:
    """100 million characters: three layers of 1024 units by their number, fewer units in ten minutes."""
    machine = Machine(12.04e12, RTX_3060, "fp16")

    def size(budget: Budget) -> tuple[int, int]:
        model = choose(10**8, budget, machine).model
        return model.num_layers, model.hidden_size

    assert size(Budget(epochs=1)) == size(Budget(minutes=60)) == (3, 1024)
    assert size(Budget(minutes=10)) == size(Budget(steps=1000)) == (3, 896)
    assert size(Budget(minutes=0.001)) == (1, 128)
