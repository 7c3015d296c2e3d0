"""The ids of a text that lie in a file: in memory where they are few, else read block by block when they are needed.

There is no memory map. A file that shrinks under a map, or a disk that fails, kills the process with SIGBUS; here it is
an error that says so. And nothing gets an id that has not been checked: what is read from the disk is copied to memory
of this process's own, where it is compared with its block's digest and with the number of characters there are, before
anyone can see it. Compiled code reads rows of weights by these numbers, and does not ask again.

Up to IN_MEMORY bytes (text8 and enwik8 have 100 MB) are read at the start and are a plain array from then on. Of a
larger file CAPACITY bytes of blocks are kept, the one read longest ago making room for the next; every block is checked
each time it is read. Blocks are small, since each lane of a training has one of its own under way: 16 KiB for each of
4,096 lanes are 64 MiB. The digests, 16 bytes of BLAKE2b a block, are a thousandth of the file; BLAKE2b takes 12
microseconds a block on any machine (SHA-256 takes 8 where the processor has instructions for it, else 35), and a lane
needs a new block once in 16,384 characters.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextLost
from charrnn.files import let_go
from charrnn.text.vocabulary import Ids

BLOCK = 1 << 14
"""Bytes that share a digest, where a file is written."""
IN_MEMORY = 1 << 27
"""Bytes of a file that is held in memory whole."""
CAPACITY = 1 << 26
"""Bytes of blocks that are kept of a larger file."""
DIGEST = 16
"""Bytes of a block's digest."""
_PIECE = 1 << 20


class Digests:
    """Takes the digest of each block of a file while it is written."""

    def __init__(self, block: int) -> None:
        self._block, self._left = block, block
        self._hash = hashlib.blake2b(digest_size=DIGEST)
        self._done = bytearray()

    def update(self, raw: bytes) -> None:
        """Goes on with the next bytes of the file."""
        view = memoryview(raw)
        while view:
            part, view = view[: self._left], view[self._left :]
            self._hash.update(part)
            self._left -= len(part)
            if not self._left:
                self._end()

    def _end(self) -> None:
        self._done += self._hash.digest()
        self._hash, self._left = hashlib.blake2b(digest_size=DIGEST), self._block

    def whole(self) -> bytes:
        """Returns the digests of all blocks, one after the other."""
        if self._left < self._block:
            self._end()
        return bytes(self._done)


class Damaged(Exception):
    """What a file holds is not what was written to it. The reason is a sentence without a subject."""


class File:
    """A file of ids that is open for reading, with all that its content is checked against."""

    def __init__(
        self, descriptor: int, *, length: int, size: int, dtype: np.dtype[Any], block: int, digests: bytes
    ) -> None:
        """Takes over the descriptor. `length` is the number of ids, each of which must be smaller than `size`."""
        self.length, self.dtype, self.block = length, dtype, block
        self._size, self._digests, self._descriptor = size, digests, descriptor
        self._moving = threading.Lock()
        self.close = weakref.finalize(self, let_go, descriptor)

    def inode(self) -> os.stat_result:
        """Returns what the system knows of the file, under whatever name it lies now."""
        return os.fstat(self._descriptor)

    def _read_at(self, place: int, count: int) -> bytes:
        """Reads `count` bytes from the byte `place` on, fewer only where the file ends."""
        parts: list[bytes] = []
        while count:
            if hasattr(os, "pread"):
                part = os.pread(self._descriptor, count, place)
            else:
                with self._moving:
                    os.lseek(self._descriptor, place, os.SEEK_SET)
                    part = os.read(self._descriptor, count)
            if not part:
                break
            parts.append(part)
            place, count = place + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, first: int, last: int) -> Ids:
        """Returns the ids of the blocks from `first` to `last` (not included). Raises Damaged, or OSError where the
        disk fails."""
        end = min(last * self.block, self.length * self.dtype.itemsize)
        raw = self._read_at(first * self.block, end - first * self.block)
        if len(raw) < end - first * self.block:
            raise Damaged("is shorter than it was")
        view = memoryview(raw)
        for number in range(first, last):
            part = view[(number - first) * self.block : (number - first + 1) * self.block]
            wanted = self._digests[number * DIGEST : (number + 1) * DIGEST]
            if hashlib.blake2b(part, digest_size=DIGEST).digest() != wanted:
                raise Damaged(f"is damaged in the {self.block:,} bytes from {number * self.block:,} on")
        ids = np.frombuffer(raw, self.dtype)
        # Where a digest has been made of something else: no other check stands before compiled code.
        if len(ids) and int(ids.max()) >= self._size:
            raise Damaged(f"holds the id {int(ids.max()):,}, but there are {self._size:,} characters")
        return cast("Ids", ids)

    def whole(self) -> Ids:
        """Returns all ids, in memory, read-only."""
        ids = np.empty(self.length, self.dtype)
        step = max(1, _PIECE // self.block)
        total = -(-ids.nbytes // self.block)
        place = 0
        for first in range(0, total, step):
            read = self.read(first, min(first + step, total))
            ids[place : place + len(read)] = read
            place += len(read)
        ids.flags.writeable = False
        return cast("Ids", ids)


class _Blocks:
    """The blocks of a file that were read last."""

    def __init__(self, file: File, lost: Callable[[str], TextLost]) -> None:
        self._file, self._lost = file, lost
        self._per_block = file.block // file.dtype.itemsize
        number = -(-file.length // self._per_block)
        capacity = max(2, min(number, CAPACITY // file.block))
        self._rows = np.empty((capacity, self._per_block), file.dtype)
        self._blocks = np.full(capacity, -1)
        """Which block each row holds; -1: none."""
        self._row_of = np.full(number, -1)
        """In which row each block is; -1: in none."""
        self._next = 0
        self._lock = threading.RLock()

    @property
    def file(self) -> File:
        return self._file

    def _load(self, number: int) -> int:
        """Reads a block into a row; returns which."""
        try:
            ids = self._file.read(number, number + 1)
        except Damaged as error:
            raise self._lost(str(error)) from error
        except OSError as error:
            raise self._lost(f"cannot be read ({error.strerror or error})") from error
        row = self._next
        self._next = (row + 1) % len(self._blocks)
        if (before := self._blocks[row]) >= 0:
            self._row_of[before] = self._blocks[row] = -1
        self._rows[row, : len(ids)] = ids
        self._row_of[number], self._blocks[row] = row, number
        return row

    def read(self, start: int, stop: int) -> Ids:
        """Returns a copy of the ids from `start` to `stop`, of which there is at least one."""
        size = self._per_block
        first, begin = divmod(start, size)
        with self._lock:
            if stop - first * size <= size:  # nearly always
                row = self._row_of[first]
                return self._rows[row if row >= 0 else self._load(first), begin : stop - first * size].copy()
            ids = np.empty(stop - start, self._file.dtype)
            for number in range(first, (stop - 1) // size + 1):
                low, high = max(start, number * size), min(stop, (number + 1) * size)
                ids[low - start : high - start] = self.read(low, high)
        return cast("Ids", ids)

    def take(self, places: npt.NDArray[np.int64]) -> Ids:
        """Returns the ids at places, in the shape of these."""
        numbers, within = np.divmod(places, self._per_block)
        with self._lock:
            # What is loaded may take the row of another block that is wanted here; that one is then loaded behind it.
            # So it ends after as many rounds as there are rows, unless more blocks are wanted than there are rows.
            while (missing := numbers[self._row_of[numbers] < 0]).size:
                if places.size > len(self._blocks) and len(np.unique(numbers)) > len(self._blocks):
                    flat, half = places.reshape(-1), places.size // 2
                    return np.concatenate([self.take(flat[:half]), self.take(flat[half:])]).reshape(places.shape)
                for number in np.unique(missing).tolist():
                    self._load(number)
            return cast("Ids", self._rows[self._row_of[numbers], within])


class StoredIds:
    """Some ids, one after the other, of a file that is not in memory; as an array does, it gives arrays of its parts.

    Reading raises TextLost where the file is not what it was, or cannot be read any more.
    """

    __slots__ = ("_blocks", "_start", "_stop")

    def __init__(self, blocks: _Blocks, start: int, stop: int) -> None:
        self._blocks, self._start, self._stop = blocks, start, stop

    @classmethod
    def of(cls, file: File, lost: Callable[[str], TextLost]) -> StoredIds:
        """Returns all ids of a file. `lost` makes the error where they cannot be read, from the reason."""
        return cls(_Blocks(file, lost), 0, file.length)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return self._blocks.file.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of an id."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all ids."""
        return len(self) * self.itemsize

    def __len__(self) -> int:
        return self._stop - self._start

    def part(self, start: int, stop: int) -> StoredIds:
        """Returns the ids from `start` to `stop`, which are not read yet."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return StoredIds(self._blocks, self._start + start, self._start + max(start, stop))

    def __getitem__(self, places: Any) -> Any:
        """Returns one id, those of a slice, or those at an array of places in the shape of that, read from the file."""
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            if stop <= start:
                return np.zeros(0, self.dtype)
            return self._blocks.read(self._start + start, self._start + stop)
        wanted = np.asarray(places)
        if wanted.dtype.kind not in "iu":
            raise IndexError("only whole numbers, arrays of them and slices are places in a text")
        if wanted.size and (int(wanted.min()) < -len(self) or int(wanted.max()) >= len(self)):
            raise IndexError(f"a place is outside of a text of {len(self):,} ids")
        wanted = wanted.astype(np.int64)
        taken = self._blocks.take(np.where(wanted < 0, wanted + len(self), wanted) + self._start)
        return taken if taken.ndim else taken[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Returns all ids in memory: for who needs them so."""
        return cast("Ids", self[:]).astype(dtype or self.dtype, copy=False)


TextIds = Ids | StoredIds
"""The ids of a text (N,): an array, or for a large text what behaves as one where parts of it are read."""


def part_of(ids: TextIds, start: int, stop: int) -> TextIds:
    """Returns the ids from `start` to `stop`, without reading or copying any."""
    return ids.part(start, stop) if isinstance(ids, StoredIds) else ids[start:stop]


def are_equal(ids: TextIds, others: TextIds) -> bool:
    """Returns whether two texts are the same ids."""
    if ids is others or len(ids) != len(others):
        return len(ids) == len(others)
    return all(map(np.array_equal, pieces(ids, _PIECE), pieces(others, _PIECE)))


def pieces(ids: TextIds, size: int) -> Iterator[Ids]:
    """Yields the ids in arrays of `size`, the last of which may be shorter."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
