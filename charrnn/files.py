"""Writes files whole or not at all, and turns errors of the operating system into messages with a remedy."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import ResourceError, UsageError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY_SUFFIX = ".tmp"


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
    """Creates a folder and its parents; an existing one is fine. Raises UsageError or ResourceError."""
    with explained(path, "creating"):
        path.mkdir(parents=True, exist_ok=True)


def is_device(path: str | Path | int) -> bool:
    """Returns whether a path, or an open file, is a device, which may give bytes for ever. The null device counts as
    an empty file."""
    try:
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            return True
        return stat.S_ISCHR(found.st_mode) and found.st_rdev != os.stat(os.devnull).st_rdev
    except (OSError, ValueError):
        return False


def require_room(folder: Path, needed: int, doing: str) -> None:
    """Raises ResourceError where the disk of `folder` has no room for `needed` bytes: sooner than when it is full,
    which would trouble every other program too. `doing` says what they are needed for, as in "encoding the corpus"."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if needed > free:
        raise ResourceError(
            f"{doing} needs {_size(needed)} in {folder}, and its disk has {_size(free)} left",
            "free some space, or name a folder on another disk in CHARRNN_CACHE",
        )


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


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


def replace_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file by `write(temporary path)`, then replaces `path` by it in one step.

    The temporary file lies in the same folder, is synced to disk before the rename, takes the permissions of the
    file it replaces (or those that the umask leaves), and is removed on any failure. So `path` holds either all the old
    bytes or all the new ones, whatever happens (Pillai et al., OSDI 2014: a rename without a sync is not crash-safe).
    A link is followed. A device or a pipe (/dev/stdout) has no old bytes to keep and is written to directly.
    """
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            write(path)
            return
        path = Path(os.path.realpath(path))
        # A file name may have 255 bytes; the temporary name must not exceed that where the real one does not.
        prefix = f".{path.name[:40]}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=TEMPORARY_SUFFIX, dir=path.parent)
        temporary = Path(name)
        try:
            os.close(handle)
            write(temporary)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


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
