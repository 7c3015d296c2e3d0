"""Runs the command line in a process that gets a real signal at an exact step.

    python tests/kit/interrupt.py SIGNAL STEP RANK train corpus.txt ...

SIGNAL (a name such as SIGTERM) arrives right after update number STEP, through the operating system, at the process
that torchrun calls RANK (0 where there is but one).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from charrnn.cli.app import main
from charrnn.training.learner import Learner


def interrupt_after(step: int, number: signal.Signals) -> None:
    """From now on, the `step`-th update sends `number` to this process."""
    made = 0
    original = Learner.step_at

    def counted(self: Learner, *args: Any) -> None:
        nonlocal made
        original(self, *args)
        made += 1
        if made == step:
            os.kill(os.getpid(), number)

    Learner.step_at = counted  # type: ignore[method-assign]


@contextlib.contextmanager
def interrupted_after(step: int, number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Inside, the `step`-th update sends `number` to this process."""
    original = Learner.step_at
    interrupt_after(step, number)
    try:
        yield
    finally:
        Learner.step_at = original  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("RANK", "0") == sys.argv[3]:
        interrupt_after(int(sys.argv[2]), signal.Signals[sys.argv[1]])
    sys.argv = ["charrnn", *sys.argv[4:]]
    main()
