"""Proof of exact resume and crash safety, on this machine, through real processes.

    python -m tests.benchmarks.exactness grid        every k in 1..20, for lstm, gru and rnn: stop after step k, resume
    python -m tests.benchmarks.exactness busy        the same with 256 units and all cores, while a busy process beside
                                                     comes and goes: how many threads compute differs from time to time
    python -m tests.benchmarks.exactness kill 50     SIGKILL at 50 random moments of one run, resumed after each

All end by comparing with an uninterrupted run: every tensor bit for bit, metrics.jsonl bar wall-clock fields,
samples.txt byte for byte. Prints a line for each case and exits with 1 at the first difference.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from charrnn.checkpoints import checkpoint as checkpoints
from tests.benchmarks.neighbours import busy
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

ROOT = Path(__file__).parents[2]
INTERRUPT = ROOT / "tests/kit/interrupt.py"


def _charrnn(*arguments: str, interrupt: tuple[str, int] | None = None) -> list[str]:
    if interrupt is None:
        return [sys.executable, "-m", "charrnn", *arguments]
    return [sys.executable, str(INTERRUPT), interrupt[0], str(interrupt[1]), "0", *arguments]


def _run(command: list[str]) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode


@contextlib.contextmanager
def _comes_and_goes() -> Iterator[None]:
    """A busy process is there for a moment and away for a moment, again and again."""
    is_over, pick = threading.Event(), random.Random(0)

    def come_and_go() -> None:
        while not is_over.wait(pick.uniform(0.05, 0.5)):
            with busy(1):
                is_over.wait(pick.uniform(0.05, 0.5))

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def grid(folder: Path, text: Path, size: str = "--hidden 6 --embedding 4 --batch 5 --threads 1") -> None:
    """20 x 3 runs, each stopped by a signal after step k and finished by a second process."""
    for cell in ("lstm", "gru", "rnn"):
        options = (
            f"--cell {cell} --layers 2 {size} --dropout 0.4 --bptt 30 --steps 20 "
            "--log-every 4 --validate-every 7 --sample-every 3 --sample-length 11 --quiet"
        ).split()
        whole = folder / f"{cell}-whole"
        assert _run(_charrnn("train", str(text), "--out", str(whole), *options)) == 0
        for k in range(1, 21):
            cut = folder / f"{cell}-{k}"
            train = ("train", str(text), "--out", str(cut), *options)
            assert _run(_charrnn(*train, interrupt=("SIGTERM", k))) == 128 + signal.SIGTERM
            assert checkpoints.load(cut / "last.safetensors").progress["step"] == k
            assert _run(_charrnn(*train)) == 0
            assert_same_run(cut, whole)
            print(f"{cell}: stopped after step {k:2d}, resumed in a new process: the same bytes", flush=True)


def kill(folder: Path, text: Path, times: int) -> None:
    """One run, killed again and again while it trains and saves (after every step), and finished at last."""
    options = (
        f"--layers 2 --hidden 24 --embedding 8 --dropout 0.3 --batch 5 --bptt 30 --steps {times * 150} --threads 1 "
        "--log-every 1 --save-every 0 --validate-every 20 --sample-every 10 --sample-length 20 --quiet"
    ).split()
    whole, killed = folder / "whole", folder / "killed"
    assert _run(_charrnn("train", str(text), "--out", str(whole), *options)) == 0
    pick = random.Random(0)
    train = _charrnn("train", str(text), "--out", str(killed), *options)
    done = 0
    while done < times:
        before = (killed / "last.safetensors").stat().st_mtime_ns if killed.exists() else 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(train, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not _has_saved_since(killed, before):
            time.sleep(0.005)
        time.sleep(pick.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            raise SystemExit(f"the run ended before it was killed {times} times: give it more steps")
        done += 1
        step = checkpoints.load(killed / "last.safetensors", with_state=True).progress["step"]
        print(f"kill {done:3d}: last.safetensors loads, step {step:,}", flush=True)
    assert _run(train) == 0
    assert_same_run(killed, whole)
    print(f"after {times} kills the finished run has the same bytes as the uninterrupted one")


def _has_saved_since(folder: Path, before: int) -> bool:
    try:
        return (folder / "last.safetensors").stat().st_mtime_ns > before
    except OSError:
        return False


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["CHARRNN_CACHE"] = str(place / "cache")
        corpus = place / "text.txt"
        corpus.write_text(make_text(2000), "utf-8")
        if sys.argv[1:] == ["grid"]:
            grid(place, corpus)
        elif sys.argv[1:] == ["busy"]:
            corpus.write_text(make_text(40_000), "utf-8")
            with _comes_and_goes():
                grid(place, corpus, "--hidden 256 --embedding 32 --batch 16")
        elif len(sys.argv) == 3 and sys.argv[1] == "kill":
            kill(place, corpus, int(sys.argv[2]))
        else:
            raise SystemExit(__doc__)
