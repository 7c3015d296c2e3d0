"""Runs the command line behind a pseudoterminal of a given width, as a user sees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import NamedTuple

import charrnn


class Seen(NamedTuple):
    """The exit status, what the terminal got, and what a pipe got instead of it."""

    status: int
    terminal: str
    piped: str

    @property
    def lines(self) -> list[str]:
        """What stands on the terminal in the end: of each line, what was written over what a bar left."""
        return [line.split("\r")[-1] for line in self.terminal.replace("\r\n", "\n").split("\n")]


def run(columns: int, *arguments: str, is_out_piped: bool = False) -> Seen:
    """Runs `charrnn` with stderr, and stdout unless it is piped, on a terminal of `columns` cells and 24 rows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    path = os.pathsep.join([str(Path(charrnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if is_out_piped else theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    pieces, piped = [], list[bytes]()
    with process:
        pipe = process.stdout
        reader = threading.Thread(target=lambda: piped.append(pipe.read() if pipe is not None else b""))
        reader.start()
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        os.close(ours)
        reader.join()
    return Seen(process.returncode, b"".join(pieces).decode(), piped[0].decode())
