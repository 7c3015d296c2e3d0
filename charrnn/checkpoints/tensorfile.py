"""Reads safetensors files and checks everything that their headers say.

The format is 8 bytes of length, a JSON header, and the arrays' bytes one after the other. The safetensors library
writes our files; for reading it allows too much (a repeated key, a shape whose product is anything), so everything the
header says is checked here before any array is touched.
"""

from __future__ import annotations

import json
import math
import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import CheckpointError
from charrnn.files import opened

NumpyArray = npt.NDArray[Any]

_HEADER_LIMIT = 1 << 26
# A vocabulary has at most 1.1 million numbers; what is left is for some million validations of three numbers each.
_MOST_RECORDS, _MOST_VALUES = 1 << 21, 1 << 23
_MOST_DIMENSIONS = 32
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}


class Damaged(CheckpointError):
    """A checkpoint is not as it was written."""


def damaged(path: Path, reason: str) -> Damaged:
    # A reason may quote the file, and a damaged file may hold a name of a million letters.
    return Damaged(f"{path} is damaged: {reason[:200]}", "use another checkpoint of the run, or train again")


def foreign(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of charrnn: {reason}", "give a .safetensors file that charrnn saved"
    )


def open_file(path: Path) -> AbstractContextManager[IO[bytes]]:
    """Opens a file that may be a checkpoint, and closes it at the end of the context."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {path}", "charrnn train makes one; -c names a file or a run"
        ) from error
    if stat.S_ISDIR(mode):
        raise CheckpointError(f"{path} is a folder, not a checkpoint file")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
        raise foreign(path, "it is not a file on a disk")
    return opened(path)


def read_header(path: Path, file: IO[bytes]) -> tuple[dict[str, Any], int, int]:
    """Returns the safetensors header (8 bytes of length, then JSON), the data's offset and the file's size."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise foreign(path, "it is empty" if not start else f"it has only {len(start)} bytes")
    length = int.from_bytes(start, "little")
    raw = file.read(min(length, _HEADER_LIMIT))
    if not raw.startswith(b"{"):
        # Only now: a header's length may well begin with the bytes that a zip or a pickle begins with.
        is_pickle = start[:2] == b"PK" or start[:1] == b"\x80"
        looks = "it looks like a pickle (torch.save), which can run code and is never opened"
        raise foreign(path, looks if is_pickle else "it does not begin as a safetensors file does")
    if length > _HEADER_LIMIT or length > size - 8:
        raise damaged(path, "it ends in the middle of its header")
    return parse(path, raw.decode()), 8 + length, size


def parse(path: Path, text: str) -> dict[str, Any]:
    """Returns the object that JSON describes; it takes at most some hundred MB of memory.

    Raises CheckpointError or ValueError for what is no such object, and for numbers that are not finite.
    """
    # An empty list of two letters takes 64 bytes.
    if text.count("[") + text.count("{") > _MOST_RECORDS or text.count(",") > _MOST_VALUES:
        raise damaged(path, "its header holds more records than any run has")
    parsed = json.loads(
        text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite
    )
    if not isinstance(parsed, dict):
        raise damaged(path, "its header is not one")
    return parsed


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:40]} is too large a number")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object's pairs as a dict and refuses repeated keys, on which JSON readers disagree."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in the header")
    return result


def check_layout(path: Path, header: dict[str, Any], data_size: int) -> None:
    """Checks that arrays of known types lie one after the other without gap or overlap and fill the file exactly."""
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise damaged(path, f"{name!a} is not described as an array is")
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            raise damaged(path, f"{name!a} has the type {entry['dtype']!a}")
        shape = entry["shape"]
        is_list = type(shape) is list and len(shape) <= _MOST_DIMENSIONS
        if not is_list or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise damaged(path, f"{name!a} has an impossible shape")
        if math.prod(n or 1 for n in shape) >= 1 << 59:  # which no library makes, though it holds nothing
            raise damaged(path, f"{name!a} has an impossible shape")
        if begin != expected or end - begin != math.prod(shape) * DTYPES[entry["dtype"]].itemsize:
            raise damaged(path, f"{name!a} does not lie where its shape says")
        expected = end
    if expected > data_size:
        raise damaged(path, f"it is cut off: {expected - data_size:,} bytes are missing")
    if expected < data_size:
        raise damaged(path, f"{data_size - expected:,} bytes follow its end")
