"""What may happen to an entry of the cache of encoded texts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.text.entries import DESCRIBED, IDS

WILD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1.5, 1e308, float("nan"), "", "x", "9" * 5000, [], [[]], {}, {"a": 1},
    [-1], [0, 0], [5, 3], [1.5, 2.5], [0x110000], list(range(256)), list(range(60)), ["a"], [None], [2**70],
]  # fmt: skip


def entries(cache: Path) -> list[Path]:
    """What lies on the cache's shelves under an entry's name."""
    return sorted(path for shelf in cache.glob("corpora*") for path in shelf.glob("*") if path.name != "under-way")


def _damage(path: Path, change: Callable[[bytearray], object]) -> None:
    with contextlib.suppress(OSError):
        if not path.is_file():  # a pipe or /dev/zero has no end
            return
        raw = bytearray(path.read_bytes())
        change(raw)
        with open(path, "rb+") as file:  # in place, as a disk does it
            file.write(raw)
            file.truncate(len(raw))


def _some(pick: random.Random, raw: bytearray) -> slice:
    start = pick.randrange(len(raw))
    return slice(start, min(len(raw), start + pick.choice([1, 1, 7, 64, 500, len(raw)])))


def _fill(raw: bytearray, where: slice, value: int) -> None:
    raw[where] = bytes([value]) * (where.stop - where.start)


def _flip(raw: bytearray, where: slice, pick: random.Random) -> None:
    """Another byte in each place, most often one that is an id as well."""
    for place in range(where.start, where.stop):
        raw[place] ^= pick.choice([1, 1, 2, 128])


def _described(entry: Path, pick: random.Random) -> None:
    """A description with the right digest, which says something wild."""

    def change(raw: bytearray) -> None:
        try:
            content = json.loads(bytes(raw).partition(b"\n")[2])
        except ValueError:  # it is damaged already
            return
        if not isinstance(content, dict) or len(content) < 9 or not isinstance(content["code_points"], list):
            return
        name = pick.choice(["key", "kind", "code_points", "characters", "block", "digests", "sha256"])
        value = pick.choice([each for each in WILD if each != content[name]])
        if name == "code_points" and isinstance(value, list):
            value = value[: len(content[name]) - 1]  # as many, or more, might be the vocabulary of another text
        content[name] = value
        if pick.random() < 0.2:
            del content[name]
        line = pick.choice([json.dumps(content).encode(), b"[" * 100_000, b"{}", b"", b"null", b"1e999", b"\xff\xfe"])
        if pick.random() < 0.6:
            line = json.dumps(content).encode()
        raw[:] = hashlib.sha256(line).hexdigest().encode() + b"\n" + line

    _damage(entry / DESCRIBED, change)


def _replaced(entry: Path, pick: random.Random) -> None:
    path = pick.choice([entry, entry / IDS, entry / DESCRIBED])
    away = entry.parent.parent / "away"
    with contextlib.suppress(OSError):
        path.rename(away) if path.is_dir() else path.unlink()
    shutil.rmtree(away, ignore_errors=True)
    kind = pick.choice(["file", "folder", "full", "pipe", "dangling", "device", "loop", "missing"])
    if kind == "file":
        path.write_bytes(pick.randbytes(pick.choice([0, 5, 3000])))
    elif kind in ("folder", "full"):
        path.mkdir()
        if kind == "full":
            (path / "something").write_bytes(b"x")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to({"dangling": "nowhere", "device": "/dev/zero", "loop": path.name}[kind])


def _linked(entry: Path, pick: random.Random) -> None:
    """The same content, by way of a link."""
    path = pick.choice([entry, entry / IDS, entry / DESCRIBED])
    away = entry.parent.parent.parent / f"elsewhere-{path.name}"
    path.rename(away)
    path.symlink_to(away)


def attack_entry(kind: str, entry: Path, pick: random.Random) -> None:
    """Attacks an entry; see ATTACKS."""
    part = entry / pick.choice([IDS, IDS, DESCRIBED])
    changes: dict[str, Callable[[bytearray], object]] = {
        "flipped": lambda raw: _flip(raw, _some(pick, raw), pick),
        "zeroed": lambda raw: _fill(raw, _some(pick, raw), 0),
        "ones": lambda raw: _fill(raw, _some(pick, raw), 0xFF),
        "truncated": lambda raw: raw.__delitem__(slice(pick.randrange(len(raw)), None)),
        "extended": lambda raw: raw.extend(pick.randbytes(pick.choice([1, 64, 5000]))),
        "swapped": lambda raw: raw.__setitem__(slice(None), raw[1:] + raw[:1]),
        "brackets": lambda raw: raw.__setitem__(slice(None), b"[" * 100_000),
    }
    if kind in changes:
        _damage(entry / DESCRIBED if kind == "brackets" else part, changes[kind])
    elif kind == "wild":
        _described(entry, pick)
    elif kind == "replaced":
        _replaced(entry, pick)
    elif kind == "linked":
        _linked(entry, pick)
    elif kind == "removed":
        shutil.rmtree(entry, ignore_errors=True)
    elif kind == "forbidden":
        for path in pick.choice([[entry], [entry.parent], [entry / IDS], [entry / DESCRIBED, entry / IDS]]):
            path.chmod(pick.choice([0, 0o200, 0o100, 0o500]) if path != entry / IDS else 0)
    else:
        raise ValueError(kind)


CHANGES = ["flipped", "zeroed", "ones", "truncated", "extended", "swapped"]
"""What a disk may do to a file's bytes."""
ATTACKS = [*CHANGES, "brackets", "wild", "replaced", "removed"]
"""What may lie there when a command begins."""
