"""The command line in a process with a limit of memory and of time, and on a terminal where one is wanted.

    python -m tests.campaign._limited MORE_MEBIBYTES SECONDS IS_TERMINAL train corpus.txt ...

The process may take MORE_MEBIBYTES of addresses beyond those that it begins with. SIGALRM ends it after SECONDS.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
from pathlib import Path

from charrnn.cli.app import main


class _Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def limit(more: int, seconds: int) -> None:
    """Sets the limits of this process. A file may not become larger than 64 MiB."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + (more << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(seconds)


if __name__ == "__main__":
    limit(int(sys.argv[1]), int(sys.argv[2]))
    if sys.argv[3] == "1":
        sys.stdout = _Terminal(sys.stdout.detach(), encoding="utf-8", line_buffering=True)  # type: ignore[attr-defined]
        sys.stderr = _Terminal(sys.stderr.detach(), encoding="utf-8", line_buffering=True)  # type: ignore[attr-defined]
    sys.argv = ["charrnn", *sys.argv[4:]]
    main()
