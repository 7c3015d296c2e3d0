"""The two passes in which a text is encoded, and the key under which the cache keeps it.

The first pass finds the characters of a text, the second writes their ids. The key is made of the content of the
sources and of all that decides what is read of it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import stored
from charrnn.text.archives import COMPRESSED_SUFFIXES
from charrnn.text.decoding import Progress, is_strict_utf8
from charrnn.text.encoding import Groups, Reading, Scan, encoder, scan
from charrnn.text.entries import Described
from charrnn.text.sources import Source
from charrnn.text.stored import Digests
from charrnn.text.traits import TwoSpellings
from charrnn.text.union import union
from charrnn.text.vocabulary import Vocabulary

_FORMAT = 5

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, the bytes done and the bytes in all (of the sources on disk)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text, and how it is to be encoded."""

    sources: list[Source]
    validation_sources: list[Source]
    config: DataConfig
    known: Vocabulary | None = None
    """A vocabulary whose symbols that of the text has besides its own."""

    @property
    def everything(self) -> list[Source]:
        """All sources, those to validate on at the end."""
        return [*self.sources, *self.validation_sources]

    def contents(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Returns what identifies the content of each source: the digest of its file, and how that is compressed."""
        one, other = ([(each.digest(), compression(each)) for each in group] for group in self.groups)
        return one, other

    @property
    def groups(self) -> Groups:
        """The sources, and those to validate on."""
        return self.sources, self.validation_sources

    def key(self, contents: tuple[list[tuple[str, str]], list[tuple[str, str]]]) -> str:
        """Returns the key of the text where its sources have these contents."""
        config, known = self.config, self.known
        decoding = [config.encoding, config.encoding_errors, config.as_bytes, config.newlines]
        decoding += [config.normalize, config.lowercase, config.min_count, config.documents, config.column]
        content: list[Any] = [_FORMAT, *contents, decoding]
        if known is not None:
            content.append([known.code_points.tolist(), known.has_end, known.unknown_symbol is not None])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def compression(source: Source) -> str:
    """Returns the part of a source's name that says how it is compressed, or nothing: the name counts only where it
    changes what the bytes mean."""
    suffix = source.path.suffix.lower()
    return suffix if suffix in COMPRESSED_SUFFIXES else ""


class Passes:
    """Encodes a text in two passes: the first finds its characters, `write` is the second."""

    def __init__(self, wanted: Wanted, key: str, report: Report | None) -> None:
        self._wanted, self._key, self._report = wanted, key, report
        self._everything = wanted.everything
        self._ends = list(itertools.accumulate((source.size() for source in self._everything), initial=0))
        found = scan(self._reading("reading"), wanted.config, len(self._everything), wanted.known)
        if wanted.known is not None:
            found = found._replace(vocabulary=union(found.vocabulary, wanted.known))
        self.scanned: Scan = found

    def _reading(self, doing: str) -> Reading:
        return Reading(self._wanted.groups, self._wanted.config, self._progress(doing))

    def _progress(self, doing: str) -> Progress:
        # A compressed source gives more bytes than lie on disk; it counts as done when it has given as many as those.
        ends, report = self._ends, self._report
        return lambda place, done: report(doing, min(ends[place] + done, ends[place + 1]), ends[-1]) if report else None

    @property
    def size(self) -> int:
        """The number of bytes that all ids take."""
        return sum(self.scanned.counts) * self.scanned.vocabulary.dtype.itemsize

    def write(self, put: Callable[[bytes], object]) -> Described:
        """Gives the ids to `put`, piece by piece; returns what describes them.

        Raises TextError where the text has changed since the first pass.
        """
        vocabulary, counts, num_bytes, traits = self.scanned
        # With a byte order mark the file is longer than the text.
        is_file = _is_file(self._everything, self._wanted.config) and num_bytes == self._ends[-1]
        digest, blocks = hashlib.sha256(), Digests(stored.BLOCK)
        encode, spellings, reading = encoder(vocabulary), TwoSpellings(vocabulary), self._reading("encoding")
        for piece in reading.pieces((lambda _raw: None) if is_file else digest.update):
            ids = encode(piece)
            put(ids)
            blocks.update(ids)
            spellings.see(piece.text)
        # The files have been read three times. While someone writes to them the three need not be the same text,
        # and the cache must not keep one text under the key of another.
        contents = self._wanted.contents()
        if self._key != self._wanted.key(contents):
            raise TextError("the text changed while it was being read", "run this again once it is complete")
        return Described(
            key=self._key,
            vocabulary=vocabulary,
            characters=sum(counts),
            validation=sum(counts[len(self._wanted.sources) :]),
            documents=reading.documents,
            empty=reading.cutting.empty,
            files=() if vocabulary.has_end else tuple(counts[: len(self._wanted.sources)]),
            num_bytes=num_bytes,
            sha256=[*contents[0], *contents[1]][0][0] if is_file else digest.hexdigest(),
            block=stored.BLOCK,
            digests=blocks.whole(),
            traits=replace(traits, two_spellings=spellings.found),
        )


def _is_file(sources: list[Source], config: DataConfig) -> bool:
    """Returns whether the text equals the content of one file, byte by byte, apart from a byte order mark."""
    is_plain = (config.as_bytes or is_strict_utf8(config)) and config.newlines == "keep"
    is_plain = is_plain and ((config.normalize == "none" and not config.lowercase) or config.column is not None)
    return is_plain and [compression(source) for source in sources] == [""]
