"""Where encoded texts and downloads are kept, also on a machine whose user has no home that can be written to."""

from __future__ import annotations

import functools
import os
import re
import stat
import tempfile
from pathlib import Path

from charrnn.errors import UsageError

CACHE = "CHARRNN_CACHE"
SIZE = "CHARRNN_CACHE_SIZE"
DEFAULT_SIZE = 10 * 10**9
"""Bytes of encoded texts that are kept, unless CHARRNN_CACHE_SIZE says otherwise."""
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FEWEST_AND_MOST = 0, 10**18


def cache_folder() -> Path:
    """Returns the folder of encoded corpora and downloads: `CHARRNN_CACHE`, else the system's place for a user's
    caches, or where that cannot be written to, a folder among the system's temporary ones."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    usual = usual_folder()
    if _takes_files(usual):
        return usual
    return _temporary() or usual


def usual_folder() -> Path:
    """Returns the system's place for a user's caches, be it there or not."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("charrnn", appauthor=False))


def elsewhere() -> str | None:
    """Says that the cache is among the temporary files, where that is so because of the usual place; else None."""
    if os.environ.get(CACHE) or (folder := cache_folder()) == (usual := usual_folder()):
        return None
    return (
        f"{usual} cannot be written to, so what is kept of texts lies in {folder}, which the system may empty: "
        f"{CACHE} names another folder"
    )


def largest_size() -> int:
    """Returns the number of bytes that encoded texts may take together. Raises UsageError where CHARRNN_CACHE_SIZE is
    no size."""
    said = os.environ.get(SIZE)
    if not said:
        return DEFAULT_SIZE
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([kKMGT]?B|)\s*", said)
    low, high = _FEWEST_AND_MOST
    if found is None or not low <= (size := float(found[1]) * _UNITS[found[2].upper()]) <= high:
        raise UsageError(f"{SIZE} is {said!r}", "give a size such as 500MB or 20GB, or leave it out")
    return int(size)


@functools.cache
def _takes_files(folder: Path) -> bool:
    """Returns whether files can be put into a folder, which need not be there yet. It is tried: what a system says of
    permissions is not all that there is to it."""
    if not folder.is_absolute():  # nobody knows where this user's home is
        return False
    try:
        while not os.path.lexists(folder):
            folder = folder.parent
        os.rmdir(tempfile.mkdtemp(prefix=".charrnn-", suffix=".tmp", dir=folder))
    except OSError:
        return False
    return True


def _temporary() -> Path | None:
    """Returns a folder of this user's own among the temporary files, which is made if it is missing; None where there
    is none that nobody else can write to."""
    try:
        folder = Path(tempfile.gettempdir()) / (f"charrnn-{os.geteuid()}" if hasattr(os, "geteuid") else "charrnn")
        if not os.path.lexists(folder):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
    except OSError:
        return None
    is_ours = not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & 0o022)
    return folder if stat.S_ISDIR(found.st_mode) and is_ours else None
