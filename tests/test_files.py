"""Durable replacement: the old bytes or the new ones, whole, whatever fails and wherever it fails."""

from __future__ import annotations

import contextlib
import doctest
import errno
import io
import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charrnn import files
from charrnn.errors import ResourceError, TextError, UsageError
from charrnn.files import (
    explained,
    is_there,
    make_folder,
    opened,
    read_file,
    remove_leftovers,
    replace_durably,
    sync_folder,
    write_content,
)  # fmt: skip
from charrnn.text.cache import cache_folder
from tests.kit.full_disk import no_file_above


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that is neither the usual one nor none."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_examples_in_docstrings() -> None:
    """What the docstrings show is what happens."""
    assert doctest.testmod(files).failed == 0


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    """The writer works in a folder of its own in the same folder, while the old bytes are still in place."""
    target = tmp_path / "page.html"
    target.write_bytes(b"old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"newer")
        (temporary.parent / "its own temporary file").write_bytes(b"")
        seen.append((temporary.parent.parent, _mode(temporary.parent), target.read_bytes()))

    replace_durably(target, write)
    assert seen == [(tmp_path, 0o700, b"old")]
    assert target.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [target]


def test_new_file_has_the_permissions_of_the_umask(tmp_path: Path, umask: None) -> None:
    """As any file that a shell creates; not those of the temporary file."""
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert _mode(tmp_path / "page") == 0o640


def test_mode_of_an_existing_file_is_kept(tmp_path: Path, umask: None) -> None:
    """Whoever could read the old file can read the new one."""
    target = tmp_path / "page"
    target.write_bytes(b"old")
    target.chmod(0o604)
    replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    assert _mode(target) == 0o604


def test_umask_is_as_it_was(tmp_path: Path, umask: None) -> None:
    """Reading the umask means setting it; it must be set back."""
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    after = os.umask(0o027)
    assert after == 0o027


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, 6), (errno.EDQUOT, 6), (errno.EFBIG, 6), (errno.EIO, 6), (errno.EMFILE, 6), (errno.ENFILE, 6),
        (errno.ENOMEM, 6), (errno.EACCES, 2), (errno.ENOTDIR, 2), (errno.ENAMETOOLONG, 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("old", [b"old", None])
def test_failure_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, status: int, old: bytes | None
) -> None:
    """A lack of the machine's is status 6, a wrong place 2; the message names the file; no temporary file stays."""
    target = tmp_path / "last.safetensors"
    if old is not None:
        target.write_bytes(old)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if step != "write":
        monkeypatch.setattr(os, step, fail)
    with pytest.raises((ResourceError, UsageError)) as raised:
        replace_durably(target, fail if step == "write" else lambda temporary: temporary.write_bytes(b"new"))
    assert raised.value.exit_status == status
    assert str(target) in raised.value.message
    assert os.strerror(number) in raised.value.message
    assert raised.value.hint
    assert list(tmp_path.iterdir()) == ([] if old is None else [target])
    assert old is None or target.read_bytes() == old


def _failing(number: int, times: int = 1_000_000) -> Callable[..., None]:
    """A call that fails so many times, and then does nothing."""
    left = itertools.repeat(number, times)

    def fail(*_: object, **__: object) -> None:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO, errno.ENOTSUP])
def test_a_file_whose_mode_cannot_be_set_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is its owner's alone then; what it holds is worth more."""
    monkeypatch.setattr(Path, "chmod", _failing(number))
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert (tmp_path / "page").read_bytes() == b"new"


def test_a_disk_that_becomes_read_only_fails_and_one_that_was_is_a_wrong_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 6 where this process has written in the folder before, status 2 where it has not."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    replace_durably(tmp_path / "one" / "page", lambda temporary: temporary.write_bytes(b"old"))
    monkeypatch.setattr(tempfile, "mkdtemp", _failing(errno.EROFS))
    with pytest.raises(ResourceError, match="Read-only"):
        replace_durably(tmp_path / "one" / "page", lambda temporary: temporary.write_bytes(b"new"))
    with explained(tmp_path / "other" / "page"):
        os.stat(tmp_path / "other")  # to look at a place is not to write there
    with pytest.raises(UsageError, match="Read-only"):
        replace_durably(tmp_path / "other" / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert (tmp_path / "one" / "page").read_bytes() == b"old"


def test_what_a_signal_interrupts_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python does not do this for a rename and a removal."""
    replace, interrupted = os.replace, _failing(errno.EINTR, times=3)

    def replaced(*paths: str) -> None:
        interrupted()
        replace(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert (tmp_path / "page").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("number", [errno.EINTR, errno.EIO])
def test_what_was_only_read_may_fail_to_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Its bytes are known by then. What was written may have been lost, unless a signal came: then it is closed."""
    (tmp_path / "page").write_bytes(b"old")

    class Failing(io.FileIO):
        def close(self) -> None:
            was_open = not self.closed
            super().close()
            if was_open:
                raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open", lambda path, mode: Failing(path, mode))
    with opened(tmp_path / "page") as file:
        content = file.read()
    assert content == b"old"
    with contextlib.ExitStack() as expected:
        if number == errno.EIO:
            expected.enter_context(pytest.raises(OSError, match=os.strerror(number)))
        write_content(tmp_path / "page", b"new")
    monkeypatch.undo()
    assert (tmp_path / "page").read_bytes() == b"new"


def test_what_cannot_be_looked_at_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is too long, or goes through a file, is that of nothing; a dangling link is something."""
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "file").write_bytes(b"")
    assert is_there(tmp_path / "link")
    assert not any(is_there(tmp_path / name) for name in ("nothing", "x" * 300, "file/in", "nul\0"))
    monkeypatch.setattr(os, "lstat", _failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        is_there(tmp_path / "file")


def test_real_lack_of_room(tmp_path: Path) -> None:
    """The system's own refusal half way through the new file, not a pretended one."""
    target = tmp_path / "last.safetensors"
    target.write_bytes(b"old")
    with no_file_above(1000), pytest.raises(ResourceError) as raised:
        replace_durably(target, lambda temporary: temporary.write_bytes(bytes(3000)))
    assert raised.value.exit_status == 6
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, TextError("not this text"), ZeroDivisionError])
def test_other_exceptions_pass_unchanged(tmp_path: Path, failure: BaseException | type[BaseException]) -> None:
    """Ctrl-C, a foreseen error and a bug stay what they are, and leave no temporary file either."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise failure

    with pytest.raises(failure if isinstance(failure, type) else type(failure)):
        replace_durably(tmp_path / "page", write)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """The error says which path cannot be written."""
    target = tmp_path / "nowhere" / "page.html"
    with pytest.raises(UsageError, match="No such file or directory") as raised:
        replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    assert str(target) in raised.value.message


def test_folder_is_not_replaced(tmp_path: Path) -> None:
    """A folder in the place of the file is an error, and stays with what is in it."""
    target = tmp_path / "page"
    target.mkdir()
    (target / "kept").write_bytes(b"kept")
    with pytest.raises(UsageError, match="directory"):
        replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    assert (target / "kept").read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [target]


def test_link_is_followed(tmp_path: Path) -> None:
    """What the link points at is replaced; the link stays."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    replace_durably(link, lambda temporary: temporary.write_bytes(b"new"))
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_link_is_replaced_where_it_is_not_to_be_followed(tmp_path: Path) -> None:
    """What it points at stays as it was, and so does the folder that lies in."""
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    replace_durably(link, lambda temporary: temporary.write_bytes(b"new"), follows_links=False)
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert real.read_bytes() == b"old"
    assert sorted(tmp_path.rglob("*")) == [real.parent, real, link]


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Such as a page that goes into the folder of a run that starts at the same time."""
    pytest.importorskip("fcntl")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"new")
        os.utime(temporary.parent, (1e9, 1e9))
        remove_leftovers(tmp_path)
        replace_durably(tmp_path / "other", lambda other: other.write_bytes(b"other"))

    replace_durably(tmp_path / "page", write)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"page": b"new", "other": b"other"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF])
def test_a_disk_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """And what is left over on it is removed."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    (tmp_path / ".charrnn-abcd1234.tmp").mkdir()
    remove_leftovers(tmp_path)
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"page": b"new"}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize("call", ["open", "flock"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_private_folder_that_cannot_be_locked_is_not_worked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Others would take it for a killed process's. What was there before stays, and so does what may be another's."""
    (tmp_path / "page").write_bytes(b"old")
    left, real = tmp_path / ".charrnn-abcd1234.tmp", os.open
    left.mkdir()

    def refuse(path: object, *words: int, **more: int) -> int:
        if call == "flock" or os.fspath(path).endswith(".tmp"):  # type: ignore[call-overload]
            raise OSError(number, os.strerror(number))
        return real(path, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "open") if call == "open" else (pytest.importorskip("fcntl"), "flock")), refuse)
        remove_leftovers(tmp_path)
        assert left.is_dir()
        with pytest.raises(ResourceError, match=os.strerror(number)):
            replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    left.rmdir()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"page": b"old"}


def test_a_private_folder_that_is_gone_before_it_is_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process took it for a leftover."""
    made, make = [], tempfile.mkdtemp

    def taken(**where: object) -> str:
        made.append(make(**where))  # type: ignore[call-overload]
        if len(made) == 1:
            os.rmdir(made[0])
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"page": b"new"}
    assert len(made) == 2


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """After a day by whoever writes there, at once by whoever knows that nobody else does; links are not followed."""
    for name in (".charrnn-abcd1234.tmp", ".charrnn-efgh5678.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".tmpX1y2Z3").write_bytes(b"half")
    mine = {".charrnn-.tmp", ".charrnn-abcd1234.tmp.txt", "charrnn-abcd1234.tmp", ".mine-abcd1234.tmp"}
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / ".charrnn-filefile.tmp").write_bytes(b"mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    (tmp_path / ".charrnn-linklink.tmp").symlink_to(outside)
    mine |= {".charrnn-filefile.tmp", ".charrnn-linklink.tmp", "outside", "page"}
    os.utime(tmp_path / ".charrnn-abcd1234.tmp", (1e9, 1e9))
    os.utime(outside, (1e9, 1e9))
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert {path.name for path in tmp_path.iterdir()} == mine | {".charrnn-efgh5678.tmp"}
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == mine
    assert (outside / "kept").read_bytes() == b"kept"
    remove_leftovers(tmp_path / "nowhere")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_pipe_is_written_to() -> None:
    """/dev/stdout and its like cannot be replaced: a rename would put a file in the place of the device."""
    reading, writing = os.pipe()
    try:
        replace_durably(Path(f"/dev/fd/{writing}"), lambda path: path.write_bytes(b"page"))
        assert os.read(reading, 9) == b"page"
    finally:
        os.close(reading)
        os.close(writing)


def test_longest_name_the_system_takes(tmp_path: Path) -> None:
    """The temporary name must not be too long where the real one is not."""
    target = tmp_path / ("é" * 127)  # 254 bytes of 255
    replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_file_systems_that_cannot_sync_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool
) -> None:
    """They are put up with; a disk that fails is not. Either way the file is whole."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    target = tmp_path / "page"
    if raises:
        with pytest.raises(ResourceError, match=os.strerror(number)):
            replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    else:
        replace_durably(target, lambda temporary: temporary.write_bytes(b"new"))
    assert target.read_bytes() == b"new"


def test_file_then_folder_are_synced_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that survives a power cut: bytes, rename, folder."""
    happened = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        happened.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        happened.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    replace_durably(tmp_path / "page", lambda temporary: temporary.write_bytes(b"new"))
    assert happened == ["sync file", "rename", "sync folder"]


def test_folder_that_cannot_be_listed_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may be allowed to write into a folder without being allowed to open it."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    sync_folder(tmp_path)


def test_cache_folder_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CHARRNN_CACHE wins over the system's place."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the XDG rules are Linux's")
@pytest.mark.parametrize("named", [None, ""])
def test_cache_folder_is_the_systems_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    """Where the XDG base directory rules put a user's caches; an empty CHARRNN_CACHE names nothing."""
    monkeypatch.delenv("CHARRNN_CACHE")
    if named is not None:
        monkeypatch.setenv("CHARRNN_CACHE", named)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "charrnn"


def test_make_folder_makes_parents_and_minds_no_folder_that_is_there(tmp_path: Path) -> None:
    """A file in its place is an error that names it."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"creating .*file"):
        make_folder(tmp_path / "file")


def test_every_new_folder_is_on_the_disk_before_there_is_one_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that was there too, since who made it may have been killed before it was."""
    happened: list[str] = []
    mkdir = Path.mkdir

    def make(path: Path, *words: object, **options: object) -> None:
        happened.append(f"make {path.name}")
        mkdir(path, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(files, "sync_folder", lambda path: happened.append(f"sync {path.resolve().name}"))
    there = tmp_path / "there"
    there.mkdir()
    make_folder(there / "a" / "b")
    make_folder(there / "a" / "b")
    synced_and_made = [f"sync {tmp_path.name}", "make a", "sync there", "make b", "sync a"]
    assert happened == ["make there", *synced_and_made, "make b"]


def test_explained_says_what_was_being_done(tmp_path: Path) -> None:
    """Path, deed and the system's reason; the system's error stays as the cause."""
    with pytest.raises(UsageError) as raised, explained(tmp_path, "counting"):
        (tmp_path / "nowhere").stat()
    assert raised.value.message == f"cannot go on counting {tmp_path}: No such file or directory"
    assert isinstance(raised.value.__cause__, FileNotFoundError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_a_file_is_read_as_one(tmp_path: Path) -> None:
    """A pipe or a folder is an error at once, and so is a link where none is followed."""
    file, pipe, link = tmp_path / "file", tmp_path / "pipe", tmp_path / "link"
    file.write_bytes(b"abc")
    os.mkfifo(pipe)
    link.symlink_to(file)
    assert read_file(file) == read_file(link) == read_file(file, 1 << 62) == b"abc"
    assert read_file(file, 2) == b"ab"
    for path, reason in ((pipe, "it is not a file"), (tmp_path, "Is a directory")):
        with pytest.raises(OSError, match=reason):
            read_file(path)
    with pytest.raises(OSError, match="it is a link"):
        read_file(link, follows_links=False)
