"""Locks on what is open, which end with the process that has them, and what their failure leads to: in one place."""

from __future__ import annotations

import enum

from charrnn.system_errors import Outcome, outcome_of


class Lock(enum.Enum):
    """What came of asking for a lock."""

    OURS = "this process has it until it closes what is locked"
    THEIRS = "another process has it"
    NONE = "this system or this disk has no locks, so nobody is kept out, and nobody is seen"


def take_lock(descriptor: int, *, shared: bool = False) -> Lock:
    """Asks for a lock on what is open, alone or `shared` with others that ask so, without waiting for it.

    Raises OSError where it fails otherwise than by the table of `system_errors.py` for a disk without locks.
    """
    try:
        import fcntl
    except ImportError:
        return Lock.NONE
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.THEIRS
    except OSError as error:
        if outcome_of(error, "lock") is Outcome.HARMLESS:
            return Lock.NONE
        raise
    return Lock.OURS
