"""Hostile texts in hostile forms, through every command that reads text."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from charrnn.checkpoints.checkpoint import save
from tests.campaign._attacked import Attack, Attacked, Ended
from tests.campaign._commands import COMMANDS, MODELS, known
from tests.campaign.campaign import Campaign
from tests.kit.nasty import is_dangerous
from tests.kit.tiny import tiny

_MEMORY = 200 << 20
_DRAWN = re.compile(rb"\x1b\[(?!\d*7777)[0-9;]*m")
"""What may stand on stdout's terminal beside text."""
_MOVED = re.compile(r"\x1b\[\??[0-9;]*[A-Zhlm]")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What all trials share."""

    models: Mapping[str, Path]
    attacked: Attacked


@functools.cache
def _attacked() -> Attacked:
    return Attacked()


def prepare(folder: Path) -> Prepared:
    """Saves models of text, of text with line feeds, and of bytes."""
    models = {}
    for name, data in MODELS.items():
        made = tiny(as_bytes=data.as_bytes, characters=known(name))
        models[name] = folder / f"{name}.safetensors"
        save(models[name], replace(made, data=data))
    return Prepared(models=models, attacked=_attacked())


def trial(prepared: Prepared, seed: int, folder: Path) -> str | None:
    """A text in a form, through a command."""
    random = Random(seed)
    place, cache = folder / "here", folder / "cache"
    place.mkdir()
    asked = random.choice(COMMANDS)(random, place, prepared.models)
    changed = {
        "charrnn.text.decoding:_PIECE": random.choice([1, 2, 3, 7, 64, 1 << 16]),
        "charrnn.sampling.sampler:_BLOCK": random.choice([1, 5, 4096]),
    }
    environment = {
        "CHARRNN_CACHE": str(cache),
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "TERM": "xterm-256color",
    }
    has_terminal = random.random() < 0.4
    before = _files(place)
    ended = prepared.attacked.run(Attack(
        words=asked.words, folder=place, environment=environment, given=asked.given.given,
        is_piped=asked.given.is_piped, pipes=asked.given.pipes, has_terminal=has_terminal, changed=changed,
    ))  # fmt: skip
    said = ended.complaint or unsafe(ended, has_terminal=has_terminal) or _left(cache)
    if said is None and ended.status not in asked.statuses:
        said = f"status {ended.status} instead of {asked.statuses}: {ended.err[-300:]!a}"
    if said is None and ended.status == 0:
        said = asked.check(ended)
    after = _files(place)
    if said is None and any(after.get(name) != raw for name, raw in before.items()):
        said = "a file of the text was changed or removed"
    if said is None and (new := [name for name in set(after) - set(before) if name.startswith(".") or ".tmp" in name]):
        said = f"left behind: {new}"
    if said is None and ended.memory > _MEMORY:
        said = f"it takes {ended.memory >> 20} MB"
    return None if said is None else f"{said} [{' '.join(asked.words)!a}]"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    }


def unsafe(ended: Ended, *, has_terminal: bool) -> str | None:
    """Returns what was sent to a terminal that drives it."""
    if has_terminal:
        out = _DRAWN.sub(b"", ended.out).decode()
        err = _MOVED.sub("", ended.err.decode().replace("\x1b[7777m", "\x1b"))
        for name, text, kept in (("stdout", out, "\n\t"), ("stderr", err, "\n\t\r")):
            if bad := [c for c in set(text) - set(kept) if is_dangerous(c)]:
                return f"{bad} on {name}: {text[max(0, text.index(bad[0]) - 30) :][:60]!a}"
    elif "\x1b" in ended.err.decode():
        return f"ESC on stderr: {ended.err[-200:]!a}"
    return None


def _left(cache: Path) -> str | None:
    """Returns what lies in the cache that is no finished entry."""
    files = [file.relative_to(cache) for file in cache.rglob("*") if file.is_file() and file.stat().st_size]
    left = [str(file) for file in files if not re.fullmatch(r"corpora/[0-9a-f]{32}/[a-z]\S*", str(file))]
    return f"left in the cache: {left}" if left else None


CAMPAIGNS = {
    "hostile-text": Campaign(
        summary="A hostile text in a hostile form through a command: the right status, exact counts, a safe terminal.",
        prepare=prepare,
        trial=trial,
        in_suite=15,
    ),
}
