"""Opens compressed files and archives of one file as streams of bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from charrnn.errors import TextError


def _open_zip(path: Path) -> IO[bytes]:
    try:
        # The member keeps the file open for as long as it needs it, beyond the archive's own end.
        with zipfile.ZipFile(path) as archive:
            # A Mac adds a folder of its own to whatever it packs.
            names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
            if len(names) != 1:
                raise TextError(
                    f"{path} holds {len(names)} files, not one", "unpack it and name the files or their folder"
                )
            return archive.open(names[0])
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way Python does not know
        raise TextError(f"{path} cannot be unpacked: {error}", "unpack it with another program") from error
    except (ValueError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
}
COMPRESSED_SUFFIXES = tuple(_OPENERS)


def open_source(path: Path) -> IO[bytes]:
    """Opens the bytes of a file for reading, unpacked where its name has a suffix of COMPRESSED_SUFFIXES.

    What is damaged shows when it is read. Raises TextError where an archive does not hold exactly one file, or one that
    cannot be unpacked.
    """
    opened: IO[bytes] = _OPENERS.get(path.suffix.lower(), partial(open, mode="rb"))(path)
    return opened
