"""Where text comes from: files, folders, compressed files and standard input.

Knows which files an argument names and how to open each as a stream of bytes. Refuses to know encodings beyond
telling text from binary, and what the text is for.
"""

from __future__ import annotations

import bz2
import codecs
import fnmatch
import gzip
import hashlib
import lzma
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from charrnn.errors import TextError, UsageError
from charrnn.files import cache_folder, explained, make_folder

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
_CHUNK = 1 << 20
_HEAD = 8192


@dataclass(frozen=True, slots=True)
class Source:
    """One file of text. `name` is how messages call it."""

    path: Path
    name: str
    is_temporary: bool = False

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The (decompressed) bytes of the file. Raises TextError where it cannot be read or unpacked."""
        try:
            with _open(self.path) as file:
                yield file
        except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise TextError(
                f"{self.name} is damaged or not what its ending says: {error}",
                "unpack it to see where it breaks",
            ) from error
        except OSError as error:
            if error.errno is None:  # bz2 reports damage without a number
                raise TextError(f"{self.name} is damaged: {error}", "unpack it to see where it breaks") from error
            raise TextError(f"cannot read {self.name}: {error.strerror}", _remedy(error)) from error

    def digest(self) -> str:
        """sha256 of the file as it lies on disk (compressed or not)."""
        digest = hashlib.sha256()
        try:
            with open(self.path, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise TextError(f"cannot read {self.name}: {error.strerror}", _remedy(error)) from error
        return digest.hexdigest()

    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if suffix == ".bz2":
        return bz2.open(path, "rb")
    if suffix == ".xz":
        return lzma.open(path, "rb")
    if suffix == ".zip":
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            archive.close()
            raise TextError(
                f"{path} holds {len(members)} files, not one", "unpack it and name the files or their folder"
            )
        return archive.open(members[0])
    return open(path, "rb")


def _remedy(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "check the spelling, or name a corpus of the catalogue (charrnn train --help lists them)"
    if isinstance(error, PermissionError):
        return "ask for permission to read it, or copy it"
    return None


def find(argument: str, glob: str | None = None) -> tuple[list[Source], list[str]]:
    """The files that one argument names, in a stable order, and notices about what was left out.

    `argument` is a file, a folder (searched recursively in the order of its paths; hidden files and what is not
    text are left out, and counted in a notice; with `glob`, exactly the files whose name or path within the folder
    matches it), or `-` for standard input. Raises TextError where there is no such thing or no text in it.
    """
    if argument == "-":
        return [_spool_standard_input()], []
    path = Path(argument)
    if not path.is_dir():
        if not os.path.lexists(path):
            raise TextError(f"there is no file or folder {argument}", _remedy(FileNotFoundError()))
        return [Source(path, argument)], []
    found = sorted(_walk(path), key=lambda file: file.relative_to(path).parts)
    if glob is not None:
        matching = [file for file in found if _matches(file, path, glob)]
        if not matching:
            raise TextError(f"no file in {argument} matches {glob}", "quote the pattern; ** is not needed")
        return [Source(file, str(file)) for file in matching], []
    texts = [file for file in found if _looks_like_text(file)]
    if not texts:
        raise TextError(
            f"there is no text in the folder {argument}",
            "--glob chooses files by name, --bytes takes any file",
        )
    left_out = len(found) - len(texts)
    notices = [f"{argument}: left out {left_out} of {len(found)} files that are not UTF-8 text"] if left_out else []
    return [Source(file, str(file)) for file in texts], notices


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise TextError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _matches(file: Path, folder: Path, glob: str) -> bool:
    return fnmatch.fnmatchcase(file.name, glob) or fnmatch.fnmatchcase(file.relative_to(folder).as_posix(), glob)


def _looks_like_text(file: Path) -> bool:
    """Whether the beginning of a file is UTF-8 without NUL bytes."""
    try:
        with Source(file, str(file)).open() as stream:
            head = stream.read(_HEAD)
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except (TextError, UnicodeDecodeError):
        return False
    return bool(head) and b"\0" not in head


def _spool_standard_input() -> Source:
    """Copies standard input to a temporary file, since the corpus is read twice. The caller of `release` removes it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is nothing on standard input", "pipe a text into the command, or name a file")
    folder = cache_folder()
    make_folder(folder)
    with (
        explained(folder),
        tempfile.NamedTemporaryFile(dir=folder, prefix="stdin-", suffix=".tmp", delete=False) as file,
    ):
        shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK)
    return Source(Path(file.name), "stdin", is_temporary=True)


def title(argument: str) -> str:
    """What a run on this argument is called after: its name without folder, compression and text endings.

    >>> title("books/emma.txt.gz"), title("-")
    ('emma', 'stdin')
    """
    if argument == "-":
        return "stdin"
    name = Path(argument).resolve().name
    for suffix in (*COMPRESSED_SUFFIXES, ".txt"):
        name = name.removesuffix(suffix)
    return name or "text"


def release(sources: Sequence[Source]) -> None:
    """Removes the temporary files among the sources."""
    for source in sources:
        if source.is_temporary:
            source.path.unlink(missing_ok=True)
