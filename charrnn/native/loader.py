"""Compiled libraries of the package are found where they were built, and turned away where their version is another.

They are plain C without Python's headers, so one that was built for another Python is as good as one for this.
CHARRNN_COMPILED=0 turns them off.
"""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any


def load(stem: Path, version_function: str, version: int) -> ctypes.CDLL | None:
    """Returns the first of the stem's candidates that loads and whose `version_function` gives `version`.

    Returns None where there is none (not built, damaged, of another machine, left over from another version of the
    package), or where CHARRNN_COMPILED=0 turns it off.
    """
    if os.environ.get("CHARRNN_COMPILED") == "0":
        return None
    for path in candidates(stem):
        try:
            found = ctypes.CDLL(str(path))
            is_ours = getattr(found, version_function)() == version
        except (OSError, AttributeError):
            continue
        if is_ours:
            return found
    return None


def fields(kind: type[Any], names: str) -> list[tuple[str, type[Any]]]:
    """Returns fields of one type for a ctypes structure; their names stand in one string."""
    return [(name, kind) for name in names.split()]


def candidates(stem: Path) -> list[Path]:
    """Returns the files that may be the library `stem`: those with this Python's suffixes, then other Pythons' by
    name."""
    own = [stem.with_name(stem.name + suffix) for suffix in EXTENSION_SUFFIXES]
    ending = EXTENSION_SUFFIXES[-1]  # .so, or .pyd on Windows: what all the suffixes end in
    others = sorted(stem.parent.glob(f"{stem.name}.*{ending}"))
    return [path for path in dict.fromkeys([*own, *others]) if path.is_file()]
