"""A command whose texts, however small, are large ones, and which is attacked while it runs.

    python -m tests.campaign._attacked_command '{"large": true, "attack": "flipped", "seed": 5, "at": 2}' train ...

`user` is the user it runs as, `mask` his umask, `room` the bytes to which a file may grow; `killed` is what it dies in.
`at` counts the steps before the attack, or the calls before the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charrnn.cli.app import main
from charrnn.text import sources, stored
from charrnn.training.learner import Learner
from tests.campaign._cache_attacks import attack_entry, entries

BLOCK = 64


def _before(owner: Any, name: str, number: int, act: Callable[[], object]) -> None:
    """Does something before the call of this number, from 0 on."""
    real, calls = getattr(owner, name), [0]

    def called(*arguments: Any, **named: Any) -> Any:
        if calls[0] == number:
            act()
        calls[0] += 1
        return real(*arguments, **named)

    setattr(owner, name, called)


def _rehearse(words: Sequence[str]) -> None:
    """Does what the command does once, elsewhere: another user may not be able to read modules that it imports."""
    said, cache = sys.stderr, os.environ["CHARRNN_CACHE"]
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        os.environ["CHARRNN_CACHE"] = folder
        sys.argv = [
            str(Path(folder, "run")) if before == "--out" else word
            for before, word in zip(["", *words], words, strict=False)
        ]
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), contextlib.suppress(SystemExit):
            main()
    sys.stderr, os.environ["CHARRNN_CACHE"], sys.argv = said, cache, list(words)


def prepare(
    *,
    large: bool = False,
    attack: str | None = None,
    seed: int = 0,
    at: int = 0,
    killed: str | None = None,
    user: int | None = None,
    room: int | None = None,
    mask: int = 0o022,
) -> None:
    """Arranges what the attack needs."""
    if large:
        stored.IN_MEMORY, stored.BLOCK, stored.CAPACITY = 0, BLOCK, 24 * BLOCK
    if user is not None:
        _rehearse(sys.argv)
    os.umask(mask)
    if attack is not None:
        kind = attack

        def act() -> None:
            for entry in entries(Path(os.environ["CHARRNN_CACHE"])):
                attack_entry(kind, entry, random.Random(seed))

        _before(Learner, "step_at", at, act)
    if killed is not None:
        places: dict[str, tuple[Any, str]] = {
            "encoding": (stored.Digests, "update"),
            "describing": (stored.Digests, "whole"),
            "copying": (sources, "_read_some"),
        }
        _before(*places[killed], at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


if __name__ == "__main__":
    asked = json.loads(sys.argv.pop(1))
    prepare(**asked)
    main()
