"""Ways in which a text may be compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable


def zipped(content: bytes, **members: bytes) -> bytes:
    """An archive of `content` as inside.txt, and of more members by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.txt", content)
        for name, more in members.items():
            archive.writestr(name.replace("__MACOSX_", "__MACOSX/._"), more)
    return buffer.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
}
"""What packs bytes, by the ending of a file's name."""
