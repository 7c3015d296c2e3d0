"""A second process is kept out of a run's folder, whatever becomes of the files in it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.checkpoints.checkpoint import save
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.lock import is_training
from charrnn.checkpoints.records import Records
from charrnn.errors import ResourceError, UsageError
from tests.kit.tiny import tiny

fcntl = pytest.importorskip("fcntl")
RUN = Run(Path("run"))


def _refused() -> None:
    with pytest.raises(UsageError, match="another process is training in run"), RUN.locked():
        pass


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: None,
        lambda: os.unlink("run/.lock"),
        lambda: os.rename("run/.lock", "run/elsewhere"),
        lambda: (os.unlink("run/.lock"), Path("run/.lock").write_text("another")),
    ],
    ids=["as it is", "removed", "renamed", "replaced"],
)
def test_whatever_is_removed_in_the_folder(spoil: Callable[[], object]) -> None:
    """The folder itself is locked, and who asks whether somebody trains there hears so too."""
    with RUN.locked():
        spoil()
        _refused()
        assert is_training(RUN.folder)
    assert not is_training(RUN.folder)
    with RUN.locked():
        pass


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSUP, errno.ENOLCK])
def test_where_a_folder_cannot_be_locked_a_file_in_it_is(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As on some file systems of networks."""
    flock = fcntl.flock

    def refuses_folders(opened: int, how: int) -> None:
        if os.path.isdir(f"/dev/fd/{opened}"):
            raise OSError(number, os.strerror(number))
        flock(opened, how)

    monkeypatch.setattr(fcntl, "flock", refuses_folders)
    with RUN.locked():
        _refused()
        assert is_training(RUN.folder)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK])
def test_where_nothing_can_be_locked_nobody_is_kept_out(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """And nobody is seen to train."""

    def refuse(_opened: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RUN.locked(), RUN.locked():
        assert not is_training(RUN.folder)


def test_a_disk_that_fails_is_not_one_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained there that another process might train too."""

    def fail(_opened: int, _how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(ResourceError, match="cannot go on locking run: Input/output error"), RUN.locked():
        pass
    assert not RUN.folder.exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_whose_run_has_not_begun_is_removed_before_the_lock_is_let_go(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Whoever has the lock has a folder that nobody removes; one that was there before stays."""
    run, removed = Run(Path("runs/new")), []
    if is_there:
        run.folder.mkdir(parents=True)
    unlink = os.unlink

    def seen(path: Path) -> None:
        removed.append(is_training(run.folder))
        unlink(path)

    monkeypatch.setattr(os, "unlink", seen)
    with pytest.raises(ValueError, match="refused"), run.locked():
        raise ValueError("refused")
    assert removed == ([] if is_there else [True])
    assert Path("runs").exists() is is_there


def test_what_was_written_in_the_folder_stays() -> None:
    """The run has begun."""
    with contextlib.suppress(ValueError), RUN.locked():
        RUN.config.write_text("{}")
        raise ValueError("failed")
    assert sorted(os.listdir("run")) == [".lock", "config.json"]


def test_who_waits_for_one_that_is_refused_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """And removes that where it is refused too."""
    first = contextlib.ExitStack()
    first.enter_context(RUN.locked())

    def refused(_seconds: float) -> None:
        with contextlib.suppress(ValueError), first:
            raise ValueError("refused")

    with monkeypatch.context() as patched:
        patched.setattr("charrnn.checkpoints.lock.time.sleep", refused)
        second = contextlib.ExitStack()
        second.enter_context(RUN.locked())
    with contextlib.suppress(ValueError), second:
        assert os.listdir("run") == [".lock"]
        _refused()
        raise ValueError("this too")
    assert not RUN.folder.exists()


def test_a_folder_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One may be allowed to write there all the same."""
    opened = os.open

    def refuse(path: Path, *words: int, **more: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *words, **more)

    monkeypatch.setattr(os, "open", refuse)
    with RUN.locked():
        _refused()


def test_who_only_asks_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that looks whether somebody trains has the lock for a moment."""
    RUN.folder.mkdir()
    asking = os.open(RUN.folder, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr("charrnn.checkpoints.lock.time.sleep", lambda _seconds: fcntl.flock(asking, fcntl.LOCK_UN))
    with RUN.locked():
        pass
    os.close(asking)


@pytest.mark.parametrize("when", [1, 2])
def test_the_lock_of_a_folder_that_was_renamed_meanwhile_is_not_enough(
    monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """Another process set the run aside between opening and locking: the new folder is locked."""
    RUN.folder.mkdir()
    RUN.last.write_text("old")
    flock, calls = fcntl.flock, []

    def late(opened: int, how: int) -> None:
        calls.append(opened)
        if len(calls) == when:
            assert RUN.set_aside() is not None
        flock(opened, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with RUN.locked():
        assert os.listdir("run") == [".lock"]
        assert os.path.samestat(os.fstat(calls[-1]), os.stat("run/.lock"))
        _refused()


@pytest.mark.parametrize("make", [lambda: os.symlink("../outside", "run/.lock"), lambda: os.mkfifo("run/.lock")])
def test_the_lock_is_a_file_of_the_folder(make: Callable[[], None]) -> None:
    """Neither is a link followed nor does a pipe hold anybody up."""
    Path("outside").write_text("mine")
    RUN.folder.mkdir()
    make()
    with pytest.raises(UsageError, match=r"run/\.lock is .*, so the folder cannot be locked"), RUN.locked():
        pass
    assert Path("outside").read_text() == "mine"


def test_a_failure_to_close_is_nobodys_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is gone then, and all that was to be saved is."""
    close = os.close

    def fail(opened: int) -> None:
        close(opened)
        raise OSError(errno.EIO, "Input/output error")

    with contextlib.ExitStack() as held:
        held.enter_context(RUN.locked())
        monkeypatch.setattr(os, "close", fail)
    monkeypatch.undo()


def test_the_entry_of_the_folder_is_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the folder was there: who made it may have been killed before."""
    synced: list[Path] = []
    monkeypatch.setattr("charrnn.checkpoints.folder.sync_folder", lambda path: synced.append(path.resolve()))
    RUN.folder.mkdir()
    with RUN.locked():
        assert synced == [Path.cwd()]


@pytest.mark.parametrize("change", ["removed", "renamed", "replaced"])
def test_nothing_is_written_into_a_folder_that_has_another_ones_name(change: str) -> None:
    """The run that was there, or another process' run in its place, would be ruined."""
    run = Run(Path("checkpoints/it"))
    with run.locked():
        records = Records(run)
        records.add_metrics({"step": 1})
        save(run.best, tiny())
        os.rename(run.folder, "elsewhere")
        if change == "removed":
            shutil.rmtree("elsewhere")
        if change == "replaced":
            run.folder.mkdir()
        for write in (
            lambda: records.add_metrics({"step": 2}),
            lambda: records.add_sample("step 2", "text"),
            lambda: save(run.best, tiny()),
        ):
            with pytest.raises(ResourceError, match="was removed or renamed while a run was trained in it"):
                write()
        assert not run.folder.exists() or not any(run.folder.iterdir())
    with run.locked():  # a new one
        Records(run).add_metrics({"step": 1})
        save(run.best, tiny())
