"""A run that many tests begin with, trained by the first of them in a process and copied by the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.kit.command import Command


def trained_once(command: Command, factory: pytest.TempPathFactory, run: str, *words: str) -> None:
    """Puts a run into the folder `run`, which `charrnn train WORDS --out RUN` makes, with a config.json of this place.

    The same run with other words is another one; what its texts hold must follow from the words.
    """
    kept = factory.getbasetemp() / f"kept-{run}-{abs(hash(words)):x}"
    if not kept.exists():
        result = command("train", *words, "--out", run, "--quiet")
        assert result.status == 0, result.err
        shutil.copytree(run, kept)
        (kept / "made-in").write_text(str(Path.cwd()), "utf-8")
        return
    shutil.copytree(kept, run)
    was = Path(run, "made-in").read_text("utf-8")
    Path(run, "made-in").unlink()
    config = Path(run, "config.json")
    config.write_text(config.read_text("utf-8").replace(was, str(Path.cwd())), "utf-8")
