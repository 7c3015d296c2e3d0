"""Corpora known by name: one that comes with every Python, and famous ones that are downloaded on first use.

Their address, size, checksum, licence and customary split stand in `catalogue.json`. A download goes to a folder of its
own in the cache, continues where it broke off, and is renamed to its final place only when its checksum is right, so
that nobody ever sees an incomplete corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from charrnn.errors import TextError
from charrnn.files import (
    ANOTHER_CACHE,
    explained,
    harmless,
    make_folder,
    opened,
    remove_leftovers,
    replace_durably,
)
from charrnn.system_errors import Lock, retried, take_lock
from charrnn.text import download
from charrnn.text.archives import COMPRESSED_SUFFIXES
from charrnn.text.cache import cache_folder
from charrnn.text.sources import Source

STDLIB = "stdlib"

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, the bytes done and the bytes in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A corpus that can be downloaded."""

    name: str
    title: str
    url: str
    file: str
    bytes: int
    sha256: str
    licence: str
    validation_fraction: float
    test_fraction: float
    as_bytes: bool = False


def entries() -> dict[str, Entry]:
    """Returns the entries of the catalogue by name."""
    text = Path(__file__).with_name("catalogue.json").read_text("utf-8")
    facts: dict[str, dict[str, Any]] = json.loads(text)
    return {name: Entry(name=name, **values) for name, values in facts.items()}


def names() -> list[str]:
    """Returns the name of every corpus that `find` knows."""
    return [STDLIB, *entries()]


def standard_library() -> list[Source]:
    """Returns the Python sources of the standard library on this machine, in the order of their paths.

    Tests are left out (also those inside packages such as idlelib), and so are installed packages (site-packages).
    """
    root = Path(sysconfig.get_path("stdlib"))
    unwanted = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idle_test"}
    files = []
    for parent, folders, names_here in os.walk(root):
        folders[:] = set(folders) - unwanted  # installed packages can be a hundred times as large
        files += [Path(parent, name) for name in names_here if name.endswith(".py")]
    files = [file for file in sorted(files, key=lambda file: file.relative_to(root).parts) if _is_utf8(file)]
    if not files:
        raise TextError(f"this Python carries no sources of its standard library in {root}", "name a text of your own")
    return [Source(file, str(file)) for file in files]


def _is_utf8(file: Path) -> bool:
    # A few sources declare another encoding on purpose; the corpus is one encoding throughout.
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return "\0" not in text


def find(name: str, report: Report | None = None) -> list[Source] | None:
    """Returns the files of a corpus known by `name`, downloaded if need be; None where the name is not known.

    `CHARRNN_CORPORA` names a folder that is looked into first, and any file there named after a corpus (with or
    without `.txt` and a compression's ending) counts. Raises TextError where a download fails.
    """
    named = os.environ.get("CHARRNN_CORPORA")
    if named and (own := _in_folder(Path(named), name)):
        return [own]
    if name == STDLIB:
        return standard_library()
    entry = entries().get(name)
    return None if entry is None else [fetch(entry, download_folder(), report)]


def is_known(name: str) -> bool:
    """Whether `find` knows the name; nothing is downloaded."""
    named = os.environ.get("CHARRNN_CORPORA")
    return name in names() or bool(named and _in_folder(Path(named), name))


def _in_folder(folder: Path, name: str) -> Source | None:
    if "/" in name or "\\" in name or name in ("", ".", "..", "-"):
        return None
    files = (folder / (stem + suffix) for stem in (name, f"{name}.txt") for suffix in ("", *COMPRESSED_SUFFIXES))
    return next((Source(file, str(file)) for file in files if os.path.isfile(file)), None)


def download_folder() -> Path:
    """Returns `corpora/` where the current folder is a checkout of charrnn, else the user's cache."""
    here = Path.cwd()
    is_checkout = (here / "charrnn" / "text" / "catalogue.json").is_file() and (here / "corpora").is_dir()
    return here / "corpora" if is_checkout else cache_folder() / "downloads"


def fetch(entry: Entry, folder: Path, report: Report | None = None) -> Source:
    """Returns the file of a catalogue entry in `folder`, downloaded and verified unless it lies there already.

    Raises TextError where there is no network, the connection breaks or the checksum is wrong, and ResourceError
    where the disk is full. In each case `folder` holds nothing new.
    """
    target, partial = folder / entry.file, cache_folder() / "partial" / f"{entry.sha256}.part"
    if _is_right(target, entry):
        _remove(partial)
        remove_leftovers(folder)
        return Source(target, str(target))
    make_folder(folder)
    make_folder(partial.parent)
    # All is done through the open file, which is locked: its name may be removed by another process that is done.
    with explained(partial, "downloading to", ANOTHER_CACHE), opened(partial, "a+b") as file:
        _lock(file, entry)
        is_right = _is_right(target, entry)  # by now, since another process has brought it
        if not is_right:
            remove_leftovers(folder)
            _download(file, entry, report)
            file.seek(0)
            if is_right := hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
                replace_durably(target, lambda temporary: _copy(file, temporary))
    _remove(partial)
    if not is_right:
        raise TextError(
            f"what {entry.url} sent is not {entry.name}: its sha256 is not {entry.sha256}",
            f"try again later, or put the file into a folder that CHARRNN_CORPORA names, as {entry.file}",
        )
    return Source(target, str(target))


def _remove(partial: Path) -> None:
    with harmless("removal of rubbish"):  # the next time that the corpus is asked for
        retried(partial.unlink, missing_ok=True)


def _is_right(target: Path, entry: Entry) -> bool:
    return target.is_file() and Source(target, str(target)).digest() == entry.sha256


def _copy(file: IO[bytes], target: Path) -> None:
    file.seek(0)
    with opened(target, "wb") as copy:
        shutil.copyfileobj(file, copy)


def _lock(file: IO[bytes], entry: Entry) -> None:
    """Locks the file of a download until it is closed, so that a second process cannot write to it."""
    if take_lock(file.fileno()) is Lock.THEIRS:
        raise TextError(f"another process is downloading {entry.name}", "wait for it")


def _download(file: IO[bytes], entry: Entry, report: Report | None) -> None:
    """Downloads the missing rest of an entry to `file`; nothing is missing where only the final renaming had failed.

    A download that broke off is continued by an HTTP range request, if the server supports these.
    """
    if file.seek(0, os.SEEK_END) > entry.bytes:
        _empty(file)
    try:
        while (done := file.seek(0, os.SEEK_END)) < entry.bytes:
            with download.ask(entry.url, done) as response:
                if done and not download.goes_on(response, done):
                    _empty(file)
                    if response.status_code != download.OK:
                        continue  # the server has not what we have the beginning of: from the start
                for piece in download.pieces(response):
                    # One byte beyond the end shows that the server sends something else, as the checksum will tell.
                    file.write(piece[: entry.bytes + 1 - file.tell()])
                    if (received := file.tell()) > entry.bytes:
                        return
                    if report:
                        report(f"downloading {entry.name}", received, entry.bytes)
            break
    except download.DownloadError as error:
        if file.tell() < entry.bytes:
            raise _failure(str(error), file.tell(), entry) from error
    if (done := file.tell()) < entry.bytes:
        raise _failure(f"the connection ended after {done:,} of {entry.bytes:,} bytes", done, entry)


def _failure(reason: str, done: int, entry: Entry) -> TextError:
    kept = f"; the {done:,} bytes received are kept and the same command continues" if done else ""
    return TextError(
        f"cannot download {entry.name} from {entry.url}: {reason}{kept}",
        f"try again, or put the file into a folder that CHARRNN_CORPORA names, as {entry.file}; "
        "`charrnn train stdlib` needs no network",
    )


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
