"""What a failed call of the operating system leads to: one table, by call and by the number of the error.

Whoever turns an OSError into an error asks here whether the place is wrong, which the user mends by naming another, or
whether the machine lacks something or its disk fails. Calls that have an outcome of their own in the table, such as to
take a lock, are made here.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Outcome(enum.Enum):
    """What becomes of a command one of whose calls has failed."""

    RETRIED = "the call is made again"
    HARMLESS = "the command goes on without what the call was for"
    WRONG_PLACE = "it ends with status 2; where a text could not be read with 3, where a checkpoint could not with 4"
    RESOURCES = "it ends with status 6: the machine lacks something, or its disk fails; what was saved before is kept"


class Row(NamedTuple):
    """A line of the table. Without calls it is for every call, without numbers for every error."""

    outcome: Outcome
    calls: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
_FAILING = tuple(getattr(errno, name) for name in ("EIO", "EREMOTEIO", "ESTALE", "ENOLCK") if hasattr(errno, name))
# Some network file systems cannot sync a folder; and one that may be written to need not be one that may be opened.
_CANNOT_SYNC = tuple({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM})
# EBADF: some network file systems lock only what is open for writing, which a folder never is.
_NO_LOCKS = tuple({errno.ENOLCK, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})

TABLE = (
    # Who else may read a file, rubbish that the next start removes, and the end of what
    # was only read or locked: nothing is lost with them.
    Row(Outcome.HARMLESS, ("chmod", "removal of rubbish", "close without writing")),
    # A signal came during the call. Linux has closed a file all the same, and its number may be another's by now.
    Row(Outcome.HARMLESS, ("close",), (errno.EINTR,)),
    Row(Outcome.RETRIED, (), (errno.EINTR,)),
    Row(Outcome.HARMLESS, ("sync of a folder",), _CANNOT_SYNC),
    # A disk without locks keeps nobody out.
    Row(Outcome.HARMLESS, ("lock",), _NO_LOCKS),
    Row(Outcome.RESOURCES, (), (*FULL, *_TOO_MANY_FILES, *_NO_MEMORY, *_FAILING)),
    # A disk on which this command has written already has become read-only, as Linux makes it when it fails; one on
    # which it has not is a wrong place from the beginning.
    Row(Outcome.RESOURCES, ("going on",), (errno.EROFS,)),
    Row(Outcome.WRONG_PLACE),
)
"""The first line that fits counts. Calls are named where it matters which one failed."""


def outcome_of(error: OSError, call: str = "") -> Outcome:
    """Returns what `error` leads to, where `call` is one that the table names.

    >>> outcome_of(OSError(errno.ENOSPC, "")).name, outcome_of(OSError(errno.EACCES, "")).name
    ('RESOURCES', 'WRONG_PLACE')
    """
    for outcome, calls, numbers in TABLE:
        if (not calls or call in calls) and (not numbers or error.errno in numbers):
            return outcome
    raise AssertionError("the last line fits all")


def retried(call: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
    """Returns what `call` returns, made again as often as a signal interrupts it.

    Python does this itself for calls that may block by their nature, as reading does (PEP 475); renaming, removing or
    looking at a file can be interrupted too where the file lies on a network.
    """
    while True:
        try:
            return call(*args, **options)
        except InterruptedError:
            continue


class Lock(enum.Enum):
    """What came of asking for a lock."""

    OURS = "this process has it until it closes what is locked"
    THEIRS = "another process has it"
    NONE = "this system or this disk has no locks, so nobody is kept out, and nobody is seen"


def take_lock(descriptor: int, *, shared: bool = False) -> Lock:
    """Asks for a lock on what is open, alone or `shared` with others that ask so, without waiting for it.

    Raises OSError where it fails otherwise than the table above has it for a disk without locks.
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


def lacking(error: BaseException) -> str | None:
    """Returns what the machine lacks to load a module, in a line; None where the error is another one.

    The system's loader gives its reason for a library that it cannot load in words alone.

    >>> lacking(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
    'libtorch_cpu.so: failed to map segment from shared object'
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return str(error) if error.errno is not None and outcome_of(error) is Outcome.RESOURCES else None
    text = str(error)
    reasons = [os.strerror(number) for number in (*_TOO_MANY_FILES, *_NO_MEMORY, *_FAILING)]
    is_lack = isinstance(error, ImportError) and any(reason in text for reason in (*reasons, "failed to map segment"))
    return text if is_lack else None


def told(error: OSError, doing: str) -> tuple[str, str]:
    """Returns the message and the hint for an error that leads to RESOURCES; `doing` says what was being done.

    >>> told(OSError(errno.EMFILE, "Too many open files"), "writing a.txt")[0]
    'cannot go on writing a.txt: Too many open files'
    """
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return f"no room left {doing}: {reason}", "free some space; what was there before is untouched"
    if error.errno in _TOO_MANY_FILES:
        return f"cannot go on {doing}: {reason}", "let a process open more files: ulimit -n 1024"
    if error.errno in _NO_MEMORY:
        return f"cannot go on {doing}: {reason}", "close other programs, or give the machine less to do"
    return (
        f"cannot go on {doing}: {reason}",
        "look after that disk (the system's log says more); what was saved before is kept",
    )
