"""The command in a terminal window of a given size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x1b\x07]*(?:\x07|\x1b\\)")


def in_window(*arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> str:
    """What `charrnn` with these arguments writes to a terminal of this size, colours included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    surroundings = {**os.environ, "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=surroundings,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # Linux has no end of file for a terminal that was closed
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    process.wait(timeout=60)
    return seen.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """The text without colours and other escape sequences."""
    return _ESCAPE.sub("", text)
