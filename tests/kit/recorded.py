"""Runs the command line, and writes down every change that it makes to a folder, in order, and every sync.

    python -m tests.kit.recorded LOG FOLDER train corpus.txt ...

The calls of `os` that change or sync files are wrapped: before and after each, the folder is compared with what it was
before. So what does not go through Python (safetensors writes its files in Rust) and what is buffered is seen too, at
the next of these calls. LOG is a file that `read` reads.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_WATCHED = ("open", "mkdir", "rmdir", "unlink", "remove", "rename", "replace", "fsync", "truncate", "ftruncate")


class Linked(NamedTuple):
    """A folder has got an entry (or, where `node` is None, has lost it)."""

    folder: int
    name: str
    node: int | None


class Renamed(NamedTuple):
    """An entry has become another one, in one call."""

    lost: Linked
    got: Linked


class Wrote(NamedTuple):
    """A file has other bytes than before: all of them."""

    node: int
    content: bytes


class Synced(NamedTuple):
    """A file or a folder was synced to the disk."""

    node: int


class Returned(NamedTuple):
    """A checkpoint was saved, and its path relative to the folder; whoever asked has been told so."""

    path: str


Change = Linked | Renamed | Wrote | Synced | Returned


@dataclass
class Log:
    """Folders and files are nodes with numbers; the folder itself is 0."""

    folders: set[int] = field(default_factory=lambda: {0})
    before: list[Change] = field(default_factory=list)
    """What makes the folder as it was at the beginning, all of it on the disk."""
    changes: list[Change] = field(default_factory=list)


class Recorder:
    """Compares a folder with what it was."""

    def __init__(self, folder: Path) -> None:
        self.log = Log()
        self._folder = folder
        self._numbers = {os.stat(folder).st_ino: 0}
        self._made = 0
        self._entries: dict[tuple[int, str], int] = {}
        self._contents: dict[int, bytes] = {}
        self.look()
        self.log.before, self.log.changes = self.log.changes, []

    def look(self, *, is_renaming: bool = False) -> None:
        """Writes down what has changed since the last look."""
        entries: dict[tuple[int, str], int] = {}
        contents: dict[int, bytes] = {}
        self._walk(str(self._folder), 0, entries, contents)
        lost = [Linked(*place, None) for place in self._entries if place not in entries]
        got = [Linked(*place, node) for place, node in entries.items() if self._entries.get(place) != node]
        if is_renaming and len(lost) == len(got) == 1:
            self.log.changes.append(Renamed(lost[0], got[0]))
        else:
            self.log.changes += [*lost, *got]
        self.log.changes += [
            Wrote(node, content) for node, content in contents.items() if self._contents.get(node, b"") != content
        ]
        self._entries, self._contents = entries, contents
        there = {0, *entries.values()}  # the number of a file that is gone may become another's
        self._numbers = {inode: number for inode, number in self._numbers.items() if number in there}

    def synced(self, opened: int) -> None:
        """Writes down that a file or a folder was synced."""
        number = self._numbers.get(os.fstat(opened).st_ino)
        if number is not None:
            self.log.changes.append(Synced(number))

    def returned(self, path: Path) -> None:
        """Writes down that a checkpoint was saved."""
        self.look()
        self.log.changes.append(Returned(os.path.relpath(path, self._folder)))

    def _walk(self, path: str, number: int, entries: dict[tuple[int, str], int], contents: dict[int, bytes]) -> None:
        with os.scandir(path) as found:
            for entry in sorted(found, key=lambda each: each.name):
                inode = entry.inode()
                if inode not in self._numbers:
                    self._made += 1
                    self._numbers[inode] = self._made
                node = entries[number, entry.name] = self._numbers[inode]
                if entry.is_dir():
                    self.log.folders.add(node)
                    self._walk(entry.path, node, entries, contents)
                else:
                    with open(entry.path, "rb") as file:
                        contents[node] = file.read()


def watch(recorder: Recorder) -> None:
    """From now on, what this process changes is written down."""
    is_looking = False

    def wrapped(name: str, original: Any) -> Any:
        def function(*args: Any, **options: Any) -> Any:
            nonlocal is_looking
            if is_looking:
                return original(*args, **options)
            is_looking = True
            recorder.look()
            try:
                result = original(*args, **options)
                recorder.look(is_renaming=name in ("rename", "replace"))
                if name == "fsync":
                    recorder.synced(args[0])
            finally:
                is_looking = False
            return result

        return function

    from charrnn.checkpoints import checkpoint as checkpoints

    save = checkpoints.save

    def saved(path: Path, *args: Any, **options: Any) -> None:
        save(path, *args, **options)
        recorder.returned(path)

    checkpoints.save = saved
    for name in _WATCHED:
        setattr(os, name, wrapped(name, getattr(os, name)))


def write(log: Log, path: Path) -> None:
    """Writes a log as JSON."""
    path.write_text(json.dumps([sorted(log.folders), [*map(_plain, log.before)], [*map(_plain, log.changes)]]))


def read(path: Path) -> Log:
    """Reads what `write` has written."""
    folders, before, changes = json.loads(path.read_text())
    return Log(set(folders), [*map(_change, before)], [*map(_change, changes)])


def _plain(change: Change) -> list[Any]:
    if isinstance(change, Wrote):
        return ["Wrote", change.node, base64.b64encode(change.content).decode()]
    return [type(change).__name__, *change]


def _change(plain: list[Any]) -> Change:
    kind, *values = plain
    if kind == "Wrote":
        return Wrote(values[0], base64.b64decode(values[1]))
    if kind == "Renamed":
        return Renamed(Linked(*values[0]), Linked(*values[1]))
    kinds: dict[str, Any] = {"Linked": Linked, "Synced": Synced, "Returned": Returned}
    change: Change = kinds[kind](*values)
    return change


def main() -> None:
    """Does what the words of the command line say."""
    from charrnn.cli import app

    made = Recorder(Path(sys.argv[2]).resolve())
    target = Path(sys.argv[1]).resolve()
    sys.argv = ["charrnn", *sys.argv[3:]]
    watch(made)
    try:
        app.main()
    finally:
        made.look()
        write(made.log, target)


if __name__ == "__main__":
    main()
