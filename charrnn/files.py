"""Files are written whole or not at all, and an error of the system becomes a message with a remedy."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
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
    """Turns an OSError inside into one that says what was being done to which path: status 6 when there is no room."""
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


def sync_folder(path: Path) -> None:
    """Makes renames inside a folder survive a power cut, where the system lets a folder be synced."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # network file systems that know no such thing
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
    """Writes a file by `write(temporary path)`, then puts it in the place of `path` in one step.

    The temporary file lies in the same folder, is synced to disk before the rename, takes the permissions of the
    file it replaces (or what the umask asks), and is removed on any failure. So `path` holds the old bytes or the
    new ones, whole, whatever happens (Pillai et al., OSDI 2014: a rename without a sync is not crash-safe).
    A link is followed. A device or a pipe (/dev/stdout) has no old bytes to keep and is written to as it is.
    """
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            write(path)
            return
        path = Path(os.path.realpath(path))
        # The system bounds a name at 255 bytes; the temporary one must not be too long where the real one is not.
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
    """Gives back the memory of a mapped numpy array that has been read: where it is used again, it is read again.

    Without this, a reader of a whole map comes to look as large as the map, and whoever copies the arrays of a file one
    by one holds all of them twice. It costs a microsecond, and about as much for each page that is read again. Arrays
    that are not mapped, and systems without the call, are left as they are.
    """
    import numpy as np  # help pages come without it

    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not (isinstance(base, mmap.mmap) and array.nbytes and hasattr(mmap, "MADV_DONTNEED")):
        return
    begin = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    start = begin // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, start, begin + array.nbytes - start)
