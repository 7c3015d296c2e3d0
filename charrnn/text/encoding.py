"""From the pieces of a text to its vocabulary and its ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.settings.config import DataConfig
from charrnn.text.decoding import Progress, TextPiece, pieces_of
from charrnn.text.sources import Source
from charrnn.text.traits import CountedLineEnds, Traits
from charrnn.text.vocabulary import NUM_CODE_POINTS, UNKNOWN_SYMBOL, Vocabulary


def encoder(vocabulary: Vocabulary) -> Callable[[TextPiece], bytes]:
    """Returns a function that turns a piece into the bytes of its ids, as the cache file holds them. All characters of
    the piece must be in the vocabulary, unless that has an unknown symbol for the others."""
    table = bytearray(256)
    for id_, code_point in enumerate(vocabulary.code_points[:128].tolist()):
        if code_point < 128:
            table[code_point] = id_
    is_direct = vocabulary.unknown_symbol is None

    def encode(piece: TextPiece) -> bytes:
        if vocabulary.kind == "bytes":
            return piece.raw
        if not (is_direct and piece.text.isascii()):
            return vocabulary.encode(piece.text).tobytes()
        # `translate` is the fastest table look-up in Python: about two gigabytes a second.
        ids = piece.raw.translate(table)
        return ids if vocabulary.dtype == np.uint8 else np.frombuffer(ids, np.uint8).astype(vocabulary.dtype).tobytes()

    return encode


class Scan(NamedTuple):
    """What the first pass over the sources finds."""

    vocabulary: Vocabulary
    counts: list[int]
    """The number of characters of each source."""
    num_bytes: int
    """The number of bytes of all sources in UTF-8 (in byte mode, of the raw bytes)."""
    traits: Traits


def scan(sources: Sequence[Source], config: DataConfig, progress: Progress) -> Scan:
    """Makes the first pass over the sources."""
    seen, line_ends, before = _Characters(config.min_count), CountedLineEnds(), 0
    num_bytes = 0
    counts = [0] * len(sources)
    for place, raw, text in pieces_of(list(sources), config, progress):
        counts[place] += len(text)
        num_bytes += len(raw)
        if place != before:
            line_ends.end()
            before = place
        line_ends.see(raw)
        if not config.as_bytes:
            seen.see(raw, text)
    vocabulary = Vocabulary.of_bytes() if config.as_bytes else seen.vocabulary()
    traits = Traits(line_ends=line_ends.found(), rare=seen.rare, unknown=seen.unknown)
    return Scan(vocabulary, counts, num_bytes, traits)


class _Characters:
    """Finds the characters of a text, and where some may be rare, how often each occurs."""

    def __init__(self, min_count: int) -> None:
        self._least = min_count
        self._seen = np.zeros(NUM_CODE_POINTS, np.int64 if min_count > 1 else bool)
        self._seen_ascii = b""
        self.rare = self.unknown = 0
        """How many different characters are too rare, and how many characters of the text these are."""

    def see(self, raw: bytes, text: str) -> None:
        """Takes in the next piece, as UTF-8 and as text."""
        if self._least > 1:
            counts = np.bincount(np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.intp))
            self._seen[: len(counts)] += counts
            return
        # In most texts nearly all characters are ASCII and seen already: what is left without them is short to scan.
        is_mostly_ascii = len(raw) - len(text) < len(text) // 4
        left = raw.translate(None, delete=self._seen_ascii).decode() if is_mostly_ascii else text
        if left:
            self._seen[np.frombuffer(left.encode("utf-32-le"), "<u4").astype(np.intp)] = True
            self._seen_ascii = np.flatnonzero(self._seen[:128]).astype(np.uint8).tobytes()

    def vocabulary(self) -> Vocabulary:
        """Returns the vocabulary of the text."""
        points = np.flatnonzero(self._seen)
        is_rare = self._seen[points] < self._least if self._least > 1 else np.zeros(len(points), bool)
        is_rare &= points != UNKNOWN_SYMBOL  # which a text may hold itself
        if not is_rare.any():
            return Vocabulary(points.tolist())
        self.rare, self.unknown = int(is_rare.sum()), int(self._seen[points[is_rare]].sum())
        return Vocabulary([*points[~is_rare].tolist(), UNKNOWN_SYMBOL], has_unknown_symbol=True)
