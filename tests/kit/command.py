"""What a command left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    """Its exit status, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]
"""Called with the command's words, and maybe `stdin`, bytes; see the fixture `command`."""
