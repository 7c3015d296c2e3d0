"""The two files of a run that grow while it trains, metrics.jsonl and samples.txt, and what `last` says of them.

`last` holds the length and the digest of each, as it was when `last` was saved, and both were on the disk before `last`
was. So after a crash the beginning of each is there, and what was written later is cut off: a run that goes on repeats
no line and misses none. Where a file is not as `last` says, all that is whole of it is kept, and a sentence says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.checkpoints.folder import LAST, METRICS, SAMPLES, Run
from charrnn.checkpoints.lock import check_is_ours
from charrnn.checkpoints.metrics import entry_of
from charrnn.files import explained, opened_file, read_file, replace_durably, sync_folder, was_written, write_content
from charrnn.wording import count

FILES = "files"
"""The entry of the record `training` in a `last` checkpoint that holds, by file name, what `Records.marks` returns."""

_A_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one of the files is now, compared with what `last` says of it."""

    name: str
    expected: int
    """The bytes that the file had when `last` was saved."""
    found: int
    """The bytes that it has now; more were written after `last`, and are cut off when the run goes on."""
    problem: str | None
    """What is wrong with its first `expected` bytes, in a sentence; None where they are those of then."""


def agreements(folder: Path, training: Mapping[str, Any]) -> list[Agreement]:
    """Compares the metrics and the samples in a folder with what a `last` checkpoint's record `training` says of them.

    One that cannot be read has a problem, as has a link, which is not followed, and what is no file. Raises ValueError,
    KeyError or TypeError where the record is not what `Records.marks` returns.
    """
    return [_looked_at(folder / name, mark) for name, mark in _marks(training).items()]


class Records:
    """Writes the metrics and the samples of a run, in its folder alone: a link is not followed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._digests = {name: hashlib.sha256() for name in (METRICS, SAMPLES)}
        self._lengths = dict.fromkeys(self._digests, 0)
        self._unsynced: set[str] = set()
        self._entered: set[str] = set()
        """The files whose names are known to be on the disk."""

    def begin(self) -> None:
        """Takes up what is there already, where no checkpoint says what should be."""
        for name in self._digests:
            path = self._run.folder / name
            with explained(path):
                content = _read(path)
                if _is_shared(path):
                    _replace(path, content)
            self._take_up(name, content)

    def go_on(self, training: Mapping[str, Any], step: int) -> list[str]:
        """Brings the files back to where a `last` checkpoint of `step` was saved, by its record `training`.

        Returns a sentence for each file that is not as it was then. Raises ValueError, KeyError or TypeError where the
        record is not what `marks` returns.
        """
        problems = []
        for name, mark in _marks(training).items():
            path = self._run.folder / name
            with explained(path):
                agreement = _compared(path, mark)
                content = _read(path, mark.bytes)
                if agreement.problem is not None:
                    problems.append(agreement.problem)
                    whole = _whole_lines(content, step) if name == METRICS else _whole_samples(content)
                    if whole != content or agreement.found > mark.bytes:
                        _replace(path, whole)
                    content = whole
                elif _is_shared(path):
                    _replace(path, content)
                elif agreement.found > mark.bytes:
                    with opened_file(path, "rb+", follows_links=False) as file:
                        file.truncate(mark.bytes)
                    self._unsynced.add(name)
            self._take_up(name, content)
        return problems

    def add_metrics(self, values: Mapping[str, Any]) -> None:
        """Adds one line to the metrics; keys whose value is None are left out."""
        present = {key: value for key, value in values.items() if value is not None}
        self._append(METRICS, json.dumps(present).encode() + b"\n")

    def add_sample(self, heading: str, text: str) -> None:
        """Adds one sample under `heading` to the file of samples."""
        self._append(SAMPLES, f"=== {heading} ===\n{text}\n\n".encode("utf-8", "surrogatepass"))

    def marks(self) -> dict[str, dict[str, Any]]:
        """Brings all that was added to the disk; returns the length and the digest of each file, for `last`."""
        for name in sorted(self._unsynced):
            path = self._run.folder / name
            # Who removes a file while the run goes on hears of it when the run is resumed.
            with (
                explained(path),
                contextlib.suppress(FileNotFoundError),
                opened_file(path, "rb+", follows_links=False) as file,
            ):
                os.fsync(file.fileno())
        if not self._unsynced <= self._entered:  # a file may be new
            with explained(self._run.folder):
                sync_folder(self._run.folder)
            self._entered |= self._unsynced
        self._unsynced.clear()
        return {
            name: {"bytes": self._lengths[name], "sha256": digest.hexdigest()} for name, digest in self._digests.items()
        }

    def _append(self, name: str, data: bytes) -> None:
        path = self._run.folder / name
        self._unsynced.add(name)
        check_is_ours(self._run.folder)
        with explained(path), opened_file(path, "ab", follows_links=False) as file:
            file.write(data)
        was_written(path)
        self._digests[name].update(data)
        self._lengths[name] += len(data)

    def _take_up(self, name: str, content: bytes) -> None:
        self._digests[name] = hashlib.sha256(content)
        self._lengths[name] = len(content)
        if content:  # what a killed process wrote may not be on the disk yet
            self._unsynced.add(name)


@dataclass(frozen=True, slots=True)
class _Mark:
    bytes: int
    sha256: str


def _marks(training: Mapping[str, Any]) -> dict[str, _Mark]:
    """Returns what a `last` checkpoint says of each file. Raises an error where no run would say so."""
    marks = {name: _Mark(**training[FILES][name]) for name in (METRICS, SAMPLES)}
    for name, mark in marks.items():
        if type(mark.bytes) is not int or not 0 <= mark.bytes < 1 << 63 or not isinstance(mark.sha256, str):
            raise ValueError(f"the record of {name} is {mark}")
    return marks


def _looked_at(path: Path, mark: _Mark) -> Agreement:
    try:
        return _compared(path, mark)
    except OSError as error:
        reason = error.strerror or str(error)
    except MemoryError:
        reason = "out of memory"
    return Agreement(path.name, mark.bytes, 0, f"{path.name} cannot be read: {reason}")


def _compared(path: Path, mark: _Mark) -> Agreement:
    digest, found, left = hashlib.sha256(), 0, mark.bytes
    with contextlib.suppress(FileNotFoundError), opened_file(path, follows_links=False) as file:
        found = os.fstat(file.fileno()).st_size
        while left and (chunk := file.read(min(left, _A_CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    problem = None
    then = f"when {LAST} was saved"
    if left and not os.path.lexists(path):
        problem = f"{path.name} is missing, which had {count(mark.bytes, 'byte')} {then}"
    elif left:
        problem = f"{path.name} lacks {left:,} of the {count(mark.bytes, 'byte')} that it had {then}"
    elif digest.hexdigest() != mark.sha256:
        nulls = _read(path, mark.bytes).count(0)
        holds = f": {count(nulls, 'byte')} of it are NUL" if nulls else ""
        problem = f"{path.name} is damaged, for its {count(mark.bytes, 'byte')} are not those that it had {then}{holds}"
    return Agreement(path.name, mark.bytes, found, problem)


def _read(path: Path, most: int | None = None) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return read_file(path, most, follows_links=False)
    return b""


def _is_shared(path: Path) -> bool:
    """Returns whether a file has other names too, as in a copy by hard links, and is not to be written to."""
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(path).st_nlink > 1
    return False


def _replace(path: Path, content: bytes) -> None:
    replace_durably(path, lambda new: write_content(new, content), follows_links=False)


def _whole_lines(content: bytes, step: int) -> bytes:
    """Returns the lines of metrics that can be read and do not tell of later steps than `step`."""
    lines = content.splitlines(keepends=True)
    return b"".join(
        line
        for line in lines
        if line.endswith(b"\n") and (entry := entry_of(line)) is not None and entry["step"] <= step
    )


def _whole_samples(content: bytes) -> bytes:
    """Returns samples without the NULs of a lost end, and ended as a sample ends."""
    kept = content.rstrip(b"\0")
    return kept + b"\n\n"[: 2 - (len(kept) - len(kept.rstrip(b"\n")))] if kept else b""
