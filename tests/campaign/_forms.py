"""The forms in which a hostile text reaches a command: files, archives, folders, pipes, standard input."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.campaign._texts import Reading, content, looks_like_text, packed, text_of, unpacked
from tests.kit.text import with_line_ends

_SUFFIXES = ["", ".gz", ".bz2", ".xz", ".zip"]
_NAMES = [
    "text", "text", "na\nme", "\x1b[7777m", "\udcff\udcfe", " ", "a" * 200, "\u202eevil", "$(id)", "*.txt", "[bold]",
    "é",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Given:
    """A text as a command gets it: the words that name it, what surrounds it, and what it holds."""

    names: list[str]
    text: str | None
    """The text; None where it cannot be read."""
    given: bytes | None = None
    is_piped: bool = False
    pipes: dict[str, bytes] = field(default_factory=dict)


def form(random: Random, folder: Path, reading: Reading, most: int) -> Given:
    """Puts a text where a command finds it."""

    def one(suffix: str) -> tuple[bytes, str | None]:
        made = packed(random, content(random, reading, most=most), suffix)
        inside = unpacked(made, suffix)
        return made, None if inside is None else text_of(inside, reading)

    kind, suffix = random.randrange(20), random.choice(_SUFFIXES)
    name = random.choice(_NAMES) + random.choice(["", ".txt"]) + random.choice([suffix, suffix, suffix.upper()])
    if kind < 4:
        made, text = one("")
        return Given(names=["-"], text=text, given=made, is_piped=kind > 0)
    made, text = one(suffix)
    if kind < 7:
        os.mkfifo(folder / name)
        # A list of files at an archive's end is not found in a pipe.
        return Given(names=[name], text=None if suffix == ".zip" else text, pipes={name: made})
    if kind < 9:
        return _folder(random, folder, reading, one)
    if kind == 19 and not suffix:
        os.symlink(random.choice(["/dev/zero", "/dev/urandom"]), folder / name)
        return Given(names=[name], text=None)
    (folder / name).write_bytes(made)
    if kind < 11:
        os.symlink(folder / name, folder / ("link" + suffix))
        return Given(names=["link" + suffix], text=text)
    if kind == 11:
        other, more = one("")
        (folder / "other").write_bytes(other)
        return Given(names=[name, "other"], text=None if None in (text, more) else _together([text, more], reading))
    return Given(names=[name], text=text)


def _folder(random: Random, folder: Path, reading: Reading, one: Callable[[str], tuple[bytes, str | None]]) -> Given:
    """A folder with links in circles, a device, a pipe that nobody writes to, hidden files and other than text."""
    place = folder / "texts"
    (place / "deeper").mkdir(parents=True)
    (place / "deeper" / "up").symlink_to(place)
    (place / "circle").symlink_to(".")
    (place / "gone").symlink_to("nowhere")
    (place / "zero.txt").symlink_to("/dev/zero")
    os.mkfifo(place / "pipe.txt")
    (place / ".hidden").write_bytes(b"hidden")
    taken: dict[tuple[str, ...], str | None] = {}
    for number in range(random.randrange(4)):
        suffix = random.choice(_SUFFIXES)
        name = random.choice(["", "deeper/"]) + random.choice("aBc") + f"{number}{suffix}"
        made, text = one(suffix)
        inside = unpacked(made, suffix)
        if inside is None:  # of some its beginning can be read, and then it is told as damaged, not left out
            continue
        (place / name).write_bytes(made)
        if reading.as_bytes or looks_like_text(inside, reading):
            taken[Path(name).parts] = text
    texts = [taken[parts] for parts in sorted(taken)]
    return Given(names=["texts"], text=None if not texts or None in texts else _together(texts, reading))


def _together(texts: list[str | None], reading: Reading) -> str:
    """Returns files as one text: bytes as they are, of other files each with a line end behind it."""
    known = [text for text in texts if text is not None]
    return "".join(known) if reading.as_bytes else with_line_ends(known)
