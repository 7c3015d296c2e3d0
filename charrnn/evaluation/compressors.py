"""What general compressors need for a text, as a yardstick for a model: zlib, bz2 and lzma, and zstandard and brotli
where these are installed.

A compressor begins with nothing and carries no model, so that its figure holds all it takes to have the text again. To
be compared with a model, which has learned from a training text, some can be given one as well: as a dictionary, or by
the bytes that the text adds behind it. They see the end of it, as far back as they look.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ZLIB_WINDOW = 1 << 15
MOST_TRAINING = 1 << 24
"""Bytes of the training text that lzma and zstandard are given: the last ones."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """The bytes that one compressor needs for a text."""

    name: str
    alone: int
    after_training: int | None = None
    """After the training text; None where the compressor cannot be given one, or there is none."""

    @property
    def best(self) -> int:
        """The smaller number of bytes."""
        return self.alone if self.after_training is None else min(self.alone, self.after_training)


def _zlib(text: bytes, training: bytes) -> int:
    given = (training[-_ZLIB_WINDOW:],) if training else ()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, *given)
    return len(packer.compress(text) + packer.flush())


def _bz2(text: bytes) -> int:
    return len(bz2.compress(text, 9))


def _lzma_alone(text: bytes) -> int:
    size = 1 << max(12, (len(text) - 1).bit_length() if text else 12)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": min(size, 1 << 26)}]
    return len(lzma.compress(text, lzma.FORMAT_RAW, filters=filters))


def _lzma(text: bytes, training: bytes) -> int:
    if not training:
        return _lzma_alone(text)
    return _lzma_alone(training + text) - _lzma_alone(training)


def _zstandard(module: Any, text: bytes, training: bytes) -> int:
    # The window must reach over the dictionary and the text.
    size = max(10, min(27, (len(text) + len(training)).bit_length()))
    parameters = module.ZstdCompressionParameters.from_level(
        19, window_log=size, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    given = module.ZstdCompressionDict(training, dict_type=module.DICT_TYPE_RAWCONTENT) if training else None
    return len(module.ZstdCompressor(compression_params=parameters, dict_data=given).compress(text))


def _brotli(module: Any, text: bytes) -> int:
    return len(module.compress(text, quality=11, lgwin=24))


def compressed(
    text: bytes, training: bytes | None = None, progress: Callable[[str], object] = lambda _name: None
) -> list[Compressed]:
    """Returns what each compressor that there is needs for a text, alone and after a training text.

    `progress` is called with the name of each before its work.
    """
    ways: dict[str, tuple[Callable[[bytes], int], Callable[[bytes, bytes], int] | None]] = {
        "zlib": (lambda text: _zlib(text, b""), _zlib),
        "bz2": (_bz2, None),
        "lzma": (_lzma_alone, _lzma),
    }
    if (zstandard := _installed("zstandard")) is not None:
        ways["zstandard"] = (
            lambda text: _zstandard(zstandard, text, b""),
            lambda text, training: _zstandard(zstandard, text, training),
        )
    if (brotli := _installed("brotli")) is not None:
        ways["brotli"] = (lambda text: _brotli(brotli, text), None)
    found = []
    for name, (alone, after) in ways.items():
        progress(name)
        seen = training[-MOST_TRAINING:] if training else b""
        found.append(Compressed(name, alone(text), after(text, seen) if after is not None and seen else None))
    return found


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
