"""Corpora known by name: one that comes with every Python, and famous ones that are downloaded on first use.

Their address, size, checksum, licence and customary split stand in `catalogue.json`. A download goes to a folder of its
own in the cache, continues where it broke off, and is renamed to its final place only when its checksum is right, so
that nobody ever sees an incomplete corpus.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from charrnn.errors import TextError
from charrnn.files import cache_folder, explained, harmless, make_folder, opened, replace_durably
from charrnn.system_errors import retried
from charrnn.text.sources import COMPRESSED_SUFFIXES, Source

STDLIB = "stdlib"
_TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of a body
_PIECE = 1 << 16

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
    target = folder / entry.file
    partial = cache_folder() / "partial" / f"{entry.sha256}.part"
    if target.is_file() and Source(target, str(target)).digest() == entry.sha256:
        _remove(partial)
        return Source(target, str(target))
    make_folder(folder)
    make_folder(partial.parent)
    with explained(partial, "downloading to"), opened(partial, "ab") as file:
        _lock(file, entry)
        _download(file, entry, report)
    if Source(partial, str(partial)).digest() != entry.sha256:
        _remove(partial)
        raise TextError(
            f"what {entry.url} sent is not {entry.name}: its sha256 is not {entry.sha256}",
            f"try again later, or put the file into a folder that CHARRNN_CORPORA names, as {entry.file}",
        )
    replace_durably(target, lambda temporary: shutil.copyfile(partial, temporary))
    _remove(partial)
    return Source(target, str(target))


def _remove(partial: Path) -> None:
    with harmless("removal of rubbish"):  # the next time that the corpus is asked for
        retried(partial.unlink, missing_ok=True)


def _lock(file: IO[bytes], entry: Entry) -> None:
    """Locks the file of a download until it is closed, so that a second process cannot write to it."""
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TextError(f"another process is downloading {entry.name}", "wait for it") from error


def _download(file: IO[bytes], entry: Entry, report: Report | None) -> None:
    """Downloads the missing rest of an entry to `file`; nothing is missing where only the final renaming had failed.

    A download that broke off is continued by an HTTP range request, if the server supports these.
    """
    import requests

    if file.tell() > entry.bytes:
        _empty(file)
    try:
        while (done := file.seek(0, os.SEEK_END)) < entry.bytes:
            # A range of a compressed answer would count compressed bytes.
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
            with requests.get(entry.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                if done and response.status_code == requests.codes.requested_range_not_satisfiable:
                    _empty(file)  # the server's file is shorter than ours
                    continue
                response.raise_for_status()
                if done and response.status_code != requests.codes.partial_content:
                    _empty(file)  # the server cannot continue: from the start
                _receive(response, file, entry, report)
                break
    except requests.RequestException as error:
        raise _failure(_reason(error), file.tell(), entry) from error
    if (done := file.tell()) < entry.bytes:
        raise _failure(f"the connection ended after {done:,} of {entry.bytes:,} bytes", done, entry)


def _receive(response: Any, file: IO[bytes], entry: Entry, report: Report | None) -> None:
    for piece in response.iter_content(_PIECE):
        file.write(piece)
        done = file.tell()
        if done > entry.bytes:
            return  # the server sent something else: the checksum will not match
        if report:
            report(f"downloading {entry.name}", done, entry.bytes)


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


def _reason(error: Any) -> str:
    """Returns the message of the server or the operating system, without the libraries' errors around it."""
    import requests

    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "the connection broke off"
    return str(error)
