"""Where a run stands: its figures by hand, the sums they come from, and the signals that end it."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from functools import partial
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from charrnn.cli import signals
from charrnn.cli.leaving import POLITE
from charrnn.cli.signals import StopOnSignal, leaving_on_signals
from charrnn.cli.training import _heard
from charrnn.display.progress import TrainingDisplay
from charrnn.events import Finished, Progress, Trend
from charrnn.settings.config import Budget
from charrnn.settings.run import RunConfig
from charrnn.training.distributed import ALONE, World
from charrnn.training.lanes import Ring
from charrnn.training.pace import Counters, Pace
from charrnn.training.standing import finished, place, progress_of
from charrnn.training.tally import StepSums, load_tallies, tally_arrays

CPU = torch.device("cpu")
RING = Ring(np.zeros(1000, np.uint8), lanes=3, window=7)


def _pace(budget: Budget | None = None, patience: int | None = None) -> Pace:
    return Pace(budget or Budget(steps=40), RunConfig(patience=patience), RING, 50)


# Figures.


def test_the_place_by_hand() -> None:
    """Five steps of three lanes and seven characters: 105 of 1,000 characters."""
    expected = {"step": 5, "epoch": 0.105, "characters": 105, "seconds": 2.346}
    assert place(Counters(step=5, seconds=2.3456, position=35), RING) == expected
    counted = Counters(step=5, seconds=2.3456, position=31)
    assert place(counted, RING) == {**expected, "epoch": 0.093, "characters": 93}
    counted.advance(4)
    assert (counted.step, counted.position) == (6, 35)
    assert place(Counters(), RING) == {"step": 0, "epoch": 0.0, "characters": 0, "seconds": 0.0}


def test_progress_by_hand() -> None:
    """An eighth of the budget took two seconds, so that fourteen are left."""
    means = {"nats": 1.5, "gradient_norm": 0.25, "clip_rate": 0.5, "skipped": 1.0}
    assert progress_of(Counters(step=5, seconds=2.0, position=35), _pace(), means, 0.01) == Progress(
        step=5,
        epoch=0.105,
        characters=105,
        fraction=0.125,
        seconds=2.0,
        seconds_left=14.0,
        train_nats=1.5,
        learning_rate=0.01,
        gradient_norm=0.25,
        characters_per_second=52.5,
    )


def test_seconds_in_which_nothing_was_trained_are_in_no_speed() -> None:
    """A teacher read the text for 18 of 20 seconds: the rest takes 14 more, as without it. In a budget of minutes the
    teacher has used some, too."""
    means = {"nats": 1.5, "gradient_norm": 0.25}
    counters = Counters(step=5, seconds=20.0, position=35)
    said = progress_of(counters, _pace(), means, 0.01, apart=18.0)
    assert (said.seconds, said.seconds_left, said.characters_per_second) == (20.0, 14.0, 52.5)
    timed = Pace(Budget(minutes=1), RunConfig(), RING, 0)
    said = progress_of(counters, timed, means, 0.01, apart=18.0)
    assert (said.fraction, said.seconds_left, said.characters_per_second) == (
        pytest.approx(1 / 3),
        pytest.approx(40),
        52.5,
    )


def test_progress_at_the_start_and_at_the_end() -> None:
    """Before anything is done nothing can be said of the time that is left; at the end there is none."""
    means = {"nats": 0.0, "gradient_norm": 0.0}
    first = progress_of(Counters(), _pace(), means, 0.0)
    assert (first.fraction, first.seconds_left, first.characters_per_second) == (0.0, math.inf, 0.0)
    last = progress_of(Counters(step=40, seconds=9.0, position=280), _pace(), means, 0.0)
    assert (last.fraction, last.seconds_left) == (1.0, 0.0)


def test_the_end_by_hand() -> None:
    """Counters as they are; of the history the last validation."""
    history: list[list[float | None]] = [[30, 1.5, 1.25], [40, 1.4, 1.375]]
    counters = Counters(step=40, seconds=9.5, position=280, best_nats=1.25, best_step=30, history=history)
    counters.without_gain = 1
    assert finished(counters, _pace(), skipped=2, signal=None) == Finished(
        reason="budget",
        step=40,
        characters=840,
        seconds=9.5,
        validation_nats=1.375,
        best_nats=1.25,
        best_step=30,
        skipped=2,
        signal=None,
        epoch=0.84,
        trend=Trend("flat", -0.125, 30),
    )
    nothing = finished(Counters(), _pace(), skipped=0, signal=None)
    assert (nothing.validation_nats, nothing.best_nats, nothing.characters) == (None, None, 0)


@pytest.mark.parametrize(
    ("without_gain", "number", "reason"),
    [(0, None, "budget"), (1, None, "budget"), (2, None, "patience"), (0, 15, "signal"), (2, 15, "signal")],
)
def test_why_a_run_ended(without_gain: int, number: int | None, reason: str) -> None:
    """A signal before patience, patience before the budget."""
    ended = finished(Counters(without_gain=without_gain), _pace(patience=2), skipped=0, signal=number)
    assert (ended.reason, ended.signal) == (reason, number)


# Sums.


def _tally(*reports: tuple[float, float, float, float]) -> StepSums:
    """Of steps: loss, gradient norm, whether clipped, whether skipped."""
    tally = StepSums(CPU)
    for report in reports:
        tally.add(torch.tensor(report))
    return tally


def test_a_shorter_window_counts_less_in_the_mean_loss() -> None:
    """A quarter of a window at 3 nats and one of the usual length at 2: 2.75 / 1.25; norms are those of steps."""
    tally = StepSums(CPU)
    tally.add(torch.tensor([3.0, 0.5, 0.0, 0.0]), 0.25)
    tally.add(torch.tensor([2.0, 1.5, 1.0, 0.0]))
    assert tally.means() == {"nats": 2.2, "gradient_norm": 1.0, "clip_rate": 0.5, "skipped": 0.0}
    loaded = StepSums(CPU)
    loaded.load(tally.to_numpy())
    assert (loaded.means(), loaded.steps) == (tally.means(), 2)


def test_a_skipped_step_counts_in_no_mean_norm() -> None:
    """Its loss was measured and counts; a norm it has none."""
    tally = _tally((3.0, 0.5, 0.0, 0.0), (2.0, 0.0, 0.0, 1.0), (1.0, 2.5, 1.0, 0.0), (4.0, 0.0, 0.0, 1.0))
    assert tally.means() == {"nats": 2.5, "gradient_norm": 1.5, "clip_rate": 0.25, "skipped": 2.0}
    assert tally.steps == 4


def test_where_every_step_was_skipped_there_is_no_norm() -> None:
    """Zero, as after no step at all, and no division by it."""
    assert _tally((3.0, 0.0, 0.0, 1.0)).means() == {
        "nats": 3.0, "gradient_norm": 0.0, "clip_rate": 0.0, "skipped": 1.0
    }  # fmt: skip
    nothing = {"nats": 0.0, "gradient_norm": 0.0, "clip_rate": 0.0, "skipped": 0.0}
    assert _tally().means() == nothing
    tally = _tally((3.0, 1.0, 1.0, 0.0))
    tally.clear()
    assert (tally.means(), tally.steps) == (nothing, 0)


def test_a_bad_step_is_seen_in_the_means() -> None:
    """One loss that is not a number among many is what the run looks for."""
    assert math.isnan(_tally((3.0, 1.0, 0.0, 0.0), (math.nan, 1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)).means()["nats"])
    assert math.isinf(_tally((3.0, math.inf, 1.0, 0.0), (1.0, 1.0, 0.0, 0.0)).means()["gradient_norm"])


def test_sums_go_out_and_in() -> None:
    """Bit for bit, though tenths are not exact: a resumed sum is the sum."""
    steps = [(0.1 * n, 0.3 * n, float(n % 3 == 0), float(n % 5 == 0)) for n in range(11)]
    first, second, whole = _tally(*steps[:7]), StepSums(CPU), _tally(*steps)
    saved = first.to_numpy()
    assert saved.shape == (6,)
    assert saved.dtype == np.float64
    second.load(saved)
    assert second.steps == 7
    for step in steps[7:]:
        second.add(torch.tensor(step))
    assert second.means() == whole.means()
    assert second.to_numpy().tolist() == whole.to_numpy().tolist()


def test_tallies_in_a_checkpoint() -> None:
    """All in one array, in their order; of another number of them is an error."""
    tallies = [_tally((3.0, 1.0, 0.0, 0.0)), _tally((2.0, 0.5, 1.0, 0.0), (1.0, 0.0, 0.0, 1.0))]
    saved = tally_arrays(tallies, ALONE)
    assert saved["tally"].tolist() == [[3.0, 1.0, 0.0, 0.0, 1.0, 1.0], [3.0, 0.5, 1.0, 1.0, 2.0, 2.0]]
    loaded = [StepSums(CPU), StepSums(CPU)]
    load_tallies(loaded, saved, ALONE)
    assert [tally.means() for tally in loaded] == [tally.means() for tally in tallies]
    shorter = {"tally": saved["tally"][:, 1:]}
    for wrong, error in (({"tally": saved["tally"][:1]}, ValueError), ({}, KeyError), (shorter, RuntimeError)):
        with pytest.raises(error):
            load_tallies(loaded, wrong, ALONE)


def test_of_several_processes_the_first_takes_the_loss_over() -> None:
    """The saved loss is the sum of all ranks' shares: loaded by each, it must not be there twice."""
    saved = _tally((3.0, 1.0, 1.0, 0.0)).to_numpy()
    shares = []
    for rank in range(2):
        tally = StepSums(CPU)
        tally.load(saved, World(rank, 2))
        shares.append(tally.to_numpy().tolist())
    assert shares == [[3.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]]


# Signals.

INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that goes on when it is told to; afterwards the process's handlers are what they were."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    before = [signal.getsignal(number) for number in POLITE]
    yield now
    assert [signal.getsignal(number) for number in POLITE] == before


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("number", POLITE, ids=lambda number: number.name)
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    """And what came first is the answer, whatever follows."""
    with StopOnSignal() as stop:
        assert stop() is None
        signal.raise_signal(number)
        assert stop() == number
        signal.raise_signal(TERM)
        assert stop() == number


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("first", POLITE, ids=lambda number: number.name)
def test_a_second_ctrl_c_stops_at_once(first: signal.Signals) -> None:
    """Where nothing is said about signals that come twice, even in the same moment."""
    with StopOnSignal() as stop:
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
        assert stop() == first


@pytest.mark.parametrize("first", [INT, TERM], ids=lambda number: number.name)
def test_within_the_time_a_second_is_the_same(first: signal.Signals, clock: SimpleNamespace) -> None:
    """torchrun passes on what the terminal has sent to all; what comes later is a second wish."""
    with StopOnSignal(deaf=2.0) as stop:
        signal.raise_signal(first)
        for seconds in (0.0, 0.5, 1.25):
            clock.seconds = 100.0 + seconds
            signal.raise_signal(INT)
            signal.raise_signal(TERM)
        assert stop() == first
        clock.seconds = 102.5
        signal.raise_signal(TERM)  # other than by Ctrl-C nothing is stopped at once
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
        assert stop() == first


def test_the_time_begins_with_the_first(clock: SimpleNamespace) -> None:
    """Not with the last that was taken for it, nor when the context was entered."""
    with StopOnSignal(deaf=2.0):
        clock.seconds = 150.0
        signal.raise_signal(INT)
        clock.seconds = 151.75
        signal.raise_signal(INT)
        clock.seconds = 152.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("number", "offers_more"), [(INT, True), (TERM, False)])
def test_what_is_said_once(number: signal.Signals, offers_more: bool) -> None:
    """That it was heard, and what Ctrl-C would do; nothing at all where the run is quiet."""
    for quiet in (False, True):
        out, err = StringIO(), StringIO()
        with TrainingDisplay(out, err, quiet=quiet) as display:
            display.tell("a line")
            with StopOnSignal(partial(_heard, display), deaf=2.0):
                signal.raise_signal(number)
                signal.raise_signal(number)
        assert out.getvalue() == ""
        assert err.getvalue().count("finishing this step and saving") == (not quiet)
        assert ("Ctrl-C again" in err.getvalue()) == (offers_more and not quiet)


@pytest.mark.parametrize("number", POLITE, ids=lambda number: number.name)
def test_a_signal_that_was_ignored_stays_so(number: signal.Signals) -> None:
    """As `nohup` has SIGHUP, and a shell Ctrl-C for what runs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopOnSignal() as stop, leaving_on_signals():
            signal.raise_signal(number)
            assert stop() is None
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
