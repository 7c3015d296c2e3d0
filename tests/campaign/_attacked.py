"""Runs commands under attack, each in a fork of one process that has imported all: on pipes or terminals, with bytes on
standard input, writers to named pipes, constants of modules changed, and bounds on memory and time.

    python -m tests.campaign._attacked

reads jobs, a JSON object a line, and answers each with how the command ended. A fork has no beginning of its own: how
an interpreter starts is tested elsewhere.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import traceback
import tty
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
"""How long a command may take; more is called a hang."""
_ROOM = 1 << 30
_PRELOADED = (
    "torch.distributed", "charrnn.cli.app", "charrnn.cli.train", "charrnn.cli.training", "charrnn.cli.sample",
    "charrnn.cli.eval", "charrnn.cli.inspect", "charrnn.cli.interactive", "charrnn.cli.help", "charrnn.cli.usage",
    "charrnn.network.stepper", "charrnn.training.trainer", "charrnn.evaluation.compare", "charrnn.display.notice",
    "charrnn.display.progress", "charrnn.display.webpage", "charrnn.display.heat", "charrnn.neurons.record",
    "charrnn.inference.make_engine", "charrnn.sampling.sampler", "charrnn.network.open_engine", "rich.console",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A command, and what surrounds it."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    given: bytes | None = None
    """What stands on standard input, in a file; None closes it (it is the null device)."""
    is_piped: bool = False
    """Whether standard input is a pipe instead."""
    pipes: Mapping[str, bytes] = field(default_factory=dict)
    """Named pipes, and what is written into each."""
    has_terminal: bool = False
    """Whether stdout and stderr are terminals, each one of its own."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Constants of modules, as `module:name`, and their values."""
    largest_file: int | None = None
    """The system lets no file grow beyond these bytes."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status (a signal as a negative one, None where it had to be killed), what it wrote, the
    most memory beyond that of the process it was forked from, in bytes, and the seconds it took."""

    status: int | None
    out: bytes
    err: bytes
    memory: int
    seconds: float

    @property
    def complaint(self) -> str | None:
        """What no command may do: hang, crash, run out of memory, show a traceback."""
        said = self.err.decode("utf-8", "replace")
        if self.status is None:
            return "it hangs"
        if self.status < 0 or self.status == 1 or "Traceback (most recent" in said:
            return f"status {self.status}: {' / '.join(said.strip().splitlines()[-3:])}"
        return None


class Attacked:
    """The process that forks, from the first command to `close`."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign._attacked"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        """Ends it, with all that it has forked."""
        with self._process, contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def run(self, attack: Attack) -> Ended:
        """Runs one command to its end."""
        asked = {
            "words": list(attack.words), "folder": str(attack.folder), "environment": dict(attack.environment),
            "given": None if attack.given is None else base64.b64encode(attack.given).decode(),
            "is_piped": attack.is_piped, "has_terminal": attack.has_terminal, "changed": dict(attack.changed),
            "pipes": {name: base64.b64encode(content).decode() for name, content in attack.pipes.items()},
            "largest_file": attack.largest_file,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        out, err = (base64.b64decode(told[name]) for name in ("out", "err"))
        return Ended(told["status"], out, err, told["memory"], told["seconds"])


def _serve() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each fork's collector would touch, and copy, all that is shared
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_ended(json.loads(line))) + "\n")
        sys.stdout.flush()


def _ended(job: dict[str, Any]) -> dict[str, Any]:
    began, before = time.monotonic(), _resident()
    stdin, helpers = _standard_input(job)
    helpers += [_writer(Path(job["folder"], name), base64.b64decode(text)) for name, text in job["pipes"].items()]
    # Made after the helpers, which would keep them open.
    ends = [_terminal() if job["has_terminal"] else os.pipe() for _ in range(2)]
    child = os.fork()
    if not child:
        _command(job, stdin, *(theirs for _, theirs in ends))
    for _, theirs in ends:
        os.close(theirs)
    os.close(stdin)
    said = _read([ours for ours, _ in ends], began + SECONDS)
    if said is None:
        os.killpg(child, signal.SIGKILL)  # with what it has started
    _, status, used = os.wait4(child, 0)
    for each in helpers:  # a command that fails early reads no pipe
        os.kill(each, signal.SIGKILL)
        os.waitpid(each, 0)
    for ours, _ in ends:
        os.close(ours)
    out, err = (base64.b64encode(text).decode() for text in said or (b"", b""))
    return {
        "status": None if said is None else os.waitstatus_to_exitcode(status), "out": out, "err": err,
        "memory": used.ru_maxrss * 1024 - before, "seconds": time.monotonic() - began,
    }  # fmt: skip


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _terminal() -> tuple[int, int]:
    """Returns our end and theirs of a terminal that changes no byte."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def _standard_input(job: dict[str, Any]) -> tuple[int, list[int]]:
    if job["given"] is None:
        return os.open(os.devnull, os.O_RDONLY), []
    content = base64.b64decode(job["given"])
    if not job["is_piped"]:
        file = os.memfd_create("given")
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        return file, []
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        _write(theirs, content)
    os.close(theirs)
    return ours, [child]


def _writer(path: Path, content: bytes) -> int:
    child = os.fork()
    if not child:
        _write(os.open(path, os.O_WRONLY), content)
    return child


def _write(file: int, content: bytes) -> None:
    """Writes all, and ends this process."""
    with contextlib.suppress(OSError):
        while content:
            content = content[os.write(file, content) :]
    os._exit(0)


def _read(files: list[int], until: float) -> list[bytes] | None:
    """Returns what comes from each to its end; None where that takes too long."""
    said: dict[int, list[bytes]] = {file: [] for file in files}
    open_ones = set(files)
    while open_ones:
        ready = select.select([*open_ones], [], [], max(0.0, until - time.monotonic()))[0]
        if not ready:
            return None
        for file in ready:
            try:
                piece = os.read(file, 1 << 16)
            except OSError:  # the other end of a terminal is closed
                piece = b""
            said[file].append(piece)
            if not piece:
                open_ones.remove(file)
    return [b"".join(said[file]) for file in files]


def _command(job: dict[str, Any], stdin: int, out: int, err: int) -> None:
    """Becomes the command."""
    status = 1
    try:
        os.setsid()
        for number, file in enumerate((stdin, out, err)):
            os.dup2(file, number)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["folder"])
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
        for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
            raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, "utf-8", errors, line_buffering=os.isatty(number)))
        for place, value in job["changed"].items():
            module, _, name = place.partition(":")
            found = importlib.import_module(module)
            assert hasattr(found, name), place
            setattr(found, name, tuple(value) if isinstance(value, list) else value)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
        if job["largest_file"] is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"],) * 2)
        sys.argv = ["charrnn", *job["words"]]
        from charrnn.cli.app import main

        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
