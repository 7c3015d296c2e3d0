"""Nothing that is wrong in a run's folder ends `inspect --verify` or keeps it waiting; each file is judged alone."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoint_module
from charrnn.checkpoints.folder import Run
from tests.kit.command import Command
from tests.kit.text import make_text
from tests.kit.verified import FOLDER, RUN, findings, make_run


@pytest.fixture(autouse=True)
def _a_run() -> None:
    make_run()


@contextlib.contextmanager
def _without_waiting() -> Iterator[None]:
    """Fails where what is inside waits for ever."""

    def fail(*_: object) -> None:
        pytest.fail("it waits for somebody to write into the pipe")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("has_last", [True, False])
@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt", "config.json"])
def test_a_pipe_keeps_nobody_waiting(command: Command, name: str, has_last: bool) -> None:
    """In the place of a file of the run: it is damage, and of no run that goes on; other commands do without it."""
    (FOLDER / name).unlink()
    os.mkfifo(FOLDER / name)
    if not has_last:
        RUN.last.unlink()
    with _without_waiting():
        found = findings(command, status=4)
        assert command("inspect", "checkpoints").status == 0
        assert command("inspect", str(FOLDER), "--html", "page.html").status == 0
        Path("text.txt").write_text(make_text(2000), "utf-8")
        trained = command("train", str(FOLDER))
    if has_last or name != "samples.txt":
        said = (
            "it cannot be read, or is not that of a run"
            if name == "config.json"
            else "cannot be read: it is not a file"
        )
        assert ("damaged", said) in found[name]
    if has_last:
        said = f"{FOLDER / name} is not a file"
        assert found["resume"][0][1] == f"refused, since {said}"
        assert [verdict for verdict, _ in found["last.safetensors"]] == ["ok"]
        assert trained.status == 2
        assert "is not a file" in trained.err


def test_a_link_condemns_only_itself(command: Command) -> None:
    """The other file is compared all the same, and no number of the system's is shown."""
    RUN.samples.rename("outside")
    RUN.samples.symlink_to(os.path.abspath("outside"))
    found = findings(command, status=4)
    assert found["samples.txt"] == [("damaged", "cannot be read: it is a link")]
    assert [verdict for verdict, _ in found["metrics.jsonl"]] == ["ok", "ok"]
    said = found["resume"][0][1]
    assert said.startswith(f"refused, since {RUN.samples} is a link, and training writes only to files of")
    Path("text.txt").write_text(make_text(2000), "utf-8")
    trained = command("train", str(FOLDER))
    assert trained.status == 2
    assert f"{RUN.samples} is a link" in trained.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "cannot go on reading it: Input/output error"),
        (MemoryError(), "out of memory reading it"),
    ],
)
@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_disk_that_fails_does_not_end_the_check(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, said: str
) -> None:
    """One file cannot be read, and the others are looked at."""
    whole = checkpoint_module.open_file

    def fail(path: Path) -> Any:
        if path.name == name:
            raise error
        return whole(path)

    monkeypatch.setattr(checkpoint_module, "open_file", fail)
    found = findings(command, status=4)
    assert found[name] == [("damaged", said)]
    assert [verdict for verdict, _ in found["step-00000040.safetensors"]] == ["ok"]
    if name == "last.safetensors":
        assert found["resume"] == [("", f"refused, since there is nothing to go on from: {name}: {said}")]


def test_what_is_saved_meanwhile(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on has renamed its private folder between the list of names and the look at it."""
    leftover = FOLDER / ".charrnn-abcdefgh.tmp"
    leftover.mkdir()
    is_dir = Path.is_dir

    def saved(path: Path, **options: Any) -> bool:
        if path.name == leftover.name and path.exists():
            path.rmdir()
        return is_dir(path, **options)

    monkeypatch.setattr(Path, "is_dir", saved)
    assert leftover.name not in findings(command, status=0)
    assert not leftover.exists()


def test_a_folder_that_cannot_be_listed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are checked all the same."""

    def fail(_: Run) -> list[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Run, "other_files", fail)
    found = findings(command, status=0)
    assert found["a"] == [("note", "what else is in the folder cannot be listed: Permission denied")]
