"""Runs the command line in a process that is killed right before its so manyth call that changes what lies on a disk.

    python -m tests.kit.killed CALL train corpus.txt ...

Counted are renames, new folders, syncs, removals, and openings of folders and of files to be added to. A process that
makes fewer calls ends as it always does.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from charrnn.cli.app import main

COUNTED = ("rename", "replace", "mkdir", "rmdir", "fsync", "unlink", "open")


def kill_before(call: int) -> None:
    """From now on, this process does not live to make its `call`-th call."""
    made = 0

    def counted(original: Any) -> Any:
        def function(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        return function

    for name in COUNTED:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    kill_before(int(sys.argv[1]))
    sys.argv = ["charrnn", *sys.argv[2:]]
    main()
