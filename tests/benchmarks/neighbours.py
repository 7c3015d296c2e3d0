"""Busy processes beside a measurement: what a browser, a build or another student's run is to a program.

Each spins on a core of its own for as long as its parent lives, so that none can be left over. Knows processes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_SPIN = """
import os, sys
parent = int(sys.argv[1])
os.write(1, b"!")
while os.getppid() == parent:
    for _ in range(200_000):
        pass
"""


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """Runs `count` processes that do nothing but compute, at the usual priority; gives their numbers.

    They have begun when the context is entered, and are gone when it is left, by whatever way.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            # Ctrl-C is the parent's affair, which ends them.
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _SPIN, str(os.getpid())],
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            )
        for process in processes:
            assert process.stdout is not None
            if process.stdout.read(1) != b"!":
                raise RuntimeError(f"a busy process ended with status {process.wait()}")
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def warn_of_others(most: float = 0.5) -> None:
    """Says on stderr that other programs compute here, where the load of the last minute is above `most`."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no load average
        load = os.getloadavg()[0]
        if load > most:
            print(
                f"other programs compute on this machine (load {load:.1f}): only ratios mean something", file=sys.stderr
            )
