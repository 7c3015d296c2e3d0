"""Hands the command of this process over to another one, which does it without CUDA graphs.

After a recording that failed, torch's allocator and random generators cannot be trusted any more, and nothing in a
process can mend them. What was done before is in the run's folder, so the other process goes on from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from charrnn.display.notice import say
from charrnn.errors import RecordingFailed
from charrnn.text.standard_input import set_back

_ANEW = "CHARRNN_GOES_ON"
"""In the environment of the other process, which has nothing to set aside that this one has begun."""


def without_graphs(failed: RecordingFailed, *, quiet: bool = False) -> NoReturn:
    """Ends this process and begins the same command in another one, where nothing is recorded.

    Raises `failed` where the command has read a pipe, which is empty now. Standard input is none such: see `sources`.
    """
    if set_back():
        raise failed
    if not quiet:
        say(f"the GPU's work cannot be recorded as a CUDA graph ({failed.reason}): a new process goes on without")
    # The package that runs now, and no other one that happens to lie in this folder.
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "CHARRNN_GRAPHS": "0", _ANEW: "1", "PYTHONPATH": path}
    words = [sys.executable, "-P", "-m", "charrnn", *sys.argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":  # which cannot put one program in the place of another
        raise SystemExit(subprocess.run(words, env=environment, check=False).returncode)
    os.execve(sys.executable, words, environment)


def goes_on() -> bool:
    """Whether this process goes on with what another one has begun."""
    return _ANEW in os.environ
