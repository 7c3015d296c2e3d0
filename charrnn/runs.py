"""A run's directory: which files it holds, and how they stay true to the checkpoint.

    best.safetensors    weights of the best validation
    last.safetensors    everything needed to go on
    metrics.jsonl       one object a line; cut back on resume to where the checkpoint was taken
    samples.txt         what the model wrote as it learned; cut back likewise

Knows names and lengths. Refuses to know what training is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError, UsageError
from charrnn.files import explained, make_folder, sweep_temporaries

RUNS = Path("checkpoints")
BEST = "best.safetensors"
LAST = "last.safetensors"
METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of one run."""

    folder: Path

    @property
    def best(self) -> Path:
        """Weights of the best validation."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """Everything needed to go on."""
        return self.folder / LAST

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.folder / METRICS

    @property
    def samples(self) -> Path:
        """What the model wrote as it learned."""
        return self.folder / SAMPLES

    @property
    def aside(self) -> Path:
        """Where `--fresh` keeps the run before until this one has a checkpoint worth keeping."""
        return self.folder.with_name(self.folder.name + ".previous")

    def set_aside(self) -> None:
        """Moves what is there out of the way, in place of what was moved before."""
        if self.folder.exists():
            with explained(self.folder, "setting aside"):
                if self.aside.exists():
                    shutil.rmtree(self.aside)
                self.folder.rename(self.aside)

    def forget_aside(self) -> None:
        """Removes the run that was set aside."""
        shutil.rmtree(self.aside, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the directory and keeps a second process from training in it. Raises UsageError if one is at it."""
        make_folder(self.folder)
        with explained(self.folder / _LOCK), open(self.folder / _LOCK, "a") as file:
            if os.name == "posix":
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError(
                        f"another process is training in {self.folder}",
                        "wait for it, or choose another --out",
                    ) from error
            sweep_temporaries(self.folder)
            yield

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Adds one line; keys whose value is None are left out."""
        present = {key: value for key, value in values.items() if value is not None}
        with explained(self.metrics), open(self.metrics, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(present) + "\n")

    def append_sample(self, heading: str, text: str) -> None:
        """Adds one sample under a heading."""
        with (
            explained(self.samples),
            open(self.samples, "a", encoding="utf-8", newline="", errors="surrogatepass") as file,
        ):
            file.write(f"=== {heading} ===\n{text}\n\n")

    def lengths(self) -> dict[str, int]:
        """Bytes in the two growing files."""
        return {file.name: file.stat().st_size if file.exists() else 0 for file in (self.metrics, self.samples)}

    def cut_back(self, lengths: dict[str, int]) -> None:
        """Shortens the growing files to `lengths`, so that going on doubles no line."""
        for file in (self.metrics, self.samples):
            length = lengths.get(file.name, 0)
            if file.exists() and file.stat().st_size > length:
                with explained(file):
                    os.truncate(file, length)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a torn last line is left out."""
    lines = []
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def find_checkpoint(path: Path | None) -> Path:
    """The checkpoint file that `--checkpoint` means: a file, a run's best (or last), or the newest run's.

    Raises CheckpointError where there is none.
    """
    if path is None:
        candidates = [file for name in (BEST, LAST) for file in RUNS.glob(f"*/{name}")]
        if not candidates:
            raise CheckpointError(
                f"there is no run under {RUNS}{os.sep}",
                "charrnn train makes one; -c names a checkpoint or a run's folder",
            )
        path = max(candidates, key=lambda file: file.stat().st_mtime).parent
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(
            f"the folder {path} holds neither {BEST} nor {LAST}", "-c names a checkpoint or a run's folder"
        )
    return path
