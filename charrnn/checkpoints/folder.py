"""The directory of a run: which files it holds, and how they are kept consistent with the checkpoint.

best.safetensors    weights of the best validation
last.safetensors    everything needed to resume
metrics.jsonl       one object a line; cut back on resume to where the checkpoint was taken
samples.txt         what the model wrote as it learned; cut back likewise
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError, UsageError
from charrnn.files import TEMPORARY_SUFFIX, explained, make_folder

RUNS = Path("checkpoints")
BEST = "best.safetensors"
LAST = "last.safetensors"
METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
_LOCK = ".lock"
_MARK = ".set-aside"
_FILES = (LAST, METRICS, SAMPLES, BEST)


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of one run."""

    folder: Path

    @property
    def best(self) -> Path:
        """Returns the path of the checkpoint with the weights of the best validation."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """Returns the path of the checkpoint with everything needed to resume."""
        return self.folder / LAST

    @property
    def metrics(self) -> Path:
        """Returns the path of the metrics, a file with one JSON object a line."""
        return self.folder / METRICS

    @property
    def samples(self) -> Path:
        """Returns the path of the samples that the model wrote during training."""
        return self.folder / SAMPLES

    @property
    def lock(self) -> Path:
        """Returns the path of the file that a training process keeps locked."""
        return self.folder / _LOCK

    @property
    def mark(self) -> Path:
        """Returns the path of the file that stands in a folder of a run that was set aside."""
        return self.folder / _MARK

    @property
    def aside(self) -> Path:
        """Returns the folder in which `--fresh` keeps the previous run until this one has a validated checkpoint."""
        folder = self.folder if self.folder.name not in ("", "..") else Path(os.path.abspath(self.folder))
        return folder.parent / f"{folder.name}.previous"

    def set_aside(self) -> None:
        """Moves the files of the run in this folder to `aside`, and no other files of the folder.

        They replace a run set aside earlier, unless they hold no validated checkpoint: then the earlier run is kept.
        Raises UsageError where `aside` exists and is not a run that was set aside.
        """
        present = [name for name in _FILES if (self.folder / name).exists()]
        if not present:
            return
        mark = self.aside / _MARK
        with explained(self.aside, "setting the run before aside to"):
            if not mark.exists():
                if os.path.isfile(self.aside) or (self.aside.exists() and any(self.aside.iterdir())):
                    raise UsageError(
                        f"the run before cannot be set aside: {self.aside} is in the way", "move or rename that"
                    )
                self.aside.mkdir(exist_ok=True)
                mark.touch()
            elif not self.best.exists():
                for name in present:
                    (self.folder / name).unlink()
                return
            for name in _FILES:
                if name in present:
                    os.replace(self.folder / name, self.aside / name)
                else:
                    (self.aside / name).unlink(missing_ok=True)

    def forget_aside(self) -> None:
        """Removes the run that was set aside, and only what `set_aside` put there."""
        if (self.aside / _MARK).exists():
            with contextlib.suppress(OSError):
                for name in (*_FILES, _MARK):
                    (self.aside / name).unlink(missing_ok=True)
                self.aside.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the directory and locks it against a second training process. Raises UsageError if one has it."""
        make_folder(self.folder)
        lock = self.folder / _LOCK
        with explained(lock):
            file = open(lock, "a")  # noqa: SIM115 - closed by the with below
        with file:
            if os.name == "posix":
                import fcntl

                with explained(lock, "locking"):
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError as error:
                        raise UsageError(
                            f"another process is training in {self.folder}",
                            "wait for it, or choose another --out",
                        ) from error
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Removes temporary files of an earlier process that was killed while saving."""
        for name in (BEST, LAST):
            for leftover in self.folder.glob(f".{name}.*{TEMPORARY_SUFFIX}"):
                with explained(leftover, "removing"):
                    leftover.unlink(missing_ok=True)

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Adds one line to the metrics; keys whose value is None are left out."""
        present = {key: value for key, value in values.items() if value is not None}
        with explained(self.metrics), open(self.metrics, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(present) + "\n")

    def append_sample(self, heading: str, text: str) -> None:
        """Adds one sample under `heading` to the file of samples."""
        with (
            explained(self.samples),
            open(self.samples, "a", encoding="utf-8", newline="", errors="surrogatepass") as file,
        ):
            file.write(f"=== {heading} ===\n{text}\n\n")

    def lengths(self) -> dict[str, int]:
        """Returns the sizes in bytes of the metrics and the samples, by file name."""
        return {file.name: file.stat().st_size if file.exists() else 0 for file in (self.metrics, self.samples)}

    def cut_back(self, lengths: dict[str, int]) -> None:
        """Shortens metrics and samples to `lengths` (bytes by file name), so that a resumed run repeats no line."""
        for file in (self.metrics, self.samples):
            length = lengths.get(file.name, 0)
            if file.exists() and file.stat().st_size > length:
                with explained(file):
                    os.truncate(file, length)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics.jsonl; a torn last line is left out."""
    lines = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def find_checkpoint(path: Path | None) -> Path:
    """Returns the checkpoint file that `--checkpoint` means: a file, a run's best (or last), or the newest run's.

    Raises CheckpointError where there is none.
    """
    path = _newest_run() if path is None else path
    # os.path's questions have an answer for every name; Path's raise an OSError for one that is too long.
    for name in (BEST, LAST):
        if os.path.isfile(path / name):
            return path / name
    if os.path.isdir(path):
        raise CheckpointError(
            f"the folder {path} holds neither {BEST} nor {LAST}", "-c names a checkpoint or a run's folder"
        )
    return path


def _newest_run() -> Path:
    found: list[tuple[float, Path]] = []
    for file in (file for name in (BEST, LAST) for file in RUNS.glob(f"*/{name}")):
        with contextlib.suppress(OSError):  # moved away meanwhile
            found.append((file.stat().st_mtime, file.parent))
    if not found:
        raise CheckpointError(
            f"there is no run under {RUNS}{os.sep}",
            "charrnn train makes one; -c names a checkpoint or a run's folder",
        )
    return max(found)[1]
