"""Commands one of whose calls of the system fails, or all from one on; see failing_calls.c.

    python -m tests.campaign._failing train corpus.txt ...

is what a fork runs: the command line, in which the calls fail that the environment names.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.cli.app import main
from charrnn.text import catalogue
from tests.kit.command import Result
from tests.kit.forked import Job, run

_SOURCE = Path(__file__).with_name("failing_calls.c")
_ORDERS, _KNOWN = "FAILING_CALLS", "FAILING_KNOWN"
ONCE, FROM_THEN_ON, EVERY_OTHER = range(3)


class Call(NamedTuple):
    """A call of the system on a path, given below the trial's folder."""

    name: str
    path: str


class Failing(NamedTuple):
    """Which call fails, counted from 1, with which error, and whether those after it do."""

    place: int = 0
    number: int = 0
    mode: int = ONCE


def compiled(folder: Path) -> Path:
    """Returns the library to preload, compiled in a folder."""
    library = folder / "failing_calls.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def run_failing(
    library: Path,
    words: Sequence[str],
    folder: Path,
    failing: Failing,
    *,
    log: Path,
    environment: Mapping[str, str],
    given: str = "",
) -> tuple[Result, list[Call]]:
    """Runs a command in a folder; returns how it ended, and the calls that it made below the folder."""
    log.write_bytes(b"")
    orders = json.dumps([str(folder), *failing, str(log)])
    job = Job([__name__, *words], folder, {**environment, _ORDERS: orders}, given)
    (result,) = run([job], library)
    return result, [Call(*line.split(" ", 2)[1:]) for line in log.read_text("utf-8").splitlines()]


def known(url: str, content: bytes) -> dict[str, Any]:
    """Returns the facts of a corpus `known` at an address, for the environment of a command."""
    import hashlib

    facts = {
        "name": "known", "title": "Known", "url": url, "file": "known.txt", "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "licence": "none", "validation_fraction": 0.1,
        "test_fraction": 0.0,
    }  # fmt: skip
    return {_KNOWN: json.dumps(facts)}


def _arm(below: str, place: int, number: int, mode: int, log: str) -> None:
    library = ctypes.CDLL(None)
    library.faults_arm(below.encode(), ctypes.c_long(place), number, mode, log.encode())


if __name__ == "__main__":
    if _KNOWN in os.environ:
        entry = catalogue.Entry(**json.loads(os.environ[_KNOWN]))
        catalogue.entries = lambda: {entry.name: entry}
    _arm(*json.loads(os.environ[_ORDERS]))
    sys.argv = ["charrnn", *sys.argv[1:]]
    main()
