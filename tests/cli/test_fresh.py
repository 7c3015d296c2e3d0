"""`train --fresh` starts over and keeps the run before, whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from tests.kit.command import Command
from tests.kit.forked import Job, run
from tests.kit.ranks import run_ranks
from tests.kit.text import make_text

SMALL = ["--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-length", "5"]
ABROAD = 12
"""Processes at once."""


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def _step(folder: Path) -> int:
    step: int = checkpoints.load(Run(folder).last).progress["step"]
    return step


def test_the_run_before_is_kept_and_found_again(command: Command, text_file: Callable[..., Path]) -> None:
    """Twice, under two names; a note says where, how large, and that it is the user's to remove; each can go on."""
    words = ["train", str(text_file()), *SMALL, "--name", "it"]
    assert command(*words, "--steps", "3").status == 0
    first = _contents(Path("checkpoints/it"))
    for steps in ("4", "5"):
        result = command(*words, "--steps", steps, "--fresh", "--seed", steps)
        assert result.status == 0
        said = re.search(r"kept in (checkpoints/it\.\S+) \(0\.0 MB\) until you remove that folder", result.err)
        assert said is not None
        assert Path(said[1]).is_dir()
    aside = sorted(Path("checkpoints").glob("it.*"), key=_step)
    assert [_step(path) for path in (*aside, Path("checkpoints/it"))] == [3, 4, 5]
    assert _contents(aside[0]) == first
    assert command("train", str(aside[0]), "--steps", "6").status == 0
    assert _step(aside[0]) == 6


def test_nothing_is_set_aside_where_there_is_nothing_or_something_is_wrong(
    command: Command, text_file: Callable[..., Path]
) -> None:
    """No run, a dry run, settings that cannot be, and a text that is too short."""
    words = ["train", str(text_file()), *SMALL, "--steps", "1", "--name", "it"]
    result = command(*words, "--fresh")
    assert result.status == 0
    assert "until you remove" not in result.err
    before = _contents(Path("checkpoints/it"))
    Path("short.txt").write_text("ab")
    for wrong in ([*words, "--dry-run"], [*words, "--hidden", "0"], [*words, "--prime", "\u00e9"]):
        command(*wrong, "--fresh")
    command("train", "short.txt", "--name", "it", "--fresh")
    assert [path.name for path in Path("checkpoints").iterdir()] == ["it"]
    assert _contents(Path("checkpoints/it")) == before


def test_a_text_in_the_folder_of_the_run_does_not_move_away(command: Command) -> None:
    """The same command would not find it again."""
    Path("here").mkdir()
    Path("here/text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "here/text.txt", *SMALL, "--steps", "1", "--out", "here"]
    assert command(*words).status == 0
    result = command(*words, "--fresh")
    assert result.status == 2
    assert "--fresh would give the folder here another name, and it holds the text here/text.txt" in result.err
    assert Path("here/text.txt").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_killed_at_any_step_the_run_before_is_whole_and_the_same_command_works(tmp_path: Path) -> None:
    """At every rename, new folder, sync and removal, of the whole command."""
    environment = {**os.environ, "CHARRNN_CACHE": str(tmp_path / "cache")}
    (tmp_path / "text.txt").write_text(make_text(2000), "utf-8")

    def job(folder: Path, *words: str) -> Job:
        return Job([*words, "train", str(tmp_path / "text.txt"), *SMALL, "--name", "it"], folder, environment)

    def with_words(made: Job, *more: str) -> Job:
        return made._replace(words=[*made.words, *more])

    (begun,) = run([with_words(job(tmp_path, "charrnn"), "--steps", "2")])
    assert begun.status == 0, begun.err
    old = _contents(tmp_path / "checkpoints/it")

    def assert_kept(folder: Path) -> list[Path]:
        """The old run is whole under one of its names, and its dated names are given back."""
        dated = list((folder / "checkpoints").glob("it.*"))
        whole = [path for path in (folder / "checkpoints/it", *dated) if path.is_dir() and _contents(path) == old]
        assert len(whole) == 1
        return dated

    call, statuses = 1, [-signal.SIGKILL]
    seen: set[int] = set()
    while 0 not in statuses:
        folders = [tmp_path / f"killed-{number}" for number in range(call, call + ABROAD)]
        for folder in folders:
            shutil.copytree(tmp_path / "checkpoints", folder / "checkpoints")
        fresh = ("--fresh", "--seed", "7", "--steps", "1")
        killed = [
            with_words(job(folder, "tests.kit.killed", str(call + n)), *fresh) for n, folder in enumerate(folders)
        ]
        statuses = [result.status for result in run(killed)]
        assert set(statuses) <= {0, -signal.SIGKILL}
        seen |= {len(assert_kept(folder)) for folder in folders}
        again = run([with_words(job(folder, "charrnn"), *fresh) for folder in folders])
        assert {result.status for result in again} == {0}, again
        for folder in folders:
            assert_kept(folder)
            assert _step(folder / "checkpoints/it") == 1
        call += ABROAD
    assert seen == {0, 1}, "it was killed before the rename and after it"


def test_of_several_processes_the_first_sets_aside(tmp_path: Path) -> None:
    """Once."""
    (tmp_path / "text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "text.txt", *SMALL, "--out", "run"]
    for more in (["--steps", "2"], ["--steps", "1", "--fresh"]):
        for result in run_ranks([*words, *more], 2, tmp_path):
            assert result.status == 0, result.err
    (aside,) = tmp_path.glob("run.*")
    assert (_step(aside), _step(tmp_path / "run")) == (2, 1)
    for result in run_ranks(["train", "run", "--steps", "4", "--keep-every", "2"], 2, tmp_path):
        assert result.status == 0, result.err
    assert _step(tmp_path / "run") == 4
    assert [path.name for path in sorted((tmp_path / "run").glob("step-*"))] == [
        "step-00000002.safetensors", "step-00000004.safetensors",
    ]  # fmt: skip
