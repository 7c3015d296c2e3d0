"""Forecasts are corrected once, and a crowded machine is noticed, with made-up clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.events import Event, Progress, Sampled
from charrnn.settings.config import Budget, ModelConfig
from charrnn.training.above import explains_train
from charrnn.training.contention import Contention, Reading, read, threads_left
from charrnn.training.watch import Forecast, Watch

_BUDGET = Budget(minutes=10)
SAID = "other programs use these cores; --threads 1 may be faster"


def _progress(seconds: float, rate: float, *, step: int | None = None, fraction: float = 0.1) -> Progress:
    return Progress(
        step=round(seconds * 10) if step is None else step, epoch=0.0, characters=round(rate * seconds),
        fraction=fraction, seconds=seconds, seconds_left=1.0, train_nats=1.0, learning_rate=0.1, gradient_norm=1.0,
        characters_per_second=rate,
    )  # fmt: skip


def _said(watch: Watch, events: list[Event]) -> list[str]:
    return [said for event in events for said in watch(event)]


def test_a_forecast_is_corrected_once() -> None:
    """After five seconds of measurement, and never again: 8,200 characters a second are 4.9 million in ten minutes."""
    watch = Watch(Forecast(32e6, 2_460_000, _BUDGET), None)
    events: list[Event] = [Sampled(1, "x"), *(_progress(seconds / 2, 8200) for seconds in range(1, 40))]
    assert _said(watch, events[:11]) == []
    assert _said(watch, events[11:]) == [
        "the run reads 8,200 characters a second: that makes about 4.9 million characters (2 epochs) in 10 minutes, "
        "not 32 million"
    ]


@pytest.mark.parametrize(
    ("rate", "is_said"), [(7900, True), (8100, False), (10000, False), (12400, False), (12600, True)]
)
def test_a_quarter_is_tolerated(rate: float, is_said: bool) -> None:
    """Ten thousand characters a second were expected."""
    watch = Watch(Forecast(6e6, 1_000_000, _BUDGET), None)
    assert bool(_said(watch, [_progress(1, rate), _progress(7, rate)])) == is_said


def test_slow_steps_and_short_runs_are_not_judged() -> None:
    """Two steps say little, and past the middle of a run a forecast is of no use."""
    forecast = Forecast(6e6, 1_000_000, _BUDGET)
    assert _said(Watch(forecast, None), [_progress(1, 9, step=1), _progress(99, 9, step=3)]) == []
    assert _said(Watch(forecast, None), [_progress(1, 9), _progress(9, 9, fraction=0.6)]) == []
    assert _said(Watch(None, None), [_progress(1, 9), _progress(9, 9)]) == []


def test_a_run_that_goes_on_is_measured_from_where_it_goes_on() -> None:
    """What was read before, at another speed, does not count."""
    watch = Watch(Forecast(6e6, 1_000_000, _BUDGET), None)
    assert _said(watch, [_progress(100, 9), _progress(106, 9 * 100 / 106 + 10_000 * 6 / 106)]) == []


def _readings(own: float, others: float, cores: int = 2) -> list[Reading]:
    """Two seconds apart; `own` and `others` are cores used."""
    return [
        Reading(2.0 * n, own * 2 * n, cores, (own + others) * 2 * n, max(0.0, cores - own - others) * 2 * n)
        for n in range(12)
    ]


@pytest.mark.parametrize(
    ("own", "others", "cores", "threads", "left"),
    [
        (2.0, 0.0, 2, 2, None),  # alone
        (1.9, 0.1, 2, 2, None),  # what a system does by itself
        (1.0, 1.0, 2, 2, 1),  # a busy loop beside
        (1.4, 0.6, 2, 2, 1),
        (1.0, 0.6, 2, 2, None),  # there is room
        (4.0, 4.0, 16, 4, None),
        (10.0, 6.0, 16, 16, 10),
        (1.0, 7.0, 8, 2, 1),
        (1.0, 1.0, 2, 1, None),  # fewer than one thread there are not
    ],
)
def test_what_fits_beside_other_programs(own: float, others: float, cores: int, threads: int, left: int | None) -> None:
    """As Linux tells it: the cores are full, and a quarter of one or more is not ours."""
    first, second, *_ = _readings(own, others, cores)
    assert threads_left(first, second, threads) == left


@pytest.mark.parametrize(("own", "load", "left"), [(2.0, 4.0, None), (1.0, 2.2, None), (1.0, 3.0, 1), (1.2, 4.0, 1)])
def test_elsewhere_the_load_average_tells(own: float, load: float, left: int | None) -> None:
    """More programs want the cores than there are, and our threads do not get what they could use."""
    first = Reading(0.0, 0.0, 2, load=load)
    assert threads_left(first, Reading(5.0, own * 5, 2, load=load), 2) == left


def test_crowded_cores_are_told_once_and_only_when_it_lasts() -> None:
    """Two windows in a row; a burst between quiet windows is not told, nor is a quiet machine."""
    events: list[Event] = [_progress(second, 1000) for second in range(11)]
    crowded = iter(_readings(1.0, 1.0))
    assert _said(Watch(None, Contention(2, lambda: next(crowded))), events) == [SAID]
    quiet = iter(_readings(2.0, 0.0))
    assert _said(Watch(None, Contention(2, lambda: next(quiet))), events) == []
    burst = [*_readings(2.0, 0.0)[:4], Reading(8.0, 10.0, 2, 15.0, 0.0)]
    burst += [Reading(8.0 + 2 * n, 10.0 + 4 * n, 2, 15.0 + 4 * n, 0.0) for n in range(1, 7)]
    sudden = iter(burst)
    assert _said(Watch(None, Contention(2, lambda: next(sudden))), events[:10]) == []
    assert Contention(1, lambda: pytest.fail("one thread needs no advice"))() is None


def test_a_run_that_bends_says_so_and_corrects_its_forecast_again() -> None:
    """Ten thousand characters a second were expected and read, until another program takes a core."""

    def watch() -> Watch:
        later = [Reading(8.0 + 2 * n, 14.0 + n, 2, 14.0 + 4 * n, 0.0) for n in range(20)]
        crowded = iter([*_readings(2.0, 0.0)[:4], *later])
        return Watch(Forecast(6e6, 1_000_000, _BUDGET), Contention(2, lambda: next(crowded)), bends=True)

    rates = [10_000] * 7 + [4_000] * 13
    events: list[Event] = [_progress(n, sum(rates[:n]) / max(n, 1)) for n in range(len(rates))]
    said = ["other programs use these cores; the run computes with what they leave, and forecasts follow"]
    assert _said(watch(), events[:11]) == said
    assert _said(watch(), events) == [
        *said,
        "the run reads 4,000 characters a second: that makes about 2.4 million characters (2.4 epochs) in 10 minutes, "
        "not 6 million",
    ]


def test_the_machine_is_read(tmp_path: Path) -> None:
    """Of the cores that this process may use; without a file of that kind, or with nonsense in it, nothing is known."""
    cores = read().cores
    lines = ["cpu  1 1 1 1 1 1 1 1 0 0", *(f"cpu{n} 100 0 200 300 400 0 0 0 0 0" for n in range(512)), "intr 5"]
    stat = tmp_path / "stat"
    stat.write_text("\n".join(lines))
    known = read(stat)
    assert known.busy == pytest.approx(3 / 7 * known.idle)
    assert known.busy is not None
    assert known.busy / cores == pytest.approx(read(stat).idle / cores * 3 / 7)
    for content in ("", "cpu0 a b", "cpuX"):
        stat.write_text(content)
        assert read(stat).busy is None
    assert read(tmp_path / "none").busy is None


@pytest.mark.parametrize(
    ("changed", "history", "is_explained"),
    [
        ({"dropout": 0.1}, [[1, 2.0, 1.5]], True),
        ({"zoneout": 0.1}, [[1, 2.0, 2.5], [2, 2.0, 1.5]], True),
        ({}, [[1, 2.0, 1.5]], False),
        ({"dropout": 0.1}, [[1, 2.0, 2.5]], False),
        ({"dropout": 0.1}, [[1, 2.0, 1.5], [2, 2.0, 1.5]], False),
        ({"dropout": 0.1}, [[1, None, 1.5]], False),
        ({"dropout": 0.1}, [[1, 2.0, None]], False),
        ({"dropout": 0.1}, [], False),
    ],
)
def test_train_above_validation_is_explained_once(
    changed: dict[str, float], history: list[list[float | None]], is_explained: bool
) -> None:
    """At the first validation below the training loss, in a run with dropout."""
    assert explains_train(ModelConfig(**changed), history) == is_explained  # type: ignore[arg-type]
