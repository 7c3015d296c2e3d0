"""What torchrun tells the processes that it starts, in their environment."""

from __future__ import annotations

import os

from charrnn.errors import UsageError


def rank() -> int:
    """Returns which of the processes this is, from 0."""
    return _number("RANK", 0)


def world_size() -> int:
    """Returns how many processes there are."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """Returns which of the processes of this machine it is, from 0."""
    return _number("LOCAL_RANK", 0)


def local_world_size() -> int:
    """Returns how many of the processes this machine has."""
    return _number("LOCAL_WORLD_SIZE", 1)


def _number(name: str, otherwise: int) -> int:
    value = os.environ.get(name, str(otherwise))
    # No more digits than any count of processes has: Python refuses to read thousands of them.
    if not value.isdecimal() or len(value) > 9:
        raise UsageError(f"{name} is {value!r}, not a whole number", "start with torchrun, or unset it")
    return int(value)
