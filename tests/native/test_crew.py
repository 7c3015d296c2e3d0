"""Threads that share a job: every piece once, whoever comes late, and as many threads as pay."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ctypes import c_int32, c_int64, c_uint64, c_void_p

import pytest

from charrnn.native import crew, step, window
from charrnn.native.cores import available_cores
from charrnn.native.crew import keep_all_threads, most_threads, record, set_most_threads
from charrnn.native.loader import search

LIBRARIES = [
    found.library
    for found in (
        search(step.STEM, "charrnn_version", step.VERSION),
        search(window.STEM, "charrnn_recurrence_version", window.VERSION),
    )
    if found.library is not None
]
pytestmark = pytest.mark.skipif(not LIBRARIES, reason="nothing was compiled here")
PIECE = ctypes.CFUNCTYPE(None, c_void_p, c_int32)
MILLISECOND = 1_000_000


@pytest.fixture(params=LIBRARIES, ids=["step", "recurrence"][: len(LIBRARIES)])
def library(request: pytest.FixtureRequest) -> Iterator[ctypes.CDLL]:
    """Each library has a crew of its own."""
    found: ctypes.CDLL = request.param
    yield found
    keep_all_threads(found, False)


def _run(library: ctypes.CDLL, piece: Callable[[int], None], pieces: int, threads: int, kind: int = 1) -> None:
    called = PIECE(lambda _, number: piece(number))
    library.charrnn_crew_run(called, None, c_int32(pieces), c_int32(threads), c_uint64(kind))


@contextlib.contextmanager
def _another_job(library: ctypes.CDLL) -> Iterator[None]:
    """Another thread of this process is in the middle of a job while the context lasts."""
    is_in, may_go = threading.Event(), threading.Event()

    def held(_: int) -> None:
        is_in.set()
        assert may_go.wait(60)

    other = threading.Thread(target=_run, args=(library, held, 2, 2))
    other.start()
    assert is_in.wait(60)
    try:
        yield
    finally:
        may_go.set()
        other.join()


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64, 1000])
def test_every_piece_is_done_once(library: ctypes.CDLL, threads: int) -> None:
    """Whatever their number is to that of the threads."""
    for pieces in (0, 1, 2, 3, 5, 64, 201):
        done: list[int] = []
        _run(library, done.append, pieces, threads, kind=pieces + 1)
        assert sorted(done) == list(range(pieces))


def test_a_thread_that_is_late_holds_up_its_own_piece_only(library: ctypes.CDLL) -> None:
    """The others' pieces are all done when the last one is: they were not left for who came late."""
    keep_all_threads(library)
    late = threading.Event()
    done: list[int] = []

    def piece(number: int) -> None:
        if number == 0 and not late.wait(60):
            raise TimeoutError
        done.append(number)
        if len(done) == 19:
            late.set()

    for _ in range(20):
        late.clear()
        done.clear()
        _run(library, piece, 20, 2)
        assert sorted(done) == list(range(20))
        assert done[-1] == 0


def test_a_thread_that_does_not_pay_is_given_up_and_comes_back(library: ctypes.CDLL) -> None:
    """A thread beside is made slow, as by a program that has its core; then it is not slow any more."""
    owner = threading.get_ident()
    is_slow = True
    beside = 0

    def piece(_: int) -> None:
        nonlocal beside
        if threading.get_ident() == owner:
            time.sleep(0.0002)
            return
        beside += 1
        time.sleep(0.1 if is_slow else 0.0002)  # more than all pieces take alone on a machine that others use

    def until(is_so: Callable[[], bool]) -> bool:
        end = time.monotonic() + 60
        while not is_so():
            if time.monotonic() > end:
                return False
            _run(library, piece, 8, 2, kind=77)
        return True

    def is_alone() -> bool:
        nonlocal beside
        beside = 0
        for _ in range(5):
            _run(library, piece, 8, 2, kind=77)
        return beside == 0

    before = record(library)
    assert until(is_alone)
    assert record(library).seconds_bent > before.seconds_bent
    is_slow = False
    assert until(lambda: not is_alone())


def test_two_callers_do_not_wait_for_each_other(library: ctypes.CDLL) -> None:
    """The second works alone, and is done while the first is not."""
    done: list[int] = []
    with _another_job(library):
        _run(library, done.append, 5, 2)
        assert done == list(range(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_crew_of_its_own(library: ctypes.CDLL) -> None:
    """Also where another thread of the parent was in the middle of a job."""
    with _another_job(library):
        child = os.fork()
        if child == 0:
            met, done = threading.Barrier(2), list[int]()  # both threads must be there at once

            def piece(number: int) -> None:
                met.wait(30)
                done.append(number)

            try:
                keep_all_threads(library)
                _run(library, piece, 2, 2)
            finally:
                os._exit(0 if sorted(done) == [0, 1] else 1)
    assert os.waitpid(child, 0)[1] == 0


_FEW = """
import ctypes, re, resource, sys
library = ctypes.CDLL(sys.argv[1])
done = []
piece = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)(lambda _, number: done.append(number))
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (2 << 20)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
library.charrnn_crew_run(piece, None, 9, 8, ctypes.c_uint64(3))
threads = int(re.search(r"Threads:\\s*(\\d+)", open("/proc/self/status").read())[1])
sys.exit(0 if sorted(done) == list(range(9)) and threads < 8 else 1)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's limits are read in /proc")
def test_where_the_system_makes_no_more_threads_fewer_do_the_work(library: ctypes.CDLL) -> None:
    """There is no memory for the stacks of eight."""
    assert subprocess.run([sys.executable, "-c", _FEW, library._name], check=False, timeout=60).returncode == 0


class _Machine:
    """Jobs on a made-up machine, with a clock that only they move."""

    def __init__(self, library: ctypes.CDLL, cores: int) -> None:
        self._library, self._cores = library, cores
        self._balance = ctypes.create_string_buffer(library.charrnn_balance_bytes())
        self.now = 0
        self.spent: dict[int, int] = {}
        """Nanoseconds of jobs by the number of threads."""

    def work(self, seconds: float, took: Callable[[int], int], *, is_held_up: Callable[[int], bool]) -> None:
        """Jobs one after the other; `took` gives a job's nanoseconds for a number of threads."""
        end = self.now + int(seconds * 1e9)
        while self.now < end:
            threads = self._library.charrnn_balance_choose(self._balance, c_int64(self.now), c_int32(self._cores))
            time_ = took(threads)
            self.now += time_
            self.spent[threads] = self.spent.get(threads, 0) + time_
            note = self._library.charrnn_balance_note
            note(self._balance, c_int64(self.now), c_uint64(5), c_int32(threads), c_int64(time_), is_held_up(threads))

    def share(self, threads: int) -> float:
        """The part of all time that was spent with so many threads."""
        return self.spent.get(threads, 0) / sum(self.spent.values())


def test_cores_that_are_free_are_all_used(library: ctypes.CDLL) -> None:
    """Nothing is tried where nothing is held up."""
    machine = _Machine(library, 4)
    machine.work(10, lambda threads: 8 * MILLISECOND // threads, is_held_up=lambda threads: False)
    assert machine.share(4) == 1


def test_what_does_not_pay_is_left_and_costs_little(library: ctypes.CDLL) -> None:
    """Two threads take five times as long as one: the trials of them cost a few hundredths of the time."""
    machine = _Machine(library, 2)
    machine.work(60, lambda threads: (10, 50)[threads - 1] * MILLISECOND, is_held_up=lambda threads: threads == 2)
    assert machine.share(1) > 0.95


def test_what_pays_in_spite_of_stalls_is_kept(library: ctypes.CDLL) -> None:
    """Two threads are held up now and then, and yet get more of the machine."""
    machine = _Machine(library, 2)
    machine.work(60, lambda threads: (20, 12)[threads - 1] * MILLISECOND, is_held_up=lambda threads: threads == 2)
    assert machine.share(2) > 0.93


def test_a_machine_that_changes_is_followed(library: ctypes.CDLL) -> None:
    """A program comes, and goes after a minute: within some seconds the right number is there."""
    machine = _Machine(library, 2)
    for is_busy in (False, True, False):
        machine.spent = {}
        times = (10, 50) if is_busy else (10, 5)
        machine.work(
            60,
            lambda threads, times=times: times[threads - 1] * MILLISECOND,
            is_held_up=lambda threads, is_busy=is_busy: is_busy and threads == 2,
        )
        assert machine.share(1 if is_busy else 2) > 0.9


@pytest.mark.parametrize(("told", "expected"), [("1", 1), ("1,4", 1), ("0", None), ("", None), ("many", None)])
def test_openmps_variable_is_heard(monkeypatch: pytest.MonkeyPatch, told: str, expected: int | None) -> None:
    """By it torchrun keeps several processes of a machine to a thread each; nonsense in it says nothing."""
    monkeypatch.setattr(crew, "_chosen", [])
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert most_threads() == (expected or min(available_cores(), 64))


def test_the_number_of_threads_is_set_for_the_process() -> None:
    """At least one, and at most as many as the crew has room for."""
    before = most_threads()
    try:
        for given, kept in ((1, 1), (5, 5), (0, 1), (10_000, 64)):
            set_most_threads(given)
            assert most_threads() == kept
    finally:
        set_most_threads(before)
