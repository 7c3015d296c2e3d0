"""Workers do as they are told, busy neighbours are busy, and neither outlives who started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.neighbours import busy, warn_of_others
from tests.benchmarks.workers import ROOT, Worker, WorkerError, in_turn

LOOPS = """
import os, time
calls = []
def counting(threads, *, pause):
    print("a library's own words")
    def loop(length):
        calls.append(length)
        time.sleep(pause * length)
    return loop, {"threads": threads, "word": os.environ.get("A_WORD"), "calls": calls}
def told(threads):
    return len, list(calls)
def failing(threads):
    raise ValueError("no such thing")
def ending(threads):
    os._exit(3)
"""


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    (tmp_path / "loops.py").write_text(LOOPS, "utf-8")
    return tmp_path / "loops.py"


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_counts_its_steps(loops: Path) -> None:
    """What a loop tells comes back, what it prints does not; a step of two milliseconds is done under 500 times a
    second, in even numbers."""
    with Worker(3, environment={"A_WORD": "x"}) as worker:
        told = worker.make(loops, "counting", pause=0.002)
        assert (told["threads"], told["word"]) == (3, "x")
        assert 5 < worker.rate(0.03) < 500
        worker(7)
    assert not _is_alive(worker.pid)
    with Worker() as worker:
        worker.make(loops, "counting", between_looks=0.0, pause=0.0)
        worker.rate(0.0)
        with pytest.raises(WorkerError):
            worker.make(loops, "told")


def test_rounds_turn_round() -> None:
    """Every other round goes backwards, and each has a figure of every round."""
    calls: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def rate(self, seconds: float) -> float:
            calls.append(self.name)
            return float(len(calls))

    rates = in_turn({"a": Fake("a"), "b": Fake("b")}, 3, 0.0)  # type: ignore[dict-item]
    assert "".join(calls) == "abbaab"
    assert rates == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_a_worker_that_fails_says_why(loops: Path) -> None:
    """Its loop's error is told, and it still takes orders; one that ended is told with its status."""
    with Worker() as worker:
        with pytest.raises(WorkerError, match="no such thing"):
            worker.make(loops, "failing")
        worker.make(loops, "counting", pause=0.0)
        with pytest.raises(WorkerError, match="status 3"):
            worker.make(loops, "ending")


def test_neighbours_are_busy_and_then_gone() -> None:
    """Each computes while the context lasts; an error ends them too."""
    with contextlib.suppress(KeyError), busy(2) as processes:
        assert len(processes) == 2
        until = time.monotonic() + 30
        while any(sum(map(int, _times(pid))) < 2 for pid in processes):
            assert time.monotonic() < until
            time.sleep(0.01)
        raise KeyError
    assert not any(map(_is_alive, processes))


def test_other_programs_are_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the load is high, in a line; where it is not, nothing is said."""
    for load, told in ((0.1, 0), (3.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 9.0, 9.0))
        warn_of_others()
        assert len(capsys.readouterr().err.splitlines()) == told


def _times(pid: int) -> list[str]:
    """Ticks that a process computed, for itself and in the system."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_over(number: signal.Signals, loops: Path) -> None:
    """However the parent ends, busy processes and workers end with it."""
    program = f"""
import sys, time
from pathlib import Path
from tests.benchmarks.neighbours import busy
from tests.benchmarks.workers import Worker
with Worker() as worker, busy(1) as processes:
    worker.make(Path({str(loops)!r}), "counting", pause=0.0)
    print(worker.pid, *processes, flush=True)
    time.sleep(100)
"""
    words = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == 2
        assert all(map(_is_alive, processes))
        parent.send_signal(number)
        parent.wait()
    until = time.monotonic() + 30
    while any(map(_is_alive, processes)):
        assert time.monotonic() < until
        time.sleep(0.01)
