"""What can be read only once is kept for a process that may take the place of this one: it reads it again.

A copy of the standard input becomes the standard input. It has no name, or one that is removed early, and disappears
with the last process that has it open.
"""

from __future__ import annotations

import os
import sys
import tempfile

from charrnn.files import let_go

_gone: list[str] = []
_has_copy = False


def lost(name: str) -> None:
    """Remembers that what has this name cannot be read again."""
    _gone.append(name)


def is_ours() -> bool:
    """Returns whether the standard input of Python is that of the process."""
    try:
        return sys.platform != "win32" and sys.stdin.fileno() == 0
    except (OSError, ValueError):
        return False


def put_in_place(copy: int) -> None:
    """Makes an open file, which is closed, the standard input of this process."""
    global _has_copy
    os.dup2(copy, 0)
    let_go(copy)
    os.lseek(0, 0, os.SEEK_END)
    _has_copy = True


def file_of(content: bytes) -> int | None:
    """Returns the descriptor of a file without a name that holds `content`; None where there is no place for it."""
    try:
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("stdin")
        else:
            with tempfile.TemporaryFile() as temporary:
                file = os.dup(temporary.fileno())
    except OSError:
        return None
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        let_go(file)
        return None
    return file


def set_back() -> list[str]:
    """Prepares what this process has read for a process that takes its place; returns the names of what cannot be read
    again."""
    if _has_copy:
        os.lseek(0, 0, os.SEEK_SET)
    return list(_gone)
