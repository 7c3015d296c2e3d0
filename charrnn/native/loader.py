"""Compiled libraries of the package are found where they were built, and turned away where their version is another.

They are plain C without Python's headers, so one that was built for another Python is as good as one for this.
CHARRNN_COMPILED=0 turns them off, and CHARRNN_SET holds them to an instruction set.
"""

from __future__ import annotations

import ctypes
import os
import struct
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.errors import UsageError

_ENDING = EXTENSION_SUFFIXES[-1]
""".so, or .pyd on Windows: what all the suffixes end in, and the plain ending that `build.py` gives our libraries."""


SET_VARIABLE = "CHARRNN_SET"
_SETS = ("portable", "avx2", "avx512")
"""By the numbers that the compiled code has for them (processor.h)."""


class Search(NamedTuple):
    """What became of looking for a library."""

    library: ctypes.CDLL | None
    outdated: Path | None = None
    """A file that is built from the sources of another version of the package, where no library was found."""
    unusable: Path | None = None
    """A file that does not load here, where no library was found."""
    is_off: bool = False
    """Whether CHARRNN_COMPILED=0 turned it off."""


def search(stem: Path, version_function: str, version: int) -> Search:
    """Returns the first of the stem's candidates that loads and whose `version_function` gives `version`."""
    if os.environ.get("CHARRNN_COMPILED") == "0":
        return Search(None, is_off=True)
    outdated: Path | None = None
    unusable: Path | None = None
    for path in candidates(stem):
        try:
            found = ctypes.CDLL(str(path)) if _is_whole(path) else None
        except OSError:
            found = None
        if found is None:
            unusable = unusable or path
        elif _version(found, version_function) == version:
            return Search(found)
        else:
            outdated = outdated or path
    return Search(None, outdated, unusable)


def load(stem: Path, version_function: str, version: int) -> ctypes.CDLL | None:
    """Returns the library that `search` finds.

    Returns None where there is none (not built, damaged, of another machine, left over from another version of the
    package), or where CHARRNN_COMPILED=0 turns it off.
    """
    return search(stem, version_function, version).library


def absence(found: Search) -> tuple[str, str] | None:
    """Says in words why there is no library, and what brings it; None where there is one, or it is off on purpose."""
    if found.library is not None or found.is_off:
        return None
    if found.outdated is not None:
        return f"{found.outdated.name} was built by another version of charrnn", "install charrnn again"
    if found.unusable is not None:
        return f"{found.unusable.name} is damaged, or was built for another machine", "install charrnn again"
    return "charrnn was installed without its compiled code", "install gcc or clang, then charrnn again"


def permitted_set(best: int) -> int:
    """Returns the number of the instruction set to compute with: `best`, which is the machine's, or the one that
    CHARRNN_SET names where that is less. Raises UsageError where it names none."""
    named = os.environ.get(SET_VARIABLE)
    if not named:
        return best
    if named not in _SETS:
        raise UsageError(f"{SET_VARIABLE} is {named!r}", f"leave it out, or set it to {' or '.join(_SETS[:2])}")
    return min(best, _SETS.index(named))


def fields(kind: type[Any], names: str) -> list[tuple[str, type[Any]]]:
    """Returns fields of one type for a ctypes structure; their names stand in one string."""
    return [(name, kind) for name in names.split()]


def candidates(stem: Path) -> list[Path]:
    """Returns the files that may be the library `stem`: the plain name, then those with a suffix of some Python."""
    others = sorted(stem.parent.glob(f"{stem.name}.*{_ENDING}"))
    return [path for path in [stem.with_name(stem.name + _ENDING), *others] if path.is_file()]


def _version(library: ctypes.CDLL, function: str) -> int | None:
    try:
        return int(getattr(library, function)())
    except AttributeError:
        return None


def _is_whole(path: Path) -> bool:
    """Whether a library in the ELF format reaches to the end of which its header speaks.

    Linux maps a library that was cut short, or whose end was never written, as if it were whole; whoever touches what
    is missing is ended by a signal, while it loads or later. The loaders of other formats look for themselves.
    """
    with path.open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02" or len(head) < 64:
            return True
        order = "<" if head[5] == 1 else ">"
        (table,) = struct.unpack_from(f"{order}Q", head, 0x28)
        size, count = struct.unpack_from(f"{order}2H", head, 0x3A)
        if count == 0:
            return True
        file.seek(table + size * (count - 1))
        last = file.read(size)
    return len(last) == size and any(last)
