"""From the pieces of a text to its vocabulary and its ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.config import DataConfig
from charrnn.text.cutting import Cutting, mark_of
from charrnn.text.decoding import Progress, TextPiece, pieces_of
from charrnn.text.sources import Source
from charrnn.text.traits import CountedLineEnds, Traits
from charrnn.text.vocabulary import NUM_CODE_POINTS, UNKNOWN_SYMBOL, Ids, Vocabulary

Groups = tuple[list[Source], list[Source]]
"""The sources of a text, and those of a separate validation text."""


class Reading:
    """One pass over the sources of a text, as `config` has them decoded and cut into documents."""

    def __init__(self, groups: Groups, config: DataConfig, progress: Progress) -> None:
        self._groups, self._config, self._progress = groups, config, progress
        self.cutting = Cutting(config, [*groups[0], *groups[1]])
        self.documents = 0
        """How many documents the text has, without those of the validation text, once it has been read."""

    def pieces(self, see: Callable[[bytes], object]) -> Iterator[TextPiece]:
        """Yields the text in pieces, with marks where it is made of documents; `see` is told all of it in UTF-8 (in
        byte mode, as it is) as it was before it was cut."""
        first = 0
        for sources in self._groups:
            if sources:
                yield from self.cutting(_seen(pieces_of(sources, self._config, self._progress, first), see), first)
            if not first:
                self.documents = self.cutting.documents
            first += len(sources)


def _seen(pieces: Iterator[TextPiece], see: Callable[[bytes], object]) -> Iterator[TextPiece]:
    for piece in pieces:
        see(piece.raw)
        yield piece


_MARK = mark_of(as_bytes=False)


def encoder(vocabulary: Vocabulary) -> Callable[[TextPiece], bytes]:
    """Returns a function that turns a piece into the bytes of its ids, as the cache file holds them. All characters of
    the piece must be in the vocabulary, but for the mark of a document's end where that has one, and for rare ones
    where it has an unknown symbol."""
    table = bytearray(256)
    end = vocabulary.end
    is_narrow = end is None or end < 256
    for id_, code_point in enumerate(vocabulary.code_points[:128].tolist()):
        if code_point < 128:
            table[code_point] = id_
    symbol = vocabulary.unknown_symbol
    is_direct = is_narrow and symbol is None
    if end is not None and is_narrow:
        table[0] = end  # the mark is U+0000

    def encode(piece: TextPiece) -> bytes:
        if vocabulary.kind == "bytes":
            return piece.raw if end is None else np.frombuffer(piece.raw, "<u2").astype(vocabulary.dtype).tobytes()
        if not (is_direct and piece.text.isascii()):
            ids = vocabulary.lookup(piece.text)
            if symbol is not None:
                if end is not None:
                    ids[np.frombuffer(piece.text.encode("utf-32-le"), "<u4") == ord(_MARK)] = end
                ids[ids >= len(vocabulary)] = symbol
            elif end is not None:
                ids = np.minimum(ids, end)  # the mark alone is unknown, which is the largest number
            return ids.astype(vocabulary.dtype).tobytes()
        # `translate` is the fastest table look-up in Python: about two gigabytes a second.
        raw = piece.raw.translate(table)
        return raw if vocabulary.dtype == np.uint8 else np.frombuffer(raw, np.uint8).astype(vocabulary.dtype).tobytes()

    return encode


def encode_cut(text: str, vocabulary: Vocabulary, unknown: UnknownPolicy = "error") -> Ids:
    """Returns the ids of a text with marks, in byte mode with a character for each byte.

    `unknown` says what becomes of characters that the vocabulary lacks; an error names all of them.
    """
    assert vocabulary.end is not None
    if vocabulary.kind == "bytes":
        return cast("Ids", np.frombuffer(text.encode("utf-16-le"), "<u2").astype(vocabulary.dtype))
    vocabulary.check_unknown(vocabulary.unknown(without_marks(text, vocabulary)), unknown)
    end = np.array([vocabulary.end], vocabulary.dtype)
    whole = text.split(_MARK)
    parts = [part for one in whole for part in (vocabulary.encode(one, unknown), end)]
    return cast("Ids", np.concatenate(parts[:-1]))


def decode_cut(ids: npt.NDArray[Any], vocabulary: Vocabulary) -> str:
    """Returns the text of ids (N,) with marks, in byte mode with a character for each byte."""
    if vocabulary.kind == "bytes":
        return ids.astype("<u2").tobytes().decode("utf-16-le")
    points = np.append(vocabulary.code_points, ord(_MARK))[ids]
    return str(points.astype("<u4").tobytes(), "utf-32-le", "surrogatepass")


def without_marks(text: str, vocabulary: Vocabulary, other: str = "") -> str:
    """Returns a text with `other` in the place of each mark, where a text of the vocabulary has marks."""
    return text.replace(mark_of(as_bytes=vocabulary.kind == "bytes"), other) if vocabulary.has_end else text


class Scan(NamedTuple):
    """What the first pass over the sources finds."""

    vocabulary: Vocabulary
    counts: list[int]
    """The number of ids of each source."""
    num_bytes: int
    """The number of bytes of all sources in UTF-8 (in byte mode, of the raw bytes), as they are before they are cut."""
    traits: Traits


def scan(reading: Reading, config: DataConfig, places: int, known: Vocabulary | None = None) -> Scan:
    """Makes the first pass over `places` sources. Characters of a vocabulary that is `known` are not rare."""
    seen, line_ends, before = _Characters(config, known), CountedLineEnds(), 0
    is_wide = config.as_bytes and config.has_documents
    num_bytes = 0
    counts = [0] * places

    def measure(raw: bytes) -> None:
        nonlocal num_bytes
        num_bytes += len(raw)

    for place, raw, text in reading.pieces(measure):
        counts[place] += len(text)
        if place != before:
            line_ends.end()
            before = place
        line_ends.see(text.encode() if is_wide else raw)
        if not config.as_bytes:
            seen.see(raw, text)
    vocabulary = Vocabulary.of_bytes(has_end=config.has_documents) if config.as_bytes else seen.vocabulary()
    traits = Traits(line_ends=line_ends.found(), rare=seen.rare, unknown=seen.unknown)
    return Scan(vocabulary, counts, num_bytes, traits)


class _Characters:
    """Finds the characters of a text, and where some may be rare, how often each occurs."""

    def __init__(self, config: DataConfig, known: Vocabulary | None) -> None:
        self._least, self._has_end, self._known = config.min_count, config.has_documents, known
        self._seen = np.zeros(NUM_CODE_POINTS, np.int64 if self._least > 1 else bool)
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
        if self._has_end:
            self._seen[ord(_MARK)] = 0
        points = np.flatnonzero(self._seen)
        is_rare = self._seen[points] < self._least if self._least > 1 else np.zeros(len(points), bool)
        is_rare &= points != UNKNOWN_SYMBOL  # which a text may hold itself
        if self._known is not None:
            is_rare &= ~np.isin(points, self._known.code_points)
        if not is_rare.any():
            return Vocabulary(points.tolist(), has_end=self._has_end)
        self.rare, self.unknown = int(is_rare.sum()), int(self._seen[points[is_rare]].sum())
        left = [*points[~is_rare].tolist(), UNKNOWN_SYMBOL]
        return Vocabulary(left, has_end=self._has_end, has_unknown_symbol=True)
