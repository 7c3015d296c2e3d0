"""Commands in an environment of wild values."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from tests.campaign._attacked import Attack
from tests.campaign.campaign import Campaign
from tests.campaign.hostile import Prepared, prepare, unsafe

_WILD = [
    "",
    "0",
    "-1",
    "1",
    "99999999999",
    "abc",
    "\x1b[7777m",
    "x" * 5000,
    "\udcff",
    "1.5",
    "nan",
    "/",
    "/dev/null",
    "%s",
]
_NAMES = [
    "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "LANG", "LC_ALL", "PYTHONIOENCODING", "HOME",
    "XDG_CACHE_HOME", "TMPDIR", "CHARRNN_CACHE", "CHARRNN_CORPORA", "CHARRNN_GRAPHS", "OMP_NUM_THREADS", "TZ",
    "JUPYTER_COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE", "COLORFGBG", "WORLD_SIZE", "PAGER",
]  # fmt: skip
_FORCING = {"FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"}
"""With these colours are asked for where there is no terminal."""
_PLACES = {"CHARRNN_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR"}
"""A command that needs a place to write to may be refused where there is none."""


def trial(prepared: Prepared, seed: int, folder: Path) -> str | None:
    """A command that would succeed."""
    random = Random(seed)
    (folder / "text").write_text("an old man said no\n" * 40)
    model = str(prepared.models["keep"])
    words = random.choice([
        ["sample", "-c", model, "--prime", "an", "--length", "30", "--seed", "1"],
        ["sample", "-c", model, "-i", "--seed", "1"],
        ["eval", "text", "-c", model, "--unknown", "skip", "--threads", "1"],
        ["inspect", "text", "-c", model, "--unknown", "skip"],
        ["inspect", "text", "-c", model, "--unknown", "skip", "--predictions"],
        ["inspect", "-c", model],
        ["inspect", "--help"], ["train", "--help-all"], ["--help"], ["help"], ["help", "eval"], ["--version"],
        ["train", "text", "--out", "run", "--hidden", "8", "--layers", "1", "--steps", "1", "--batch", "2", "--bptt",
         "8", "--threads", "1"],
    ])  # fmt: skip
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "TERM": "xterm", "CHARRNN_CACHE": str(folder / "c")}
    changed = {name: random.choice(_WILD) for name in random.sample(_NAMES, random.randrange(1, 5))}
    has_terminal = words[0] != "help" and random.random() < 0.6  # on a terminal a page waits for keys
    ended = prepared.attacked.run(
        Attack(
            words=words, folder=folder, environment=environment | changed, given=b"a\n\nq\n", has_terminal=has_terminal
        )
    )
    is_forced = not has_terminal and _FORCING & set(changed)
    said = ended.complaint or (None if is_forced else unsafe(ended, has_terminal=has_terminal))
    statuses = {0, 2, 3, 6} if _PLACES & set(changed) else {0}
    if said is None and ended.status not in statuses:
        said = f"status {ended.status}: {ended.err[-300:]!a}"
    if said is None and ended.status == 0 and len(ended.out) > 1_000_000:
        said = f"{len(ended.out)} bytes are written"
    if said is None and ended.memory > 300 << 20:
        said = f"it takes {ended.memory >> 20} MB"
    return None if said is None else f"{said} [{words}, {changed}]"


CAMPAIGNS = {
    "hostile-environment": Campaign(
        summary="Wild environment variables around a command that would succeed: it does, on a safe terminal.",
        prepare=prepare,
        trial=trial,
        in_suite=6,
    ),
}
