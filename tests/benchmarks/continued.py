"""Work with the real command that may be stopped by the clock and is gone on with by doing the same again.

Training resumes by itself. What `charrnn eval` printed is kept beside the run, with a digest of the weights that it
scored, and is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from charrnn.checkpoints.folder import Run
from tests.benchmarks.command import ROOT

SAVING = 15.0  # seconds for a run to save itself in


class OutOfTime(Exception):
    """The time was up, and there is more to do."""


class Continued:
    """Runs `charrnn` as `quality.charrnn` does, until the clock's `deadline` (time.monotonic); None is no limit."""

    def __init__(self, run: Path, deadline: float | None) -> None:
        self._run, self._deadline = Run(run), deadline
        self._kept = run.with_name(f"{run.name}-scores.jsonl")

    def __call__(self, *words: str) -> str:
        """What it wrote to stdout. Raises OutOfTime, and SystemExit where it failed."""
        if words[0] != "eval":
            return self._charrnn(*words)
        weights = hashlib.sha256(self._run.best.read_bytes()).hexdigest()
        rows = self._kept.read_text("utf-8").splitlines() if self._kept.exists() else []
        for row in (json.loads(line) for line in rows if line.endswith("}")):
            if (row["words"], row["weights"]) == (list(words), weights):
                return str(row["printed"])
        printed = self._charrnn(*words)
        with open(self._kept, "a", encoding="utf-8") as file:
            file.write(json.dumps({"words": words, "weights": weights, "printed": printed}) + "\n")
        return printed

    def _charrnn(self, *words: str) -> str:
        left = None if self._deadline is None else self._deadline - SAVING - time.monotonic()
        said = f"charrnn {shlex.join(words)}"
        if left is not None and left <= 0:
            raise OutOfTime(f"the time was up before {said}")
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with subprocess.Popen(
            [sys.executable, "-m", "charrnn", *words],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                printed, _ = process.communicate(timeout=left)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)  # training saves itself
                try:
                    process.communicate(timeout=SAVING)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise OutOfTime(f"the time was up during {said}") from None
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise SystemExit(f"{said}: exit status {process.returncode}")
        return printed
