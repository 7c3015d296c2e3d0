"""Learning rates at the points that define them, and when things are due."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import load
from charrnn.errors import UsageError
from charrnn.settings.config import Budget, TrainingConfig
from charrnn.settings.run import RunConfig
from charrnn.training import schedule
from charrnn.training.lanes import Ring
from charrnn.training.pace import Counters, Pace, check_trigger
from charrnn.training.schedule import averaging_share, learning_rate
from tests.kit.command import Command


def test_the_examples_in_the_docstring() -> None:
    """What the documentation shows is what happens."""
    assert doctest.testmod(schedule).failed == 0


@pytest.mark.parametrize(
    ("decay", "at_quarter", "at_half"), [("cosine", (1 + math.sqrt(0.5)) / 2, 0.5), ("linear", 0.75, 0.5)]
)
def test_decay_runs_from_the_peak_to_the_floor(decay: str, at_quarter: float, at_half: float) -> None:
    """The shape at 0, 1/4, 1/2 and 1 of the budget, over a floor of a tenth."""
    config = TrainingConfig(learning_rate=2.0, warmup=0, decay=decay, final_learning_rate=0.1)  # type: ignore[arg-type]
    for progress, shape in ((0, 1.0), (0.25, at_quarter), (0.5, at_half), (1, 0.0), (7, 0.0)):
        assert learning_rate(config, 999, progress) == pytest.approx(2.0 * (0.1 + 0.9 * shape))


def test_warm_up_is_linear_from_the_first_step() -> None:
    """Step 0 has a share already, step warmup - 1 has all of it; constant stays there."""
    config = TrainingConfig(learning_rate=3.0, warmup=4, decay="constant")
    assert [learning_rate(config, step, 0.9) for step in range(6)] == [0.75, 1.5, 2.25, 3.0, 3.0, 3.0]


def _pace(budget: Budget, validation: int = 10, **run: int) -> Pace:
    ring = Ring(np.zeros(10_000, np.uint8), lanes=10, window=20)
    return Pace(budget, RunConfig(**run), ring, validation)


def _validated_steps(pace: Pace, seconds_per_step: float = 0.0) -> list[int]:
    counters, steps = Counters(), []
    while True:
        if pace.validation_is_due(counters):
            steps.append(counters.step)
            counters.validated_step, counters.validated_seconds = counters.step, counters.seconds
        if pace.is_over(counters):
            return steps
        counters.advance(pace.ring.window)
        counters.seconds += seconds_per_step


def test_validations_are_dense_at_first_then_every_twentieth() -> None:
    """At 1, 2, 4 % of the budget, then every 5 %, and at the end."""
    steps = _validated_steps(_pace(Budget(steps=1000)))
    assert steps[:4] == [10, 20, 40, 80]
    assert steps[4:7] == [130, 180, 230]
    assert steps[-1] == 1000
    assert len(steps) == 22


def test_a_budget_in_minutes_validates_as_often() -> None:
    """The same by the clock, with 60 ms a step and a budget of one minute."""
    steps = _validated_steps(_pace(Budget(minutes=1)), seconds_per_step=0.06)
    assert steps[0] in (10, 11)
    assert 20 <= len(steps) <= 24
    assert steps[-1] in (1000, 1001)


def test_a_large_held_out_part_is_scored_less_often() -> None:
    """Between validations at least six times its characters are trained on."""
    steps = _validated_steps(_pace(Budget(steps=1000), validation=10_000))  # 200 characters a step
    assert steps == [300, 600, 900, 1000]


def test_every_so_many_steps_means_these_steps() -> None:
    """`--validate-every` overrides the rule, whatever it costs."""
    assert _validated_steps(_pace(Budget(steps=25), validation=10**9, validate_every=10)) == [10, 20, 25]


def test_epochs_are_steps_of_the_ring() -> None:
    """Three epochs of 10,000 characters at 200 a step."""
    assert _pace(Budget(epochs=3)).total_steps == 150


def test_room_is_left_for_the_last_validation() -> None:
    """A budget of 60 s with a validation that costs 6 s is used up after 54 s; it is never cut below half."""
    pace = _pace(Budget(minutes=1))
    assert pace.fraction(Counters(seconds=27, validation_cost=6)) == pytest.approx(0.5)
    assert pace.is_over(Counters(seconds=54, validation_cost=6))
    assert pace.fraction(Counters(seconds=15, validation_cost=1000)) == pytest.approx(0.5)


def test_patience_ends_a_run() -> None:
    """After as many validations without gain as asked for."""
    pace = _pace(Budget(steps=1000), patience=3)
    assert not pace.is_over(Counters(step=10, without_gain=2))
    assert pace.is_over(Counters(step=10, without_gain=3))


def test_averaging_begins_once_and_no_new_best_ends_it() -> None:
    """At the second validation in a row without gain, or after a share of the budget, whichever comes first."""
    config = TrainingConfig(average_after=2, average_from=0.8)
    counters, since = Counters(), []
    for step, nats in enumerate([3.0, 2.0, 2.5, 2.0, 1.0, 2.0, 2.0], start=1):
        counters.step = step
        counters.take(None, nats)
        counters.trigger(config, 0.1 * step)
        since.append(counters.averaging_since)
    assert since == [None, None, None, 4, 4, 4, 4]
    assert (counters.best_nats, counters.best_step) == (1.0, 5)
    late = Counters(step=9)
    late.take(None, 1.0)
    for fraction, expected in ((0.79, None), (0.8, 9), (0.9, 9)):
        late.trigger(config, fraction)
        assert late.averaging_since == expected
    for never, training in ((Counters(without_gain=2), config), (Counters(without_gain=99), TrainingConfig())):
        never.trigger(training, 1.0)
        assert never.averaging_since is None


def test_patience_waits_for_a_mean_that_is_sure_to_come() -> None:
    """Validations count against it once the mean has begun; from the beginning where a trigger may end the waiting."""
    pace, config = _pace(Budget(steps=1000), patience=2), TrainingConfig(average_from=0.5)
    waiting, watched = Counters(), Counters()
    for step, over in ((100, False), (300, False), (400, False), (600, False), (700, False), (800, True)):
        for counters, training in ((waiting, config), (watched, replace(config, average_after=9))):
            counters.step = step
            counters.take(None, 1.0)
            counters.trigger(training, pace.fraction(counters))
        assert pace.is_out_of_patience(waiting) == over
        assert pace.is_out_of_patience(watched) == (step >= 400)
    assert waiting.averaging_since == 600


@pytest.mark.parametrize("average", [0.0, 0.3])
def test_a_triggered_average_is_the_plain_mean_of_what_came_after(average: float) -> None:
    """Moved by the shares, a number becomes the mean of its values since; before, and in the step after which it
    begins, it follows as --average says."""
    config = TrainingConfig(average=average, average_after=3)
    values = np.random.default_rng(0).normal(size=31)
    averaged = values[0]
    for step in range(1, 31):
        since = 13 if step > 13 else None
        averaged += averaging_share(config, step, step / 40, since) * (values[step] - averaged)
        if since is not None:
            assert averaged == pytest.approx(values[14 : step + 1].mean())
        elif not average:
            assert averaged == pytest.approx(values[step])
    assert averaging_share(config, 13, 0.3, since=13) == averaging_share(config, 13, 0.3)


def test_a_trigger_that_cannot_come_is_refused() -> None:
    """Where nothing is validated, and where patience ends before it."""
    check_trigger(TrainingConfig(), RunConfig(patience=1), 0)
    check_trigger(TrainingConfig(average_after=3), RunConfig(patience=4), 10)
    check_trigger(TrainingConfig(average_from=0.5), RunConfig(), 0)
    with pytest.raises(UsageError, match="nothing is held out"):
        check_trigger(TrainingConfig(average_after=3), RunConfig(), 0)
    with pytest.raises(UsageError, match="--patience 3"):
        check_trigger(TrainingConfig(average_after=3), RunConfig(patience=3), 10)


def test_a_run_says_when_its_mean_begins_and_what_has_learned_already_has_none(
    command: Command, text_file: Callable[..., Path]
) -> None:
    """A text that is read 20 times is averaged in its last quarter; with weights that have learned its rate falls."""
    run = ("train", str(text_file(3000, "text.txt")), "--hidden", "8", "--epochs", "20", "--threads", "1")
    began = command(*run, "--out", "new")
    assert began.status == 0, began.err
    steps = load(Path("new") / "last.safetensors", with_state=True).training["counters"]
    assert 0.7 < steps["averaging_since"] / steps["step"] < 0.8
    assert f"the weights are averaged from step {steps['averaging_since'] + 1:,} on" in " ".join(began.err.split())
    tuned = command(*run, "--out", "tuned", "--init-from", "new", "--dry-run")
    assert "learning rate 0.012 (linear decay)" in " ".join(tuned.err.split())
