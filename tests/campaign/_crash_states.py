"""What a disk may hold after a power cut, made from a record of changes.

Of a file the bytes that were synced last are there; what came later may be there, in part, or as NULs. A folder's
entries may be as they were at the cut or earlier, but not before they were synced:

* ordered: changes of entries are on the disk in the order in which they were made, as a journal keeps them, and every
  sync of anything brings all of them until then to the disk;
* weak: each may be missing on its own, until its own folder is synced. Only a rename within one folder is a whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.kit.recorded import Change, Linked, Log, Renamed, Synced, Wrote


@dataclass
class CrashState:
    """A folder after a power cut: the entries of each folder, and the bytes of each file."""

    entries: dict[int, dict[str, int]]
    contents: dict[int, bytes]

    def build(self, folder: Path, node: int = 0) -> None:
        """Makes it."""
        for name, child in self.entries.get(node, {}).items():
            if child in self.entries:
                os.mkdir(folder / name)
                self.build(folder / name, child)
            else:
                (folder / name).write_bytes(self.contents[child])


def crash_state(recording: Log, cut: int, draw: Random, *, is_weak: bool) -> CrashState:
    """Returns one of the states that a power cut before the change of number `cut` may leave."""
    past = recording.changes[:cut]
    entries: dict[int, dict[str, int]] = {node: {} for node in recording.folders}
    for change in recording.before:
        _apply(change, entries)
    _apply_each(_that_are_there(past, draw, is_weak), entries)
    versions: dict[int, list[bytes]] = {}
    for change in recording.before:
        if isinstance(change, Wrote):
            versions[change.node] = [change.content]
    for change in past:
        if isinstance(change, Wrote):
            versions.setdefault(change.node, [b""]).append(change.content)
        elif isinstance(change, Synced) and change.node in versions:
            del versions[change.node][:-1]
    files = {node for found in entries.values() for node in found.values()} - entries.keys()
    how = draw.choice(["old", "new", "torn", "torn"])
    return CrashState(entries, {node: _content(versions.get(node, [b""]), how, draw) for node in sorted(files)})


def _that_are_there(past: list[Change], draw: Random, is_weak: bool) -> list[Linked]:
    """Returns the changes of entries that have reached the disk, in order."""
    if not is_weak:
        synced = [place for place, change in enumerate(past) if isinstance(change, Synced)]
        until = draw.randint(synced[-1] if synced else 0, len(past))
        return [part for change in past[:until] for part in _parts(change)]
    last_synced = {change.node: place for place, change in enumerate(past) if isinstance(change, Synced)}
    share = draw.choice([0.0, 0.1, 0.5, 0.9, 1.0])
    there: list[Linked] = []
    for place, change in enumerate(past):
        parts = _parts(change)
        if len(parts) == 2 and parts[0].folder != parts[1].folder:
            groups = [[part] for part in parts]
        else:
            groups = [parts] if parts else []
        for group in groups:
            if place < last_synced.get(group[0].folder, -1) or draw.random() < share:
                there += group
    return there


def _parts(change: Change) -> list[Linked]:
    if isinstance(change, Renamed):
        return [change.lost, change.got]
    return [change] if isinstance(change, Linked) else []


def _apply(change: Change, entries: dict[int, dict[str, int]]) -> None:
    _apply_each(_parts(change), entries)


def _apply_each(changes: list[Linked], entries: dict[int, dict[str, int]]) -> None:
    for folder, name, node in changes:
        if node is None:
            entries[folder].pop(name, None)
        else:
            entries[folder][name] = node


def _content(versions: list[bytes], how: str, draw: Random) -> bytes:
    """Returns what may be on the disk of a file that was synced in its first version and not since."""
    if len(versions) == 1 or how == "old":
        return versions[0]
    if how == "new":
        return versions[-1]
    sizes = [len(version) for version in versions]
    size, whole = draw.choice([*sizes, draw.randint(min(sizes), max(sizes))]), min(sizes)
    block = draw.choice([16, 64, 512, 4096])
    torn = bytearray(size)  # NULs
    for start in range(0, size, block):
        end = min(start + block, size)
        version = draw.choice([*versions, b""])
        if start < whole and len(version) < end:
            version = draw.choice(versions)  # what was there in every version is no NUL
        torn[start:end] = version[start:end].ljust(end - start, b"\0")
        if start < whole:
            kept = min(whole, end)
            source = version if len(version) >= kept else versions[-1]
            torn[start:kept] = source[start:kept]
    return bytes(torn)
