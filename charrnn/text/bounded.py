"""Keeps the cache of encoded texts from growing for ever: what was used longest ago goes first.

An entry was last used when its description was last touched, which is done whenever it is read. One that a process has
in use is locked (`entries.py`), and stays. On a disk without locks nobody can tell, and what was used within a week
stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from charrnn.files import let_go
from charrnn.system_errors import Lock, take_lock
from charrnn.text import entries, under_way
from charrnn.text.cache import largest_size

_KEY = re.compile("[0-9a-f]{32}")
_LONG = 7 * 24 * 60 * 60.0
"""Seconds after which an entry on a disk without locks counts as unused."""


class _Entry(NamedTuple):
    used: float
    """When it was last used, in seconds of the system's clock."""
    size: int
    folder: Path


def shrink() -> None:
    """Removes entries, the one used longest ago first, until the rest takes no more than is allowed.

    What cannot be removed stays. Raises UsageError where CHARRNN_CACHE_SIZE is no size.
    """
    most = largest_size()
    every = sorted(entry for shelf in under_way.shelves() for entry in _entries(shelf))
    size = sum(entry.size for entry in every)
    for entry in every:
        if size <= most:
            return
        with contextlib.suppress(OSError):
            if not _is_in_use(entry):
                entries.remove(entry.folder)
                size -= entry.size


def _entries(shelf: Path) -> list[_Entry]:
    found = []
    with contextlib.suppress(OSError), os.scandir(shelf) as folders:
        for folder in folders:
            if _KEY.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    files = [os.lstat(os.path.join(folder.path, name)) for name in os.listdir(folder.path)]
                    used = max((file.st_mtime for file in files), default=0.0)
                    found.append(_Entry(used, sum(file.st_size for file in files), Path(folder.path)))
    return found


def _is_in_use(entry: _Entry) -> bool:
    try:
        descriptor = os.open(entry.folder / entries.IDS, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False
    try:
        taken = take_lock(descriptor)
    finally:
        let_go(descriptor)
    return taken is Lock.THEIRS or (taken is Lock.NONE and time.time() - entry.used < _LONG)
