"""The arrays of a checkpoint, read into memory piece by piece, and the digest over them and the metadata.

A file that is mapped kills the process that touches it once somebody has cut it short, and changes under its reader
once somebody has written into it. So nothing is mapped: the digest is over the very bytes that are used afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.checkpoints.tensorfile import DTYPES, NumpyArray
from charrnn.errors import CheckpointError
from charrnn.files import let_go

_PIECE = 1 << 20
"""Bytes that are read and hashed at a time, so that a signal is heard; they fit the cache of a core."""
_WORTH_FORGETTING = 1 << 22


def digest_of(metadata: str, arrays: Mapping[str, NumpyArray]) -> str:
    """Returns the digest of a checkpoint: SHA-256 of its metadata and of its arrays in the order of their names."""
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(_heading(name, array.dtype, array.shape))
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _heading(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return f"\n{name} {dtype.str} {shape}\n".encode()


def changed(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} was written to while it was read, or has been since", "give the command again once it is whole"
    )


@dataclass(slots=True)
class _Place:
    """Where an array lies, what it is, and the digest before it and behind it."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    before: Any
    behind: bytes = b""


@dataclass(slots=True)
class Reading:
    """What was read of a file."""

    arrays: dict[str, NumpyArray] = field(default_factory=dict)
    places: dict[str, _Place] = field(default_factory=dict)
    digest: str = ""
    not_finite: str | None = None
    """The first array with a number that is none."""


def read_arrays(
    path: Path, file: IO[bytes], header: Mapping[str, Any], data_start: int, text: str, wanted: Callable[[str], bool]
) -> Reading:
    """Reads every array of a file whose header was checked, and keeps those that are `wanted`, read-only.

    `text` is what the digest begins with. Raises CheckpointError where the file ends before its header says.
    """
    reading, digest = Reading(), hashlib.sha256(text.encode())
    largest = max((end - begin for begin, end in (entry["data_offsets"] for entry in header.values())), default=0)
    scratch = np.empty(min(_PIECE, largest), np.uint8)
    for name in sorted(header):
        entry = header[name]
        begin, end = entry["data_offsets"]
        place = _Place(data_start + begin, DTYPES[entry["dtype"]], tuple(entry["shape"]), digest.copy())
        array = np.empty(place.shape, place.dtype) if wanted(name) else None
        whole = None if array is None else array.reshape(-1).view(np.uint8)
        digest.update(_heading(name, place.dtype, place.shape))
        file.seek(place.start)
        for at in range(0, end - begin, _PIECE):
            size = min(_PIECE, end - begin - at)
            piece = scratch[:size] if whole is None else whole[at : at + size]
            if file.readinto(piece) != size:  # type: ignore[attr-defined]
                raise changed(path)
            digest.update(piece.data)
            is_number = place.dtype.kind != "f" or bool(np.isfinite(piece.view(place.dtype)).all())
            if reading.not_finite is None and not is_number:
                reading.not_finite = name
        if array is not None:
            array.flags.writeable = False
            place.behind = digest.digest()
            reading.arrays[name], reading.places[name] = array, place
    reading.digest = digest.hexdigest()
    return reading


class StoredArrays(Mapping[str, NumpyArray]):
    """Arrays by name. One that is forgotten is read again when it is asked for, and must be the same then.

    So the weights of a large model need not be held twice, in the order of the file and in that of an engine. They are
    read from the file that was opened, also where another one has taken its name since.
    """

    def __init__(self, path: Path, file: IO[bytes], reading: Reading, prefix: str, names: Sequence[str]) -> None:
        """Takes the arrays called `prefix` and one of `names` out of `reading`, in the order of the names."""
        self._path, self._prefix = path, prefix
        self._arrays: dict[str, NumpyArray | None] = {name: reading.arrays.pop(prefix + name) for name in names}
        self._places = {name: reading.places[prefix + name] for name in names}
        self._descriptor: int | None = None
        size = sum(array.nbytes for array in self._arrays.values() if array is not None)
        if size >= _WORTH_FORGETTING and hasattr(os, "pread"):
            with contextlib.suppress(OSError):  # then nothing is forgotten
                self._descriptor = os.dup(file.fileno())
                weakref.finalize(self, let_go, self._descriptor)

    def forget(self, name: str) -> None:
        """Frees the memory of an array unless somebody else holds it too; nothing where it could not be read again."""
        if name in self._arrays and self._descriptor is not None:
            self._arrays[name] = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what other processes are sent, are plain arrays: they hold on to no file."""
        read = ((name, array if array is not None else self._read_again(name)) for name, array in self._arrays.items())
        return dict, (dict(read),)

    def __getitem__(self, name: str) -> NumpyArray:
        array = self._arrays[name]
        if array is None:
            array = self._arrays[name] = self._read_again(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _read_again(self, name: str) -> NumpyArray:
        """Raises CheckpointError where the file has changed, or cannot be read any more."""
        assert self._descriptor is not None
        place = self._places[name]
        array = np.empty(place.shape, place.dtype)
        whole, digest = array.reshape(-1).view(np.uint8), place.before.copy()
        digest.update(_heading(self._prefix + name, place.dtype, place.shape))
        for at in range(0, len(whole), _PIECE):
            size = min(_PIECE, len(whole) - at)
            try:
                read = os.pread(self._descriptor, size, place.start + at)
            except OSError as error:
                raise CheckpointError(f"cannot read {self._path}: {error.strerror}") from error
            if len(read) != size:
                raise changed(self._path)
            whole[at : at + size] = np.frombuffer(read, np.uint8)
            digest.update(read)
        if digest.digest() != place.behind:
            raise changed(self._path)
        array.flags.writeable = False
        return array
