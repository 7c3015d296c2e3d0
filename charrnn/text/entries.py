"""An entry of the cache of encoded texts: a folder with the ids, and what they are checked against.

    ids.bin      the ids, one after the other, each as wide as the vocabulary needs
    described    the SHA-256 of the second line in hexadecimal, then a line of JSON: the vocabulary, how long the parts
                 are, and the digest of each block of ids.bin

Nothing that is read here is believed: anything may lie under an entry's name, and an entry that is not whole is as if
there were none, except that a sentence says so. JSON is parsed only where its digest is right, so that damage never
comes to the parser; what is well-formed and senseless is refused field by field.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import stat
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from charrnn.errors import TextLost
from charrnn.files import explained, let_go, make_levels, opened, remove_all, sync_folder
from charrnn.system_errors import retried, take_lock
from charrnn.text import stored, under_way
from charrnn.text.stored import DIGEST, Damaged, File, StoredIds, TextIds
from charrnn.text.traits import Traits
from charrnn.text.vocabulary import NUM_CODE_POINTS, UNKNOWN_SYMBOL, Vocabulary

IDS = "ids.bin"
DESCRIBED = "described"
_ATTEMPTS = 5
_LARGEST_BLOCK = 1 << 30
_LARGEST_LENGTH = 1 << 48
_MOST_DESCRIBED = 1 << 25
"""Bytes of a description without its digests: 1.1 million code points need 9 million."""
_NOT_OURS = {errno.EACCES, errno.EPERM}
_TOO_MUCH = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is known of an encoded text beside its ids."""

    key: str
    """The name of its entry."""
    vocabulary: Vocabulary
    characters: int
    """How many ids there are, those of the ends of documents included."""
    validation: int
    """How many of these, at the end, come from separate validation sources."""
    documents: int
    """How many documents there are, without those of separate validation sources; 0 where there are none."""
    empty: int
    """How many documents without a character were left out."""
    files: tuple[int, ...]
    """How many ids each file has, in their order, without those of separate validation sources; of documents none."""
    num_bytes: int
    sha256: str
    block: int
    """Bytes of the ids that share a digest."""
    digests: bytes
    """The digest of each block, one after the other."""
    traits: Traits

    def to_bytes(self) -> bytes:
        """Returns the content of the file that says so."""
        content = {
            "key": self.key,
            "kind": self.vocabulary.kind,
            "code_points": self.vocabulary.code_points.tolist(),
            "characters": self.characters,
            "validation": self.validation,
            "has_end": self.vocabulary.has_end,
            "has_unknown_symbol": self.vocabulary.unknown_symbol is not None,
            "documents": self.documents,
            "empty": self.empty,
            "files": self.files,
            "bytes": self.num_bytes,
            "sha256": self.sha256,
            "block": self.block,
            "digests": self.digests.hex(),
            "traits": self.traits.to_dict(),
        }
        line = json.dumps(content).encode() + b"\n"
        return hashlib.sha256(line).hexdigest().encode() + b"\n" + line

    @classmethod
    def of_bytes(cls, raw: bytes, key: str) -> Described:
        """Returns what a file says, of the entry `key`. Raises Damaged where it is not what was written."""
        digest, _, line = raw.partition(b"\n")
        if hashlib.sha256(line).hexdigest().encode() != digest:
            raise Damaged("has a damaged description")
        try:
            return cls._of(json.loads(line), key)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Damaged("has a senseless description") from error

    @classmethod
    def _of(cls, content: Any, key: str) -> Described:
        if content["key"] != key:
            raise ValueError("of another text")
        points, kind, files = content["code_points"], content["kind"], content["files"]
        whole = [content[name] for name in ("characters", "validation", "bytes", "block", "documents", "empty")]
        if not all(type(each) is int for each in [*points, *whole, *files]):
            raise TypeError("not a whole number")
        has_end, has_unknown_symbol = content["has_end"], content["has_unknown_symbol"]
        if type(has_end) is not bool or type(has_unknown_symbol) is not bool:
            raise TypeError("neither true nor false")
        characters, validation, num_bytes, block, documents, empty = whole
        if kind not in ("text", "bytes") or (kind == "bytes" and points != list(range(256))):
            raise ValueError("no vocabulary")
        if any(one >= two for one, two in itertools.pairwise([-1, *points, NUM_CODE_POINTS])):
            raise ValueError("no code points in ascending order")
        traits = Traits.of_dict(content["traits"])
        if has_unknown_symbol and (kind != "text" or UNKNOWN_SYMBOL not in points):
            raise ValueError("no unknown symbol")
        if traits.rare and not has_unknown_symbol:
            raise ValueError("rare characters without an unknown symbol")
        vocabulary = Vocabulary(points, kind, has_end=has_end, has_unknown_symbol=has_unknown_symbol)
        if not (0 <= validation <= characters and 4 <= block <= _LARGEST_BLOCK):
            raise ValueError("out of range")
        if vocabulary.has_end:
            # What parted the documents has bytes and no ids, and an end has an id where there may be no byte.
            # A document has a character and its end, and before the first one stands another end.
            own = characters - validation
            are_sound = empty in range(_LARGEST_LENGTH) and num_bytes >= 0 and 0 <= 2 * documents <= max(0, own - 1)
            are_sound = are_sound and (documents > 0 or own <= 1) and not files
        else:
            are_sound = characters <= num_bytes <= 4 * characters and documents == empty == 0
            are_sound = are_sound and min(files, default=0) >= 0 and sum(files) == characters - validation
        if not are_sound:
            raise ValueError("out of range")
        if characters > _LARGEST_LENGTH or (characters and not len(vocabulary)):
            raise ValueError("too many characters, or none")
        digests, sha256 = bytes.fromhex(content["digests"]), content["sha256"]
        blocks = -(-characters * vocabulary.dtype.itemsize // block)
        if block % vocabulary.dtype.itemsize or len(digests) != blocks * DIGEST or len(bytes.fromhex(sha256)) != 32:
            raise ValueError("digests that do not fit")
        return cls(
            key=key, vocabulary=vocabulary, characters=characters, validation=validation, documents=documents,
            empty=empty, files=tuple(files), num_bytes=num_bytes, sha256=sha256, block=block, digests=digests,
            traits=traits,
        )  # fmt: skip


def read(folder: Path) -> tuple[Described, TextIds] | None:
    """Returns the entry in a folder, checked as far as it is in memory; None where there is nothing, or nothing that
    this user may read. Raises Damaged where the entry is not whole, ResourceError where no more files can be open."""
    try:
        return _read(folder)
    except OSError as error:
        if error.errno in _TOO_MUCH:
            with explained(folder, "reading the encoded text in"):
                raise
        if error.errno in _NOT_OURS or (isinstance(error, FileNotFoundError) and not os.path.lexists(folder)):
            return None
        raise Damaged(f"cannot be read ({error.strerror or error})") from error


def _read(folder: Path) -> tuple[Described, TextIds]:
    descriptor, size = _opened(folder / IDS)
    with contextlib.ExitStack() as failing:
        failing.callback(let_go, descriptor)
        described, length = _opened(folder / DESCRIBED)
        with opened(described) as file:
            # Its digests are the only part that grows, with what they are the digests of; of a block of any size.
            if length > _MOST_DESCRIBED + 2 * DIGEST * size:
                raise Damaged("has a damaged description")
            known = Described.of_bytes(file.read(length + 1), folder.name)
        dtype = known.vocabulary.dtype
        if size != known.characters * dtype.itemsize:
            raise Damaged("is not as long as it was")
        failing.pop_all()
    file_of_ids = File(
        descriptor, length=known.characters, size=len(known.vocabulary), dtype=dtype, block=known.block,
        digests=known.digests,
    )  # fmt: skip
    _use(folder, descriptor)
    if size > stored.IN_MEMORY:
        return known, StoredIds.of(file_of_ids, lambda reason: _lost(folder, file_of_ids, reason))
    try:
        ids = file_of_ids.whole()
        with contextlib.suppress(OSError):
            weakref.finalize(ids, let_go, os.dup(descriptor))  # as long as the ids are there, the entry is in use
        return known, ids
    finally:
        file_of_ids.close()


def _use(folder: Path, descriptor: int) -> None:
    """Says to other processes that an entry is in use, while the file of its ids is open, and was used now."""
    with contextlib.suppress(OSError):
        take_lock(descriptor, shared=True)
    with contextlib.suppress(OSError):  # it may be another user's
        os.utime(folder / DESCRIBED)


def _opened(path: Path) -> tuple[int, int]:
    """Opens a file for reading; returns its descriptor and size. Raises Damaged where something else lies there: to
    open a pipe would wait for ever."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        let_go(descriptor)
        raise Damaged(f"has something else in the place of {path.name}")
    return descriptor, status.st_size


def _lost(folder: Path, file: File, reason: str) -> TextLost:
    """Takes an entry away that has proved damaged, so that the text is encoded anew; returns the error that says so."""
    is_there = False
    with contextlib.suppress(OSError):
        is_there = os.path.samestat(
            file.inode(), os.stat(folder / IDS)
        )  # else another process has put a whole one there
    file.close()
    if is_there:
        remove(folder)
    again = "give the same command again, and the text is encoded anew"
    if is_there and os.path.lexists(folder / IDS):
        again = f"remove {folder}, then give the same command again"
    return TextLost(
        f"the encoded text in {folder} {reason}", again,
        "where it happens again the disk fails: CHARRNN_CACHE names a place on another one",
    )  # fmt: skip


def remove(folder: Path) -> None:
    """Removes an entry in one step."""
    try:
        with under_way.begin() as work:
            os.rename(folder, work / "damaged")
    except OSError:  # no room for a workplace, say
        remove_all(folder)


@contextlib.contextmanager
def synced(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing, and flushes it to disk at the end: a power cut must not leave an entry of the right
    size that is full of zeros."""
    with opened(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def place(made: Path, key: str, work: Path) -> None:
    """Renames a finished entry to its place on the first shelf that takes it, unless there is a whole one already.

    `work` is a folder for what has to go. Raises OSError where no shelf takes it.
    """

    def put(shelf: Path) -> None:
        make_levels(shelf, is_durable=False)
        if not _placed(made, shelf / key, work):
            raise PermissionError(errno.EACCES, "what lies there cannot be replaced")

    under_way.on_a_shelf(put)


def _placed(made: Path, folder: Path, work: Path) -> bool:
    """Tries to give an entry its place; returns whether a whole one is there that this user can read."""
    for attempt in range(_ATTEMPTS):
        try:
            retried(os.rename, made, folder)
            sync_folder(folder.parent)
            return True
        except OSError:
            if not os.path.lexists(folder):
                raise
        try:
            if read(folder) is not None:
                return True
        except Damaged:
            pass
        try:
            retried(os.rename, folder, work / f"torn-{attempt}")
        except FileNotFoundError:  # another process was quicker
            pass
        except OSError:
            return False
    return False
