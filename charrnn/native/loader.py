"""A compiled library of the package: found where it was built, and turned away where it is not what its caller knows.

Knows files, versions and the switch CHARRNN_COMPILED. Refuses to know what a library computes.
"""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def load(stem: Path, version_function: str, version: int) -> ctypes.CDLL | None:
    """The first of `stem` with one of Python's suffixes that loads and whose `version_function` gives `version`.

    None where there is none (not built, damaged, of another machine, left over from another version of the package), or
    where CHARRNN_COMPILED=0 turns it off.
    """
    if os.environ.get("CHARRNN_COMPILED") == "0":
        return None
    for suffix in EXTENSION_SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            try:
                found = ctypes.CDLL(str(path))
                is_ours = getattr(found, version_function)() == version
            except (OSError, AttributeError):
                continue
            if is_ours:
                return found
    return None
