"""Where the cache of encoded texts lies, and in it a private folder for all that is under way.

    corpora/KEY/                  an entry, which is whole
    corpora/under-way/work-.../   what one process is making, and a file that it keeps locked as long as it lives

An entry is made in such a folder and gets its place by a rename. What a killed process has left is not locked any more,
and the next start removes it; what is locked is left alone. All of a shelf lies on one disk, even where `corpora` is a
link to another one.

Several users may share a cache. One who must not write to `corpora`, or to what another has put there, has a shelf of
his own, `corpora-of-UID`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from charrnn.files import let_go, make_levels, remove_all
from charrnn.system_errors import Lock, Outcome, outcome_of, retried, take_lock
from charrnn.text.cache import CACHE, cache_folder, usual_folder

_Done = TypeVar("_Done")
_FOLDER = "under-way"
_PREFIX = "work-"
_LOCK = "lock"
_ATTEMPTS = 100


def shelves() -> list[Path]:
    """Returns the folders in which entries lie, in the order in which they are looked through and filled."""
    shared = cache_folder() / "corpora"
    found = [shared, shared.with_name(f"corpora-of-{os.geteuid()}")] if hasattr(os, "geteuid") else [shared]
    # What cannot be written to may still hold what another machine has put there.
    return found if os.environ.get(CACHE) else list(dict.fromkeys([*found, usual_folder() / "corpora"]))


class Workplace:
    """A folder of this process's own, on a shelf, until it is removed or the program ends."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor
        self._process = os.getpid()
        atexit.register(self.remove)

    def remove(self) -> None:
        """Removes the folder with all that is in it. A process that was forked off has no part in it."""
        if self._descriptor is None or self._process != os.getpid():
            return
        descriptor, self._descriptor = self._descriptor, None
        if os.name == "nt":  # where nothing open can be removed
            let_go(descriptor)
        _remove(self.folder)
        if os.name != "nt":
            let_go(descriptor)
        atexit.unregister(self.remove)
        with contextlib.suppress(OSError):  # others are at work in it
            retried(self.folder.parent.rmdir)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        self.remove()


def begin() -> Workplace:
    """Makes a workplace on the first shelf that takes one. Raises OSError, that of the first shelf, where none does."""
    clear()
    return on_a_shelf(_made)


def on_a_shelf(do: Callable[[Path], _Done]) -> _Done:
    """Returns what `do` returns for the first shelf that does not refuse. Raises the first shelf's OSError where all
    do, and at once one that another shelf of the same machine would give as well."""
    refused: OSError | None = None
    for shelf in shelves():
        try:
            return do(shelf)
        except OSError as error:
            if outcome_of(error) is Outcome.RESOURCES:
                raise
            refused = refused or error
    assert refused is not None
    raise refused


def _made(shelf: Path) -> Workplace:
    folder = shelf / _FOLDER
    for _ in range(_ATTEMPTS):
        make_levels(folder, is_durable=False)
        if not _belongs_to_us(os.lstat(folder)):
            raise PermissionError(errno.EACCES, f"{folder} belongs to another user, or is no folder")
        work = folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # another process has just removed what was empty
            retried(work.mkdir)
            descriptor = _claimed(work, is_new=True)
            if descriptor is not None:
                return Workplace(work, descriptor)
    raise OSError(f"no folder can be kept in {folder}: something removes it at once")


def clear() -> None:
    """Removes what processes that were killed have left under way. What cannot be removed stays."""
    for shelf in shelves():
        folder = shelf / _FOLDER
        if not _is_ours(folder):
            continue
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                descriptor = _claimed(folder / name) if name.startswith(_PREFIX) else None
                if descriptor is not None:
                    _remove(folder / name)
                    let_go(descriptor)
        with contextlib.suppress(OSError):
            retried(folder.rmdir)


def _remove(work: Path) -> None:
    """Removes a folder with all that can be removed in it, also what its owner took the permissions from."""
    for parent, names, _ in os.walk(work):
        for name in names:
            if not os.path.islink(os.path.join(parent, name)):
                with contextlib.suppress(OSError):
                    os.chmod(os.path.join(parent, name), 0o700)
    remove_all(work)


def _is_ours(folder: Path) -> bool:
    """Returns whether a path is a folder, and no link to one, of this user: only in such a one anything is removed."""
    try:
        return _belongs_to_us(os.lstat(folder))
    except OSError:
        return False


def _belongs_to_us(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "geteuid") or status.st_uid == os.geteuid())


def _claimed(work: Path, *, is_new: bool = False) -> int | None:
    """Locks a folder that is under way; returns what keeps it locked, or None where another process has it.

    A new folder is its maker's also where the disk knows no locks, and an old one then nobody's.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(work / _LOCK, flags, 0o600)
    except OSError:
        if is_new and work.exists():
            raise
        return None
    is_claimed = is_new
    if os.name == "posix":  # elsewhere what a killed process leaves stays
        try:
            taken = take_lock(descriptor)
            is_claimed = taken is Lock.OURS or (is_new and taken is Lock.NONE)
        except OSError:
            # A folder of our own that is not locked would be taken for a killed process's.
            if is_new:
                let_go(descriptor)
                raise
    # The one who had it before may have removed it between the opening and the lock.
    with contextlib.suppress(OSError):
        if is_claimed and os.path.samestat(os.fstat(descriptor), os.stat(work / _LOCK)):
            return descriptor
    let_go(descriptor)
    return None
