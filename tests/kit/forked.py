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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.kit.command import Result

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 120


class Job(NamedTuple):
    """`python -m <words>` in a folder and an environment, with a text on standard input."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    given: str = ""
    signal: int = 0
    """A signal that the process gets `after` seconds, if it still runs then."""
    after: float = 0.0
    more: Sequence[tuple[int, float]] = ()
    """Further signals, each with the seconds after the one before."""
    is_unread: bool = False
    """Whether stdout and stderr are a pipe that nobody reads."""
    room: int = 0
    """How many bytes go into that pipe before it is full."""


class Signalled(NamedTuple):
    """How a process ended that got a signal."""

    result: Result
    lasted: float | None
    """The seconds from the first signal to its end; None where it had ended before."""
    waited: float = 0.0
    """How many of them its main thread waited for a core, where the system tells."""


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
                "files": str(file), "signals": [*_moments(job)], "room": job.room if job.is_unread else None,
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
    return [Signalled(Result(status, *texts), *times) for (status, *times), texts in zip(ended, said, strict=True)]


def _moments(job: Job) -> Iterator[tuple[int, float]]:
    """Yields each signal with the seconds from the process' beginning."""
    moment = job.after
    if job.signal:
        yield job.signal, moment
        for number, later in job.more:
            yield number, (moment := moment + later)


def _serve(requests: IO[str]) -> None:
    import torch.distributed  # noqa: F401

    import charrnn.cli.training
    import charrnn.network.stepper
    import charrnn.training.trainer  # noqa: F401

    for line in requests:
        jobs = json.loads(line)
        children = [_forked(job) for job in jobs]
        ended = _attend({child: job["signals"] for child, job in zip(children, jobs, strict=True)})
        sys.stdout.write(json.dumps([ended[child] for child in children]) + "\n")
        sys.stdout.flush()


def _attend(children: dict[int, list[tuple[int, float]]]) -> dict[int, tuple[int, float | None, float]]:
    """Sends each child its signals when their time has come; gives the status and the times of `Signalled` of each."""
    began = time.monotonic()
    to_send = sorted((after, child, number) for child, signals in children.items() for number, after in signals)
    sent: dict[int, tuple[float, float]] = {}
    ended: dict[int, tuple[int, float | None, float]] = {}
    while len(ended) < len(children):
        while to_send and began + to_send[0][0] <= time.monotonic():
            _, child, number = to_send.pop(0)
            if child not in ended:
                sent.setdefault(child, (time.monotonic(), waited_for_cores(child)))
                os.kill(child, number)  # one that has just ended is still there, and the signal is lost
        for child in children.keys() - ended.keys():
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            at, waited = sent.get(child, (None, 0.0))
            times = (None, 0.0) if at is None else (time.monotonic() - at, waited_for_cores(child) - waited)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            ended[child] = (status, *times)
        time.sleep(0.005)
    return ended


def waited_for_cores(process: int) -> float:
    """The seconds in which the main thread of a process could have run and had no core; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{process}/task/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _forked(job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs beside it ignore Ctrl-C
        for number, (end, mode) in enumerate((("in", "r"), ("out", "w"), ("err", "w"))):
            with open(f"{job['files']}.{end}", mode) as file:
                os.dup2(file.fileno(), number)
        if job["room"] is not None:
            full = full_pipe(job["room"])
            os.dup2(full, 1)
            os.dup2(full, 2)
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


def full_pipe(room: int = 0) -> int:
    """The end of a pipe into which about `room` bytes go; the other end stays open, and nobody reads it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"\0")
    if room:
        os.read(reading, room)
    os.set_blocking(writing, True)
    return writing


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
