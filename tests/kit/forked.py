"""Commands in processes of their own that need not import torch: one process has, and forks.

    python -m tests.kit.forked

reads groups of jobs, a JSON list a line, runs each job of a group in a fork, and writes their exit statuses. To import
torch takes most of the time of a small command. What a fork does not have is a beginning of its own: options of the
interpreter, sitecustomize and signals that come while modules are imported are tested with real processes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.kit.command import Result

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 120
_BETWEEN_LOOKS = 0.01


class Job(NamedTuple):
    """`python -m <words>` in a folder and an environment, with a text on standard input."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    given: str = ""
    signal: int = 0
    """A signal that the process gets `after` seconds, if it still runs then."""
    after: float = 0.0


class Signalled(NamedTuple):
    """How a process ended that got a signal."""

    result: Result
    lasted: float | None
    """The seconds from the signal to its end; None where it had ended before."""


@functools.cache
def _server(preloaded: Path | None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if preloaded is not None:
        environment["LD_PRELOAD"] = str(preloaded)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.forked"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    """With all that it has forked."""
    with server, contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def run(jobs: Sequence[Job], preloaded: Path | None = None) -> list[Result]:
    """Runs jobs side by side; gives how each ended, a signal as a negative status. All forks have the library
    `preloaded`, in which no thread may run."""
    return [signalled.result for signalled in run_signalled(jobs, preloaded)]


def run_signalled(jobs: Sequence[Job], preloaded: Path | None = None) -> list[Signalled]:
    """Runs jobs side by side, and sends each its signal; gives how each ended, a signal as a negative status."""
    server = _server(preloaded)
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name, str(number)) for number in range(len(jobs))]
        for file, job in zip(files, jobs, strict=True):
            file.with_suffix(".in").write_text(job.given, "utf-8")
            for end in (".out", ".err"):  # one that is killed at once has made none
                file.with_suffix(end).touch()
        asked = [
            {
                "words": list(job.words), "cwd": str(job.folder), "environment": dict(job.environment),
                "files": str(file), "signal": job.signal, "after": job.after,
            }
            for file, job in zip(files, jobs, strict=True)
        ]  # fmt: skip
        server.stdin.write(json.dumps(asked).encode() + b"\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], MOST_SECONDS)[0]:
            _server.cache_clear()
            _end(server)
            raise TimeoutError(f"{jobs} take too long")
        ended = json.loads(server.stdout.readline())
        said = [[file.with_suffix(end).read_text("utf-8") for end in (".out", ".err")] for file in files]
    return [Signalled(Result(status, *texts), lasted) for (status, lasted), texts in zip(ended, said, strict=True)]


def _serve(requests: IO[str]) -> None:
    import torch.distributed  # noqa: F401

    import charrnn.cli.training
    import charrnn.network.stepper
    import charrnn.training.trainer  # noqa: F401

    for line in requests:
        jobs = json.loads(line)
        children = [_forked(job) for job in jobs]
        sent = _send([(child, job["signal"], job["after"]) for child, job in zip(children, jobs, strict=True)])
        ended = []
        for child in children:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            ended.append((status, time.monotonic() - sent[child] if child in sent else None))
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


def _send(children: list[tuple[int, int, float]]) -> dict[int, float]:
    """Sends each child its signal when its time has come; gives when, for those that still ran."""
    began = time.monotonic()
    waiting = [child for child, number, _ in children if number]
    sent: dict[int, float] = {}
    for child, number, after in sorted(children, key=lambda each: each[2]):
        # Where all that still wait for a signal have ended, there is nothing to wait for.
        while number and (left := began + after - time.monotonic()) > 0 and not all(map(_has_ended, waiting)):
            time.sleep(min(left, _BETWEEN_LOOKS))
        # A child that has ended stays until it is waited for: its number is not another's, but a signal is lost.
        if number and not _has_ended(child):
            os.kill(child, number)
            sent[child] = time.monotonic()
    return sent


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _forked(job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for number, (end, mode) in enumerate((("in", "r"), ("out", "w"), ("err", "w"))):
            with open(f"{job['files']}.{end}", mode) as file:
                os.dup2(file.fileno(), number)
        # The one that was here has read requests.
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["cwd"])
        sys.argv = job["words"]
        status = _run(job["words"][0])
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


if __name__ == "__main__":
    _serve(sys.stdin)
