"""Signals at random moments: while the program starts, reads, trains, validates, samples, saves and ends.

A third of the trials start a real process, the others a fork that has imported torch. Some have nobody to read what
they write; some get a second signal; some are stopped for a while and go on. Python itself answers a signal that comes
before the program's first line, which is seen from the signals that the process catches (Linux).

The five seconds do not count the time in which the process' main thread could have run and had no core.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from charrnn.checkpoints import checkpoint as checkpoints
from tests.campaign.campaign import Campaign
from tests.kit.command import Result
from tests.kit.forked import ROOT, Job, Signalled, full_pipe, run_signalled, waited_for_cores
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

WITHIN = 5.0
POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRAIN = (
    "train ../text.txt --hidden 8 --embedding 4 --batch 4 --bptt 16 --threads 1 --steps 120 --log-every 5 "
    "--validate-every 20 --sample-every 15 --sample-length 200 --save-every 0.05 --out run"
).split()
OTHERS = (
    "sample -c ../whole --length 100000000 --threads 1",
    "eval ../long.txt -c ../whole --threads 1 --device cpu",
    "inspect ../long.txt -c ../whole --find",
    "inspect ../long.txt -c ../whole --gates",
)
KEPT = {".lock", "config.json", "last.safetensors", "best.safetensors", "metrics.jsonl", "samples.txt"}
_BEGUN = 0.1
"""Seconds after which a fork has surely come to the program's first line."""
_HANGS = 60.0


class Prepared(NamedTuple):
    """What trials share: a folder with texts and the uninterrupted run, and how long that took, in seconds."""

    folder: Path
    forked: float
    started: float


class Attack(NamedTuple):
    """The signals of a trial, and whether anybody reads."""

    numbers: tuple[int, ...]
    later: float
    """Seconds from the first signal to the second."""
    is_unread: bool
    room: int
    """Bytes that go into the pipe that nobody reads."""


def _environment(folder: Path) -> dict[str, str]:
    cache = {"CHARRNN_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **cache}


def _prepare(folder: Path) -> Prepared:
    (folder / "text.txt").write_text(make_text(4000), "utf-8")
    (folder / "long.txt").write_text(make_text(200_000), "utf-8")
    (folder / "first").mkdir()
    seconds = []
    for _ in range(2):  # the second finds the text in the cache, as trials do
        shutil.rmtree(folder / "first" / "run", ignore_errors=True)
        began = time.monotonic()
        (ended,) = run_signalled([Job(["charrnn", *TRAIN], folder / "first", _environment(folder))])
        seconds.append(time.monotonic() - began)
        assert ended.result.status == 0, ended.result.err
    (folder / "first" / "run").rename(folder / "whole")
    began = time.monotonic()
    words = [sys.executable, "-m", "charrnn", *TRAIN, "--dry-run"]
    subprocess.run(words, cwd=folder / "first", env=_environment(folder), check=True, capture_output=True)
    return Prepared(folder, seconds[-1], time.monotonic() - began)


def _trial(prepared: Prepared, seed: int, _folder: Path) -> str | None:
    draw = random.Random(seed)
    folder = prepared.folder / f"trial-{seed}"
    folder.mkdir()
    try:
        return next(_failures(prepared, draw, folder), None)
    finally:
        shutil.rmtree(folder)


def _failures(prepared: Prepared, draw: random.Random, folder: Path) -> Iterator[str]:
    is_start = draw.random() < 1 / 3
    words = TRAIN if draw.random() < 0.75 else draw.choice(OTHERS).split()
    share, kind = draw.random() * 1.1, draw.random()
    first = draw.choice(POLITE)
    numbers = (first,) if draw.random() < 0.75 else (first, draw.choice(POLITE))
    attack = Attack(numbers, draw.random() ** 2, is_unread=draw.random() < 1 / 3, room=4096 * draw.randrange(3))
    goes_on = draw.random() < 0.5
    if is_start:
        yield from _started(words, prepared, attack, folder, share * prepared.started)
    elif kind < 0.1:
        yield from _suspended(prepared, folder, share * prepared.forked, draw.random() * 0.3)
        return
    else:
        more = [(number, attack.later) for number in numbers[1:]]
        (ended,) = run_signalled(
            [
                Job(
                    ["charrnn", *words], folder, _environment(prepared.folder), signal=first, more=more,
                    after=share * prepared.forked, is_unread=attack.is_unread, room=attack.room,
                )
            ]
        )  # fmt: skip
        yield from _ended_badly(ended, attack, share * prepared.forked)
    if words is TRAIN:
        yield from _lost(folder, prepared, goes_on)


def _ended_badly(ended: Signalled, attack: Attack, after: float) -> Iterator[str]:
    """Yields what is wrong with how a process ended."""
    (status, _, said), names = ended.result, [signal.Signals(number).name for number in attack.numbers]
    told = f"{' and '.join(names)}{', unread' if attack.is_unread else ''}"
    may_end_before = not attack.is_unread or attack.room > 0  # where all it writes has room, nothing holds it
    expected = {128 + number for number in attack.numbers} | ({0} if may_end_before else set())
    if after < _BEGUN and (status == 1 or -status in attack.numbers):
        return
    if status not in expected:
        yield f"status {status} after {told}: {said[-300:]!r}"
    if "Traceback" in said or "Exception ignored" in said:
        yield f"a traceback after {told}: {said[-300:]!r}"
    if ended.lasted is not None and ended.lasted - ended.waited > WITHIN:
        yield f"{ended.lasted:.1f} s after {told}, {ended.waited:.1f} of them without a core"


def _started(words: list[str], prepared: Prepared, attack: Attack, folder: Path, after: float) -> Iterator[str]:
    """Yields what is wrong with how a real process ends that gets its signals early."""
    full = full_pipe(attack.room) if attack.is_unread else None
    with open(folder.with_suffix(".err"), "w+b") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "charrnn", *words], cwd=folder, env=_environment(prepared.folder),
            stdin=subprocess.DEVNULL, stdout=full or subprocess.DEVNULL, stderr=full or said,
            preexec_fn=_heeding, close_fds=True,
        )  # fmt: skip
        time.sleep(after)
        is_ours, sent, waited = False, time.monotonic(), waited_for_cores(process.pid)
        for place, number in enumerate(attack.numbers):
            if place:
                time.sleep(attack.later)
            is_ours |= _is_heeding(process.pid)
            os.kill(process.pid, number)  # until it is waited for, its number is not another's
        try:
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() - sent - (waited_for_cores(process.pid) - waited) > _HANGS:
                    break
                time.sleep(0.005)
            lasted, waited = time.monotonic() - sent, waited_for_cores(process.pid) - waited
        finally:
            process.kill()
            status = process.wait()
            if full is not None:
                os.close(full)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    folder.with_suffix(".err").unlink()
    if not is_ours and (status == 1 or -status in attack.numbers or (status == -signal.SIGKILL and attack.is_unread)):
        return  # Python had not come to the first line, and may wait for a reader of its traceback for ever
    yield from _ended_badly(Signalled(Result(status, "", text), lasted, waited), attack, _BEGUN)


def _heeding() -> None:
    """In a new process: a shell lets what runs in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_heeding(process: int) -> bool:
    """Whether a process catches SIGTERM, the last of the signals that the program's first lines take over."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")), 0)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _suspended(prepared: Prepared, folder: Path, after: float, pause: float) -> Iterator[str]:
    """Yields what is wrong with a run that is stopped for a while and goes on."""
    (ended,) = run_signalled(
        [
            Job(
                ["charrnn", *TRAIN], folder, _environment(prepared.folder), signal=signal.SIGSTOP, after=after,
                more=[(signal.SIGCONT, pause)],
            )
        ]
    )  # fmt: skip
    if ended.result.status or "Traceback" in ended.result.err:
        yield f"status {ended.result.status} after SIGSTOP and SIGCONT: {ended.result.err[-300:]!r}"
    assert_same_run(folder / "run", prepared.folder / "whole")


def _lost(folder: Path, prepared: Prepared, goes_on: bool) -> Iterator[str]:
    """Yields what is wrong with what a training run leaves; `goes_on` to its end, which is compared."""
    run = folder / "run"
    if run.exists():
        if left := {path.name for path in run.iterdir()} - KEPT:
            yield f"left over: {sorted(left)}"
        if (run / "last.safetensors").exists():
            checkpoints.load(run / "last.safetensors", with_state=True)
    if not goes_on:
        return
    (ended,) = run_signalled([Job(["charrnn", *TRAIN], folder, _environment(prepared.folder))])
    if ended.result.status:
        yield f"going on ends with {ended.result.status}: {ended.result.err[-300:]!r}"
    else:
        assert_same_run(run, prepared.folder / "whole")


CAMPAIGNS = {
    "signals": Campaign(
        summary="SIGINT, SIGTERM or SIGHUP at a random moment, the start included, and with nobody to read: the "
        "program ends in 5 seconds with the signal's status and no traceback, and a run goes on to equal bytes.",
        prepare=_prepare,
        trial=_trial,
        in_suite=4,
    )
}
