"""The real `charrnn train`, run and timed from outside, for the benchmarks of `training.py`.

Knows processes and the lines of metrics.jsonl. Refuses to know what is compared with what.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.checkpoints.folder import BEST, METRICS
from charrnn.checkpoints.metrics import read_metrics

ROOT = Path(__file__).parents[2]

Line = dict[str, Any]
"""Of metrics.jsonl."""


@dataclass(frozen=True, slots=True)
class Command:
    """A finished `charrnn train`."""

    lines: list[Line]
    seconds: float
    """From the start of the command to its end."""
    start: float | None
    """From the start of the command to the start of the run's own clock; None where the run was too short to tell."""
    was_stopped: bool = False
    """Whether it was asked to end before it was done."""

    @property
    def progress(self) -> list[Line]:
        """The lines written at the moment they name, after a step."""
        return _progress(self.lines)

    @property
    def validations(self) -> list[Line]:
        """The lines that report one; each names the moment when it began."""
        return [line for line in self.lines if "validation_nats" in line]

    def seconds_per_step(self) -> float | None:
        """The median over the lines of progress that have no validation between them."""
        validated = {line["step"] for line in self.validations}
        paces = [
            (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
            for before, after in itertools.pairwise(self.progress)
            if validated.isdisjoint(range(before["step"], after["step"]))
        ]
        return statistics.median(paces) if paces else None

    def first_below(self, mark: float) -> Line | None:
        """The first validation below `mark`: loss, step, and seconds by three clocks."""
        found = next((line for line in self.validations if line["validation_nats"] < mark), None)
        return None if found is None else self.moment(found)

    def moment(self, found: Line) -> Line:
        """A validation: loss, step, and seconds by three clocks."""
        pace = self.seconds_per_step()
        return {
            "nats": found["validation_nats"],
            "step": found["step"],
            "seconds": found["seconds"],
            "command": None if self.start is None else self.start + found["seconds"],
            "steps alone": None if pace is None else pace * found["step"],
        }


def train(corpus: Path, *options: str, seconds: float | None = None, keep: Path | None = None) -> Command:
    """Runs `charrnn train` in a folder and with a cache of its own, for so many `seconds` at most.

    Every best.safetensors that it writes is kept in the folder `keep`, under names in the order of writing.
    """
    with tempfile.TemporaryDirectory() as name, open(Path(name) / "stderr", "w+", encoding="utf-8") as errors:
        out = Path(name) / "run"
        words = [sys.executable, "-m", "charrnn", "train", str(corpus.resolve()), "--out", str(out), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHARRNN_CACHE": str(Path(name) / "cache")}
        began, start, was_stopped = time.monotonic(), None, False
        with subprocess.Popen(words, cwd=name, env=environment, stdout=errors, stderr=errors) as process:
            try:
                while process.poll() is None:
                    # The first line of progress, seen within 0.02 s, shows when the run's own clock began.
                    if start is None and (progress := _progress(read_metrics(out / METRICS))):
                        start = time.monotonic() - began - progress[-1]["seconds"]
                    if keep is not None:
                        keep_best(out / BEST, keep)
                    if seconds is not None and time.monotonic() - began > seconds and not was_stopped:
                        was_stopped = True
                        process.terminate()  # it saves, and leaves with status 143
                    time.sleep(0.02)
            except BaseException:
                process.kill()
                raise
            status = process.wait()
        taken = time.monotonic() - began
        if keep is not None:
            keep_best(out / BEST, keep)
        if status and not (was_stopped and status in (143, -signal.SIGTERM)):  # the latter before it could save
            errors.seek(0)
            raise SystemExit(f"{' '.join(words)}: exit status {status}\n{errors.read()}")
        return Command(read_metrics(out / METRICS), taken, start, was_stopped)


def keep_best(best: Path, folder: Path) -> None:
    """Another name in `folder` for the file `best`, if it has none there yet: a new one takes its place by a rename."""
    with contextlib.suppress(FileNotFoundError):
        kept = sorted(folder.iterdir())
        if not kept or not kept[-1].samefile(best):
            os.link(best, folder / f"{len(kept):06}.safetensors")


def _progress(lines: list[Line]) -> list[Line]:
    return [line for line in lines if "learning_rate" in line]
