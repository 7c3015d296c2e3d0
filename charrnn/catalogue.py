"""Corpora known by name: one that every Python carries, and famous ones that are fetched on first use.

The facts (address, size, checksum, licence, customary split) stand in `catalogue.json`. A download goes to a folder
of its own in the cache, continues where it broke off, and is moved to its place only when its checksum is right, so
that no half-written corpus is ever in sight. Knows names and places. Refuses to know what the text is used for.
"""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError, ResourceError, TextError
from charrnn.files import cache_folder, explained, make_folder
from charrnn.sources import COMPRESSED_SUFFIXES, Source

STDLIB = "stdlib"
_TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of a body
_PIECE = 1 << 16

Report = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all."""


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
    """The catalogue, by name."""
    text = resources.files("charrnn").joinpath("catalogue.json").read_text("utf-8")
    facts: dict[str, dict[str, Any]] = json.loads(text)
    return {name: Entry(name=name, **values) for name, values in facts.items()}


def names() -> list[str]:
    """Every name that `find` knows."""
    return [STDLIB, *entries()]


def standard_library() -> list[Source]:
    """The Python sources of the standard library on this machine, in the order of their paths.

    Without tests, idlelib's and others' included, and without what was installed beside it (site-packages).
    """
    root = Path(sysconfig.get_path("stdlib"))
    unwanted = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idle_test"}
    files = [
        file
        for file in root.rglob("*.py")
        if not unwanted.intersection(file.relative_to(root).parts) and _is_utf8(file)
    ]
    if not files:
        raise TextError(f"this Python carries no sources of its standard library in {root}", "name a text of your own")
    return [Source(file, str(file)) for file in sorted(files, key=lambda file: file.relative_to(root).parts)]


def _is_utf8(file: Path) -> bool:
    # A few sources declare another encoding on purpose; the corpus is one encoding throughout.
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return "\0" not in text


def find(name: str, report: Report | None = None) -> list[Source] | None:
    """The files of a corpus known by `name`, downloaded if need be; None where the name is not known.

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


def _in_folder(folder: Path, name: str) -> Source | None:
    if "/" in name or "\\" in name or name in ("", ".", "..", "-"):
        return None
    for stem in (name, f"{name}.txt"):
        for suffix in ("", *COMPRESSED_SUFFIXES):
            if (file := folder / (stem + suffix)).is_file():
                return Source(file, str(file))
    return None


def download_folder() -> Path:
    """`corpora/` where the current folder is a checkout of charrnn, else the user's cache."""
    here = Path.cwd()
    is_checkout = (here / "charrnn" / "catalogue.json").is_file() and (here / "corpora").is_dir()
    return here / "corpora" if is_checkout else cache_folder() / "downloads"


def fetch(entry: Entry, folder: Path, report: Report | None = None) -> Source:
    """The file of a catalogue entry in `folder`, downloaded and verified unless it lies there already.

    Raises TextError where there is no network, the connection breaks or the checksum is wrong, and ResourceError
    where the disk is full. In each case `folder` holds nothing new.
    """
    target = folder / entry.file
    if target.is_file() and Source(target, str(target)).digest() == entry.sha256:
        return Source(target, str(target))
    import pooch

    pooch.get_logger().disabled = True
    make_folder(folder)
    # pooch downloads beside the target under a temporary name, checks the sum and moves; the transport is ours
    # because pooch's own starts again from nothing when a connection breaks.
    try:
        with explained(target, "downloading"):
            pooch.retrieve(
                entry.url,
                known_hash=f"sha256:{entry.sha256}",
                fname=entry.file,
                path=folder,
                downloader=_Transport(entry, report),
            )
    except ValueError as error:
        _partial(entry).unlink(missing_ok=True)
        raise TextError(
            f"what {entry.url} sent is not {entry.name}: its sha256 is not {entry.sha256}",
            f"try again later, or put the file into a folder that CHARRNN_CORPORA names, as {entry.file}",
        ) from error
    _partial(entry).unlink(missing_ok=True)
    return Source(target, str(target))


def _partial(entry: Entry) -> Path:
    return cache_folder() / "partial" / f"{entry.sha256}.part"


class _Transport:
    """A downloader for pooch: continues a broken download by an HTTP range request."""

    def __init__(self, entry: Entry, report: Report | None) -> None:
        self._entry = entry
        self._report = report

    def __call__(self, url: str, output_file: Any, _pooch: Any) -> None:
        partial = _partial(self._entry)
        make_folder(partial.parent)
        self._download(url, partial)
        with explained(partial, "copying"):
            Path(output_file).write_bytes(partial.read_bytes())

    def _download(self, url: str, partial: Path) -> None:
        import requests

        entry = self._entry
        done = partial.stat().st_size if partial.exists() else 0
        if done >= entry.bytes:
            partial.unlink()
            done = 0
        try:
            headers = {"Range": f"bytes={done}-"} if done else {}
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                response.raise_for_status()
                if done and response.status_code != requests.codes.partial_content:
                    done = 0  # the server cannot continue: from the start
                with explained(partial, "downloading to"), open(partial, "ab" if done else "wb") as file:
                    for piece in response.iter_content(_PIECE):
                        file.write(piece)
                        done += len(piece)
                        if done > entry.bytes:
                            break
                        if self._report:
                            self._report(f"downloading {entry.name}", done, entry.bytes)
        except requests.RequestException as error:
            raise self._failure(error, done) from error
        if done < entry.bytes:
            raise self._failure(f"the connection ended after {done:,} of {entry.bytes:,} bytes", done)

    def _failure(self, reason: object, done: int) -> CharrnnError:
        entry = self._entry
        if isinstance(reason, OSError) and isinstance(reason.__cause__, ResourceError):
            return reason.__cause__
        kept = f"; the {done:,} bytes received are kept and the same command continues" if done else ""
        return TextError(
            f"cannot download {entry.name} from {entry.url}: {reason}{kept}",
            f"try again, or put the file into a folder that CHARRNN_CORPORA names, as {entry.file}; "
            "`charrnn train stdlib` needs no network",
        )
