"""What is under way in the cache: private while its process lives, and gone at the next start after that."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.errors import ResourceError, UsageError
from charrnn.text import sources, under_way
from charrnn.text.cache import cache_folder
from charrnn.text.under_way import begin, clear, shelves
from tests.kit.full_disk import no_file_above

PROGRAM = """
import sys, os, signal
from charrnn.text.under_way import begin
work = begin()
(work.folder / "half").write_bytes(b"x" * 1000)
print(work.folder, flush=True)
sys.stdin.read(1)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _process(how: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that is at work, until it is given something, and how it ends then."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_leaves_is_gone_at_the_next_start() -> None:
    """And what a living one is at work on is left alone."""
    (dying, left), (living, kept) = _process("killed"), _process("ended")
    assert left.parent == kept.parent == cache_folder() / "corpora" / "under-way"
    dying.communicate("x")
    assert dying.returncode == -signal.SIGKILL
    assert (left / "half").exists()
    clear()
    assert not left.exists()
    assert (kept / "half").exists()
    with begin() as own:
        assert own.parent == kept.parent
    living.communicate("x")
    assert living.returncode == 0
    assert list(shelves()[0].iterdir()) == []


def test_a_workplace_is_ones_own_and_goes_with_all_that_is_in_it() -> None:
    """Whatever happens in it."""
    with contextlib.suppress(KeyError), begin() as work, begin() as other:
        assert work != other
        assert list(work.iterdir()) == [work / "lock"]
        clear()
        assert work.exists()
        (work / "folder").mkdir()
        (work / "folder" / "file").write_bytes(b"x")
        raise KeyError
    assert list(shelves()[0].iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_process_that_was_forked_off_removes_nothing() -> None:
    """Its workplace is its parent's."""
    work = begin()
    if (child := os.fork()) == 0:
        work.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert work.folder.exists()
    work.remove()
    work.remove()
    assert not work.folder.exists()


@pytest.mark.parametrize("mode", [0, 0o500])
def test_what_may_not_be_written_to_goes_too(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is this user's own; but what a link in it leads to is not touched."""
    theirs = Path("theirs")
    theirs.mkdir(mode=0o711)
    work = begin()
    for name in ("a", "a/b"):
        (work.folder / name).mkdir()
    (work.folder / "a" / "b" / "file").write_bytes(b"x")
    (work.folder / "link").symlink_to(theirs.absolute())
    (work.folder / "a" / "b").chmod(mode)
    (work.folder / "a").chmod(mode)
    as_root, changed = os.geteuid() == 0, []
    real = os.chmod
    monkeypatch.setattr(os, "chmod", lambda path, mode: (changed.append(Path(path).name), real(path, mode)))
    work.remove()
    assert not work.folder.exists()
    assert changed == ["a", "b"] or not as_root
    assert theirs.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """One can work there, and nobody takes another's for abandoned."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with begin() as work:
        clear()
        assert work.exists()
    assert not work.exists()


def test_nothing_is_removed_by_way_of_a_link(tmp_path: Path) -> None:
    """In a folder that all may write to, another may have put one there."""
    theirs = tmp_path / "theirs"
    (theirs / "work-1").mkdir(parents=True)
    shelves()[0].mkdir(parents=True)
    (shelves()[0] / "under-way").symlink_to(theirs)
    clear()
    with begin() as work:
        assert work.is_relative_to(shelves()[1])
    assert (theirs / "work-1").exists()


def test_nothing_else_is_removed() -> None:
    """Only what has a name that is given here."""
    folder = shelves()[0] / "under-way"
    (folder / "mine").mkdir(parents=True)
    (folder / "work-file").write_bytes(b"x")
    clear()
    assert sorted(path.name for path in folder.iterdir()) == ["mine", "work-file"]


@pytest.mark.parametrize("name", ["corpora", "corpora/under-way"])
def test_a_file_where_a_folder_should_be(name: str) -> None:
    """There is another place."""
    path = cache_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    with begin() as work:
        assert work.is_relative_to(shelves()[1])
    assert path.read_bytes() == b"x"


def test_no_place_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the cache."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    clear()
    with open(os.devnull, "rb") as empty, pytest.raises(UsageError, match="file/corpora"):
        sources._spool(empty, "stdin")


def test_no_room_for_a_copy() -> None:
    """Nothing is left of it."""
    with open(__file__, "rb") as text, no_file_above(100), pytest.raises(ResourceError, match="no room"):
        sources._spool(text, "stdin")
    assert list(shelves()[0].iterdir()) == []


def test_a_folder_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something takes it away again and again, it ends."""
    monkeypatch.setattr(under_way, "_claimed", lambda work, *, is_new=False: None)
    with pytest.raises(OSError, match="no folder can be kept"):
        begin()
