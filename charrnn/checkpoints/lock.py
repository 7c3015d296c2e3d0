"""Keeps a second training process out of a run's folder, and tells whether one trains there.

The folder itself is locked, so that it stays so whatever is removed in it, and a file in it as well, since a network's
file system shows other machines only the locks of files. Where a system has no such locks, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from charrnn.errors import ResourceError, UsageError
from charrnn.files import explained, let_go
from charrnn.system_errors import Lock, take_lock

LOCK = ".lock"
_TRIES, _SECONDS_BETWEEN = 5, 0.02


def lock(folder: Path, held: contextlib.ExitStack) -> bool:
    """Locks a folder until `held` is closed; False where it has got another name, or is gone, since it was opened.

    Raises UsageError where another process has the lock or the file cannot be written, and that or ResourceError
    where the system refuses.
    """
    with contextlib.ExitStack() as own:
        file = folder / LOCK
        with explained(folder, "locking"):
            try:
                opened = os.open(folder, os.O_RDONLY)
            except FileNotFoundError:
                return False
            except PermissionError:  # a folder that may be written to, but not listed, and is not looked at again
                _ours.pop(os.path.abspath(folder), None)
            else:
                own.callback(let_go, opened)
                _take(opened, folder)
                if not _is_still(opened, folder):
                    return False
                name = os.path.abspath(folder)
                _ours[name] = os.fstat(opened)
                own.callback(_ours.pop, name, None)
        if os.path.islink(file):
            raise UsageError(f"{file} is a link, so the folder cannot be locked", "move it away")
        with explained(file):
            try:
                opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            except FileNotFoundError:
                if os.path.isdir(folder):
                    raise
                return False
            own.callback(let_go, opened)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise UsageError(f"{file} is not a file, so the folder cannot be locked", "move it away")
        with explained(file, "locking"):
            _take(opened, folder)
        if not _is_still(opened, file):
            return False
        held.enter_context(own.pop_all())
        return True


_ours: dict[str, os.stat_result] = {}
"""What the folders that this process has locked were then, by their whole paths."""


def check_is_ours(folder: Path) -> None:
    """Raises ResourceError where a folder that this process has locked has been removed or renamed since.

    What has its name now may be another process' run, into which nothing must be written. A folder that this process
    has not locked is not looked at.
    """
    locked = _ours.get(os.path.abspath(folder))
    if locked is None:
        return
    with explained(folder, "looking at"), contextlib.suppress(FileNotFoundError):
        if os.path.samestat(locked, os.stat(folder)):
            return
    raise ResourceError(
        f"{folder} was removed or renamed while a run was trained in it",
        "a run that was renamed goes on by its new name: charrnn train and the folder's new name",
    )


def is_training(folder: Path) -> bool:
    """Returns whether a process is training in a folder; where nothing can be locked, False."""
    if os.name != "posix":
        return False
    for path in (folder, folder / LOCK):
        with contextlib.suppress(OSError):
            opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if take_lock(opened, shared=True) is Lock.THEIRS:
                    return True
            finally:
                let_go(opened)
    return False


def _take(opened: int, folder: Path) -> None:
    """Locks what is open, where there are locks. Raises UsageError where another process has it, else OSError."""
    for tries_left in reversed(range(_TRIES)):
        if take_lock(opened) is not Lock.THEIRS:
            return
        if tries_left:  # who only asks whether somebody trains has the lock for a moment
            time.sleep(_SECONDS_BETWEEN)
    raise UsageError(
        f"another process is training in {folder}",
        "wait for it, or choose another --out",
        "charrnn inspect --follow shows how it learns",
    )


def _is_still(opened: int, path: Path) -> bool:
    """Returns whether a path still leads to what is open."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened), os.stat(path))
    return False
