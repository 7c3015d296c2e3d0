"""From the pieces of a text to its vocabulary and its ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from charrnn.settings.config import DataConfig
from charrnn.text.decoding import Progress, TextPiece, pieces_of
from charrnn.text.sources import Source
from charrnn.text.vocabulary import NUM_CODE_POINTS, Vocabulary


def encoder(vocabulary: Vocabulary) -> Callable[[TextPiece], bytes]:
    """Returns a function that turns a piece into the bytes of its ids, as the cache file holds them. All characters of
    the piece must be in the vocabulary."""
    table = bytearray(256)
    for id_, code_point in enumerate(vocabulary.code_points[:128].tolist()):
        if code_point < 128:
            table[code_point] = id_

    def encode(piece: TextPiece) -> bytes:
        if vocabulary.kind == "bytes":
            return piece.raw
        if not piece.text.isascii():
            return vocabulary.lookup(piece.text).astype(vocabulary.dtype).tobytes()
        # `translate` is the fastest table look-up in Python: about two gigabytes a second.
        ids = piece.raw.translate(table)
        return ids if vocabulary.dtype == np.uint8 else np.frombuffer(ids, np.uint8).astype(vocabulary.dtype).tobytes()

    return encode


def scan(sources: Sequence[Source], config: DataConfig, progress: Progress) -> tuple[Vocabulary, list[int], int]:
    """Makes the first pass over the sources. Returns the vocabulary, the number of characters of each source, and the
    number of bytes of all sources in UTF-8 (in byte mode, of the raw bytes)."""
    seen = np.zeros(NUM_CODE_POINTS, bool)
    seen_ascii = b""
    num_bytes = 0
    counts = [0] * len(sources)
    for place, raw, text in pieces_of(list(sources), config, progress):
        counts[place] += len(text)
        num_bytes += len(raw)
        if config.as_bytes:
            continue
        # In most texts nearly all characters are ASCII and seen already: what is left without them is short to scan.
        is_mostly_ascii = len(raw) - len(text) < len(text) // 4
        left = raw.translate(None, delete=seen_ascii).decode() if is_mostly_ascii else text
        if left:
            seen[np.frombuffer(left.encode("utf-32-le"), "<u4").astype(np.intp)] = True
            seen_ascii = np.flatnonzero(seen[:128]).astype(np.uint8).tobytes()
    vocabulary = Vocabulary.of_bytes() if config.as_bytes else Vocabulary(np.flatnonzero(seen).tolist())
    return vocabulary, counts, num_bytes
