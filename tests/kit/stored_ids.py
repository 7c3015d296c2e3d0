"""Ids in a file, as a large text has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextLost
from charrnn.text import stored
from charrnn.text.stored import Digests, File, StoredIds


def file_of(folder: Path, ids: npt.NDArray[Any], size: int, block: int | None = None) -> File:
    """Writes `ids.bin` into a folder and opens it; its ids are smaller than `size`."""
    digests = Digests(block or stored.BLOCK)
    raw = ids.tobytes()
    (folder / "ids.bin").write_bytes(raw)
    for start in range(0, len(raw), 1000):
        digests.update(raw[start : start + 1000])
    return File(
        os.open(folder / "ids.bin", os.O_RDONLY), length=len(ids), size=size, dtype=np.dtype(ids.dtype),
        block=block or stored.BLOCK, digests=digests.whole(),
    )  # fmt: skip


def stored_ids(folder: Path, ids: npt.NDArray[Any], size: int, block: int | None = None) -> StoredIds:
    """Writes ids to a file and gives them as read from there; what is lost raises TextLost with the reason."""
    return StoredIds.of(file_of(folder, ids, size, block), TextLost)
