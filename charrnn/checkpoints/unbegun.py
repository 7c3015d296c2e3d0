"""The folder of a run that was refused before it began."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"


@contextlib.contextmanager
def removed_unless_begun(folder: Path) -> Iterator[None]:
    """A context in which a run's folder may be made. An error within removes it, and the folders above it that were
    made as well, where nothing is in it but its lock: what is refused leaves nothing behind."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if missing and set(os.listdir(folder)) <= {_LOCK}:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(folder / _LOCK)
                for path in missing:  # a folder that something else is in stays
                    os.rmdir(path)
        raise
