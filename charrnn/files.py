"""Writes files whole or not at all, and turns errors of the operating system into messages with a remedy."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import ResourceError, UsageError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PRIVATE_PREFIX, _PRIVATE_SUFFIX = ".charrnn-", ".tmp"
_PRIVATE = re.compile(r"\.charrnn-\w{8}\.tmp")
_ABANDONED = 24 * 60 * 60.0
"""Seconds after which nobody writes in a private folder any more."""


def cache_folder() -> Path:
    """Returns the folder of encoded corpora and downloads: `CHARRNN_CACHE`, else the system's place for a user's
    caches."""
    named = os.environ.get("CHARRNN_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("charrnn", appauthor=False))


@contextlib.contextmanager
def explained(path: Path, doing: str = "writing") -> Iterator[None]:
    """Turns an OSError inside into a UsageError, or a ResourceError without room, that says what was done to `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise ResourceError(
                f"no room left {doing} {path}: {reason}", "free some space; what was there before is untouched"
            ) from error
        hint = "check its name and its permissions" if "reading" in doing else "choose a place that can be written to"
        raise UsageError(f"cannot go on {doing} {path}: {reason}", hint) from error


def make_folder(path: Path) -> None:
    """Creates a folder and its parents durably; an existing one is fine. Raises UsageError or ResourceError."""
    with explained(path, "creating"):
        missing, there = [], path
        while not os.path.lexists(there) and there != there.parent:
            missing.append(there)
            there = there.parent
        if not missing:
            path.mkdir(exist_ok=True)
            return
        # Who made the folder that is there may have been killed before its name was on the disk.
        with contextlib.suppress(OSError):
            sync_folder(there / os.pardir)
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Syncs a folder to disk, so that renames inside it survive a power cut, where the system supports this."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    # Reading the umask means setting it; there is no other portable way.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def replace_durably(path: Path, write: Callable[[Path], object], *, follows_links: bool = True) -> None:
    """Writes a file by `write(temporary path)`, then replaces `path` by it in one step.

    The temporary file lies in a private folder beside `path`, with whatever else `write` leaves there, is synced to
    disk before the rename, and takes the permissions of the file it replaces (or those that the umask leaves). The
    folder is removed on any failure, and where a process was killed by `remove_leftovers`. So `path` holds either all
    the old bytes or all the new ones, whatever happens (Pillai et al., OSDI 2014: a rename without a sync is not
    crash-safe). A link is followed, or replaced by the file where `follows_links` is not set. A device or a pipe
    (/dev/stdout) has no old bytes to keep and is written to directly.
    """
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            write(path)
            return
        if follows_links:
            path = Path(os.path.realpath(path))
        remove_leftovers(path.parent, older_than=_ABANDONED)
        private = Path(tempfile.mkdtemp(prefix=_PRIVATE_PREFIX, suffix=_PRIVATE_SUFFIX, dir=path.parent))
        try:
            with _in_use(private):
                temporary = private / "file"
                write(temporary)
                mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
                with open(temporary, "rb+") as file:
                    temporary.chmod(mode)
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                sync_folder(path.parent)
        finally:
            shutil.rmtree(private, ignore_errors=True)


@contextlib.contextmanager
def _in_use(private: Path) -> Iterator[None]:
    """Keeps a private folder locked, where the system can, so that others see that its process is alive."""
    opened = _locked(private)
    try:
        yield
    finally:
        if opened is not None:
            with contextlib.suppress(OSError):
                os.close(opened)


def _locked(private: Path) -> int | None:
    """Locks a folder and returns its descriptor; None where it cannot be locked. Raises BlockingIOError if it is."""
    try:
        import fcntl
    except ImportError:
        return None
    opened = None
    try:
        opened = os.open(private, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)  # type: ignore[arg-type]
        raise
    except OSError:
        pass
    return opened


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Removes what killed processes were writing in a folder: private folders of `replace_durably`, by age in seconds.

    One whose process is alive is left alone. Other machines do not see that it is: without an age, none of them may be
    writing there. What cannot be removed stays.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PRIVATE.fullmatch(entry.name) is None:
                continue
            with contextlib.suppress(OSError):
                is_folder, changed = entry.is_dir(follow_symlinks=False), entry.stat(follow_symlinks=False).st_mtime
                if is_folder and (not older_than or time.time() - changed > older_than):
                    with _in_use(Path(entry.path)):  # which raises an OSError where another process is there
                        shutil.rmtree(entry.path, ignore_errors=True)


def release_pages(array: Any) -> None:
    """Releases the memory pages of a mapped numpy array that has been read; a later access reads them again.

    Without this, a process that reads a whole map seems to use as much memory as the map is large, and one that copies
    the arrays of a file one by one holds all of them twice. It costs a microsecond, and about as much for each page
    that is read again. It does nothing for arrays that are not mapped, and on systems without the call.
    """
    import numpy as np  # imported here, since help pages must not load it

    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not (isinstance(base, mmap.mmap) and array.nbytes and hasattr(mmap, "MADV_DONTNEED")):
        return
    begin = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    start = begin // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, start, begin + array.nbytes - start)
