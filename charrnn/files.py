"""Writes files whole or not at all, and turns errors of the operating system into messages with a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import ResourceError, UsageError
from charrnn.system_errors import Lock, Outcome, outcome_of, retried, take_lock, told

_PRIVATE_PREFIX, _PRIVATE_SUFFIX = ".charrnn-", ".tmp"
_PRIVATE = re.compile(r"\.charrnn-\w{8}\.tmp")
_REMOVALS = 3
"""How often a removal is tried: a signal may interrupt one."""
_WAITED = 5.0
"""Seconds that a reader of a named pipe has to come."""
_ABANDONED = 24 * 60 * 60.0
"""Seconds after which nobody writes in a private folder any more."""


@contextlib.contextmanager
def explained(path: Path, doing: str = "writing", hint: str | None = None) -> Iterator[None]:
    """Turns an OSError inside into the error that `system_errors.py` tells, which says what was done to `path`: a
    UsageError where the place is wrong, with `hint` for another one, else a ResourceError."""
    try:
        yield
    except OSError as error:
        if outcome_of(error, "going on" if _folder_of(path) in _written else "") is Outcome.RESOURCES:
            raise ResourceError(*told(error, f"{doing} {path}")) from error
        usual = "check its name and its permissions" if "reading" in doing else "choose a place that can be written to"
        raise UsageError(f"cannot go on {doing} {path}: {error.strerror or error}", hint or usual) from error


def was_written(path: Path) -> None:
    """Remembers that this process has written to a file: where its folder is suddenly read-only, the disk fails."""
    _written.add(_folder_of(path))


def _folder_of(path: Path) -> str:
    return os.path.dirname(os.path.abspath(path))


_written: set[str] = set()
"""Folders in which this process has written."""
ANOTHER_CACHE = "CHARRNN_CACHE names another folder for what is kept of texts and downloads"


_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def is_there(path: Path | str) -> bool:
    """Whether there is something under a name, be it a dangling link. Raises OSError where the system does not say:
    what cannot be looked at must not be taken for missing, and be written over."""
    try:
        os.lstat(path)
    except ValueError:  # a name that nothing can have
        return False
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return False
        raise
    return True


def mode_of(path: Path | str) -> int | None:
    """Returns the mode of what a name leads to, through links; None where it leads to nothing. Raises OSError as
    `is_there` does."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise


def make_folder(path: Path) -> None:
    """Creates a folder and its parents durably; an existing one is fine. Raises UsageError or ResourceError."""
    with explained(path, "creating"):
        make_levels(path)


def make_levels(path: Path, *, is_durable: bool = True) -> None:
    """Creates a folder and its parents; an existing one is fine. Where it `is_durable`, a power cut does not take them.

    Raises OSError.
    """
    missing, there = [], path
    while not is_there(there) and there != there.parent:
        missing.append(there)
        there = there.parent
    if not missing:
        retried(path.mkdir, exist_ok=True)
        return
    if is_durable:
        # Who made the folder that is there may have been killed before its name was on the disk.
        with contextlib.suppress(OSError):
            sync_folder(there / os.pardir)
    for folder in reversed(missing):
        retried(folder.mkdir, exist_ok=True)
        if is_durable:
            sync_folder(folder.parent)


def is_device(path: str | Path | int) -> bool:
    """Returns whether a path, or an open file, is a device, which may give bytes for ever. The null device counts as
    an empty file."""
    try:
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            return True
        return stat.S_ISCHR(found.st_mode) and found.st_rdev != os.stat(os.devnull).st_rdev
    except (OSError, ValueError):
        return False


def require_room(folder: Path, needed: int, doing: str) -> None:
    """Raises ResourceError where the disk of `folder` has no room for `needed` bytes: sooner than when it is full,
    which would trouble every other program too. `doing` says what they are needed for, as in "encoding the corpus"."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if needed > free:
        raise ResourceError(
            f"{doing} needs {_size(needed)} in {folder}, and its disk has {_size(free)} left",
            "free some space, or name a folder on another disk in CHARRNN_CACHE",
        )


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def sync_folder(path: Path) -> None:
    """Syncs a folder to disk, so that renames inside it survive a power cut, where the system supports this."""
    if os.name != "posix":
        return
    with harmless("sync of a folder"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            let_go(descriptor)


def let_go(descriptor: int) -> None:
    """Closes what was not written to, or was synced: whatever a disk or a network says then, nothing is lost."""
    with harmless("close without writing"):
        os.close(descriptor)


@contextlib.contextmanager
def opened(path: Path | int, mode: str = "rb", **options: Any) -> Iterator[Any]:
    """Opens a file as `open` does, and closes it at the end, where only what `system_errors.py` tells is an error: with
    what was only read nothing can be lost."""
    stream = open(path, mode, **options)  # noqa: SIM115 - closed below
    try:
        yield stream
    finally:
        with harmless("close" if stream.writable() else "close without writing"):
            stream.close()


@contextlib.contextmanager
def opened_file(path: Path, mode: str = "rb", *, follows_links: bool = True) -> Iterator[Any]:
    """Opens what is a file as `opened` does. Raises OSError for all else at once, where a pipe would keep its reader
    waiting for ever, and for a link unless it `follows_links`."""
    more = getattr(os, "O_NONBLOCK", 0) | (0 if follows_links else getattr(os, "O_NOFOLLOW", 0))
    if not follows_links and os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link", str(path))
    with opened(path, mode, opener=lambda name, flags: os.open(name, flags | more, 0o666)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        yield file


def read_file(path: Path, most: int | None = None, *, follows_links: bool = True) -> bytes:
    """Returns the bytes of a file, or the first `most` of them. Raises OSError where `opened_file` does."""
    with opened_file(path, follows_links=follows_links) as file:
        content: bytes = file.read() if most is None else file.read(min(most, os.fstat(file.fileno()).st_size))
        return content


def write_content(path: Path, content: bytes) -> None:
    """Writes a whole file anew."""
    with opened(path, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def harmless(call: str) -> Iterator[None]:
    """Ends quietly at an error that is harmless by the table of `system_errors.py`, where `call` fails."""
    try:
        yield
    except OSError as error:
        if outcome_of(error, call) is not Outcome.HARMLESS:
            raise


def _umask() -> int:
    # Reading the umask means setting it; there is no other portable way.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def replace_durably(path: Path, write: Callable[[Path], object], *, follows_links: bool = True) -> None:
    """Writes a file by `write(temporary path)`, then replaces `path` by it in one step.

    The temporary file lies in a private folder beside `path`, with whatever else `write` leaves there, is synced to
    disk before the rename, and takes the permissions of the file it replaces (or those that the umask leaves). The
    folder is removed on any failure, and where a process was killed by `remove_leftovers`. So `path` holds either all
    the old bytes or all the new ones, whatever happens (Pillai et al., OSDI 2014: a rename without a sync is not
    crash-safe). A link is followed, or replaced by the file where `follows_links` is not set. A device or a pipe
    (/dev/stdout) has no old bytes to keep and is written to directly.
    """
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with _read_by_somebody(path):
                write(path)
            return
        if follows_links:
            path = Path(os.path.realpath(path))
        remove_leftovers(path.parent, older_than=_ABANDONED)
        private, lock = _private_folder(path.parent)
        try:
            temporary = private / "file"
            write(temporary)
            with opened(temporary, "rb+") as file:
                with harmless("chmod"):
                    temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
                os.fsync(file.fileno())
            retried(os.replace, temporary, path)
            was_written(path)
            sync_folder(path.parent)
        finally:
            remove_all(private)
            if lock is not None:
                let_go(lock)


@contextlib.contextmanager
def _read_by_somebody(path: Path) -> Iterator[None]:
    """Keeps a named pipe open inside, which others would wait for a reader to open. Raises OSError where no reader
    comes for some seconds."""
    if not path.is_fifo():
        yield
        return
    until = time.monotonic() + _WAITED
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
        time.sleep(0.02)
    try:
        yield
    finally:
        let_go(descriptor)


def _private_folder(parent: Path) -> tuple[Path, int | None]:
    """Makes a private folder and returns it with what keeps it locked, so that others see that its process is alive.
    Raises OSError."""
    while True:
        lock = None
        private = Path(retried(tempfile.mkdtemp, prefix=_PRIVATE_PREFIX, suffix=_PRIVATE_SUFFIX, dir=parent))
        try:
            lock = _locked(private)
            if is_there(private):
                return private, lock
        except BlockingIOError:  # it was taken for a leftover before it was locked
            continue
        except OSError:  # it cannot be locked, or looked at
            with contextlib.suppress(OSError):  # by name, since it may be that nothing can be opened
                retried(os.rmdir, private)
            if lock is not None:
                let_go(lock)
            raise
        if lock is not None:
            let_go(lock)


def _locked(private: Path) -> int | None:
    """Locks a folder and returns its descriptor; None where it cannot be opened. Raises BlockingIOError where another
    process has it locked, and OSError where the machine lacks something or its disk fails."""
    try:
        descriptor = os.open(private, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if outcome_of(error) is Outcome.RESOURCES:
            raise
        return None
    try:
        if take_lock(descriptor) is Lock.THEIRS:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process has it locked", str(private))
    except OSError:
        let_go(descriptor)
        raise
    return descriptor


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Removes what killed processes were writing in a folder: private folders of `replace_durably`, by age in seconds.

    One whose process is alive is left alone. Other machines do not see that it is: without an age, none of them may be
    writing there. What cannot be removed stays.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PRIVATE.fullmatch(entry.name) is None:
                continue
            with contextlib.suppress(OSError):
                is_folder, changed = entry.is_dir(follow_symlinks=False), entry.stat(follow_symlinks=False).st_mtime
                if is_folder and (not older_than or time.time() - changed > older_than):
                    lock = _locked(Path(entry.path))  # which raises an OSError where another process is there
                    remove_all(entry.path)
                    if lock is not None:
                        let_go(lock)


def remove_all(folder: Path | str) -> None:
    """Removes rubbish; what cannot be removed stays until the next start."""
    for _ in range(_REMOVALS):
        # An interruption of closing a folder within makes the library close it twice, and say so.
        with contextlib.suppress(OSError):
            shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
