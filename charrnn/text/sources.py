"""Finds the sources of a text: files, folders, compressed files and standard input, each opened as a stream of bytes.

Encodings matter here only to tell text files from other files.
"""

from __future__ import annotations

import codecs
import contextlib
import fnmatch
import gzip
import hashlib
import io
import lzma
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from charrnn import files as system_files
from charrnn.errors import CharrnnError, ResourceError, TextError, UsageError
from charrnn.files import ANOTHER_CACHE, explained, harmless, is_device, opened, require_room
from charrnn.settings.config import DataConfig
from charrnn.system_errors import Outcome, outcome_of, retried, told
from charrnn.text import archives, standard_input, under_way
from charrnn.text.archives import COMPRESSED_SUFFIXES
from charrnn.wording import count

_CHUNK = 1 << 20
_HEAD = 8192
_A_LOOK = 1 << 26  # bytes of a stream between two looks at the room that is left
_HELD = 1 << 25  # bytes of a stream that are held in memory; one with more is copied to a file


@dataclass(frozen=True, slots=True)
class Source:
    """One file of text; `name` is its name in messages."""

    path: Path
    name: str
    is_temporary: bool = False

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens the (decompressed) bytes of the file. Raises TextError where it cannot be read or unpacked."""
        try:
            file = archives.open_source(self.path)
            try:
                yield file
            finally:
                with harmless("close without writing"):
                    file.close()
        except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise TextError(
                f"{self.name} is damaged or not what its ending says: {error}", "unpack it to see where it breaks"
            ) from error
        except OSError as error:
            if error.errno is None:  # bz2 reports damage without a number
                raise TextError(f"{self.name} is damaged: {error}", "unpack it to see where it breaks") from error
            raise _unreadable(self.name, error) from error

    def digest(self) -> str:
        """Returns the sha256 of the file as it lies on disk (compressed or not)."""
        with _explained(self.name), opened(self.path, "rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest()

    def size(self) -> int:
        """Returns the number of bytes on disk."""
        with _explained(self.name):
            return self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class Held(Source):
    """A text that is held in memory, without a file."""

    content: bytes = field(default=b"", repr=False)

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens the bytes."""
        yield io.BytesIO(self.content)

    def digest(self) -> str:
        """Returns the sha256 of the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def size(self) -> int:
        """Returns the number of bytes."""
        return len(self.content)


_NOWHERE = Path(os.devnull)
"""In the place of a file's path."""


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns an OSError into an error that says which file could not be read."""
    try:
        yield
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> CharrnnError:
    """Returns the error for a file that could not be read: a TextError, unless the machine is to blame."""
    if outcome_of(error) is Outcome.RESOURCES:
        return ResourceError(*told(error, f"reading {name}"))
    return TextError(f"cannot read {name}: {error.strerror}", _remedy(error))


def _remedy(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "check the spelling"
    if isinstance(error, PermissionError):
        return "ask for permission to read it, or copy it"
    return None


def find(argument: str, glob: str | None = None, config: DataConfig | None = None) -> tuple[list[Source], list[str]]:
    """Returns the files that one argument names, in a stable order, and notices about what was left out.

    `argument` is a file, a folder (searched recursively in the order of its paths, without hidden files; files that
    are not text in the encoding of `config` are left out and counted in a notice, except in byte mode; with `glob`,
    exactly the files whose name or path within the folder matches it), or `-` for standard input. Raises TextError
    where it does not exist or holds no text.
    """
    config = config or DataConfig()
    if not config.as_bytes:
        incremental_decoder(config)  # an encoding that is none is told before anything is read
    if argument == "-":
        return [_spool_standard_input()], []
    path = Path(argument)
    if argument == "" or not is_there(argument):
        raise TextError(f"there is no file or folder {argument or repr(argument)}", _remedy(FileNotFoundError()))
    if not os.path.isdir(path):
        if _is_pipe(path):
            standard_input.lost(argument)
            with Source(path, argument).open() as stream:
                return [_kept(stream, argument)], []
        refuse_device(path)
        return [Source(path, argument)], []
    found = sorted(_walk(path), key=lambda file: file.relative_to(path).parts)
    if glob is not None:
        named = ((file, (file.name, file.relative_to(path).as_posix())) for file in found)
        matching = [file for file, names in named if any(fnmatch.fnmatchcase(name, glob) for name in names)]
        if not matching:
            raise TextError(f"no file in {argument} matches {glob}", "quote the pattern; ** is not needed")
        return [Source(file, str(file)) for file in matching], []
    texts = found if config.as_bytes else [file for file in found if _looks_like_text(file, config)]
    if not texts:
        raise TextError(
            f"there is no {config.encoding} text in the folder {argument}",
            "--encoding names another encoding",
            "--glob chooses files by name",
            "--bytes takes any file",
            "or name a folder of texts",
        )
    left_out = len(found) - len(texts)
    said = f"{argument}: left out {left_out} of {count(len(found), 'file')} that are not {config.encoding} text"
    return [Source(file, str(file)) for file in texts], [said] if left_out else []


def is_there(argument: str) -> bool:
    """Whether an argument is the name of a file or a folder. Raises TextError where it cannot be looked at."""
    with _explained(argument):
        return system_files.is_there(argument)


def refuse_device(path: Path) -> None:
    """Raises TextError where a path is a device, which could be read for ever, such as /dev/zero or a terminal."""
    if is_device(path):
        raise TextError(
            f"{path} is a device, not a file of text",
            "name a file, or pipe as much of it as you want into the command, which reads standard input as -",
        )


def _is_pipe(path: Path) -> bool:
    """Returns whether a path can be read only once: it is a named pipe, or the shell's <(command)."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(f"the folder {error.filename}", error) from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Opening a pipe that happens to lie there would wait for ever.
        visible = (Path(parent, name) for name in files if not name.startswith("."))
        yield from (file for file in visible if os.path.isfile(file))


def _looks_like_text(file: Path, config: DataConfig) -> bool:
    """Returns whether the beginning of a file can be decoded and holds no NUL. Raises TextError where it cannot be
    read."""
    try:
        with Source(file, str(file)).open() as stream:
            head = stream.read(_HEAD)
        return "\0" not in incremental_decoder(config).decode(head, final=len(head) < _HEAD)
    except TextError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            raise  # a missing permission, say, tells nothing about the content
        return False
    except UnicodeError:
        return False


def incremental_decoder(config: DataConfig) -> codecs.IncrementalDecoder:
    """Returns a decoder for the bytes of a text file. Raises UsageError where the encoding is not known."""
    try:
        "".encode(config.encoding)  # unlike `codecs`, this knows rot13 and its like to be no encodings of text
        if codecs.lookup(config.encoding).name == "punycode":
            raise LookupError("it spells names of hosts, and Python cannot decode it in pieces")
        return codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
    except (LookupError, ValueError) as error:
        raise UsageError(f"--encoding is {config.encoding!r}", "name an encoding such as utf-8 or latin-1") from error


def _spool_standard_input() -> Source:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is nothing on standard input", "pipe a text into the command, or name a file")
    with contextlib.suppress(OSError, ValueError):  # it may stand for no file
        if is_device(sys.stdin.fileno()):
            raise TextError("standard input is a device, not a text", "pipe a text into the command, or name a file")
    if _standard_input and _standard_input[0] is sys.stdin:
        held: Source = _standard_input[1]
        return held
    source = _kept(sys.stdin.buffer, "stdin")
    if isinstance(source, Held):  # so it can be asked for once more
        _standard_input[:] = [sys.stdin, source]
    if not standard_input.is_ours():
        standard_input.lost("standard input")
        return source
    copy = standard_input.file_of(source.content) if isinstance(source, Held) else _opened(source.path)
    if copy is None:
        standard_input.lost("standard input")
    else:
        standard_input.put_in_place(copy)
    return source


def _opened(copy: Path) -> int:
    with explained(copy, "reading"):
        return os.open(copy, os.O_RDONLY)


_standard_input: list[Any] = []
"""The standard input that was read last, and its text, where that is in memory."""


def _kept(stream: IO[bytes], name: str) -> Source:
    """Returns a source of all that comes from a stream which can be read only once."""
    beginning = bytearray()
    while len(beginning) < _HELD:
        if not (chunk := _read_some(stream, name)):
            return Held(_NOWHERE, name, content=bytes(beginning))
        beginning += chunk
    return _spool(stream, name, bytes(beginning))


def _spool(stream: IO[bytes], name: str, beginning: bytes = b"") -> Source:
    """Copies a stream that can be read only once, and of which the `beginning` has been read, to a temporary file,
    which `release` or the program's end removes."""
    with explained(under_way.shelves()[0], f"copying {name} to", ANOTHER_CACHE):
        work = under_way.begin()
        try:
            copy = work.folder / "stdin"
            with opened(copy, "wb") as file:
                file.write(beginning)
                _copy(stream, file, name, work.folder, len(beginning))
        except BaseException:
            work.remove()
            raise
    _copies[copy] = work
    return Source(copy, name, is_temporary=True)


_copies: dict[Path, under_way.Workplace] = {}
"""Where each copy of a stream lies."""


def _copy(stream: IO[bytes], file: IO[bytes], name: str, folder: Path, before: int) -> None:
    """Copies a stream, of which `before` bytes have come before, to a file in `folder`.

    Raises ResourceError where the disk would not have room for its text.
    """
    copied = looked_at = before
    while chunk := _read_some(stream, name):
        file.write(chunk)
        copied += len(chunk)
        # A stream may never end. Its text is encoded next, which takes about half its size or more again: where that
        # has no room, the copy stops before the disk is full.
        if copied - looked_at >= _A_LOOK:
            looked_at = copied
            require_room(folder, copied // 2, f"encoding {name}, of which {copied:,} bytes have come so far,")


def of_text(text: str, name: str, config: DataConfig) -> Source:
    """Returns a source that holds `text`.

    Raises TextError where the encoding of `config` lacks one of its characters.
    """
    encoding = "utf-8" if config.as_bytes else config.encoding
    incremental_decoder(config)  # which knows whether there is such an encoding
    try:
        return Held(_NOWHERE, name, content=text.encode(encoding))
    except UnicodeEncodeError as error:
        character = ascii(text[error.start])
        raise TextError(f"the text holds {character}, which {encoding} cannot encode", "leave it out") from error


def _read_some(stream: IO[bytes], name: str) -> bytes:
    with _explained(name):  # it may be a folder, say
        return stream.read(_CHUNK)


def title(argument: str) -> str:
    """Returns the name for a run on this argument: its file name without folder, compression and text endings.

    >>> title("books/emma.txt.gz"), title("-")
    ('emma', 'stdin')
    """
    if argument == "-":
        return "stdin"
    name = os.path.basename(os.path.realpath(argument))  # which has an answer for a loop of links, too
    for suffix in (*COMPRESSED_SUFFIXES, ".txt"):
        name = name.removesuffix(suffix)
    return name if name.strip(".") else "text"


def release(sources: Sequence[Source]) -> None:
    """Removes the temporary files among the sources."""
    for source in sources:
        if source.is_temporary:
            with harmless("removal of rubbish"):
                retried(source.path.unlink, missing_ok=True)
            if (work := _copies.pop(source.path, None)) is not None:
                work.remove()
