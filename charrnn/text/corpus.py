"""An encoded text: read and decoded once, kept in a cache, and split into its parts.

The sources are read twice, in small pieces: the first pass finds the characters, the second writes their ids. Memory
stays bounded however large the text. The result is cached under a key made of the sources' content and the decoding
options, so that a second start only hashes the files. A cache entry appears complete, by a rename, and a complete entry
is never replaced, since another process may be reading it. `entries.py` says what an entry is and how it is checked,
`stored.py` how the ids of a large one are read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from charrnn.errors import ResourceError, TextError
from charrnn.files import ANOTHER_CACHE, explained, require_room
from charrnn.settings.config import DataConfig
from charrnn.system_errors import retried
from charrnn.text import bounded, entries, stored, under_way
from charrnn.text.archives import COMPRESSED_SUFFIXES
from charrnn.text.cache import elsewhere
from charrnn.text.decoding import Progress, is_strict_utf8, pieces_of
from charrnn.text.encoding import Scan, encoder, scan
from charrnn.text.entries import Described
from charrnn.text.sources import Source
from charrnn.text.stored import Damaged, Digests, TextIds, part_of
from charrnn.text.traits import Traits, TwoSpellings
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.wording import count

MINIMUM_CHARACTERS = 200
MOST_DIFFERENT = 1 << 16
"""Different characters that a model may have: no writing has more, and each costs a row of two matrices."""
_FORMAT = 3
_SMALL = 1 << 25
"""Bytes of a text that is read in passing and not kept in the cache."""
_ATTEMPTS = 5
_PIECE = 1 << 20

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, the bytes done and the bytes in all (of the sources on disk)."""
Note = Callable[[str], object]
"""A function that is told a sentence the user should know."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a corpus: consecutive slices of its ids."""

    train: TextIds
    validation: TextIds
    test: TextIds


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids, with its vocabulary."""

    name: str
    vocabulary: Vocabulary
    ids: TextIds
    """The ids of the text, read-only, (characters,): in memory, or read from the cache where they are many."""
    num_bytes: int
    """The length of the text in bytes of UTF-8 (in byte mode, of the raw bytes)."""
    sha256: str
    """The SHA-256 of the text in UTF-8 without BOM (in byte mode, of the raw bytes). For a plain UTF-8 file it is what
    `sha256sum` prints."""
    separate_validation: int
    """The number of ids at the end that come from separate validation sources; 0 if there are none."""
    traits: Traits = Traits()
    """How its lines end, and more of that kind."""

    def __len__(self) -> int:
        return len(self.ids)

    def check_size(self) -> None:
        """Raises TextError where the text is too small, too uniform or too varied to train on."""
        length = len(self.ids) - self.separate_validation
        if length < MINIMUM_CHARACTERS:
            raise TextError(
                f"the corpus has {count(length, 'character')}; training needs at least {MINIMUM_CHARACTERS}",
                "give a longer text: about 100,000 characters begin to be worth while, a million is good",
            )
        if len(self.vocabulary) > MOST_DIFFERENT:
            raise TextError(
                f"the text has {len(self.vocabulary):,} different characters, and a model takes at most "
                f"{MOST_DIFFERENT:,}",
                "--bytes models bytes, of which there are 256",
                "--min-count makes one symbol of the rare ones",
                "or, if it should not have so many, --encoding names another encoding",
            )
        if len(self.vocabulary) < 2:
            raise TextError("the corpus repeats a single character: there is nothing to learn", "give another text")

    def missing(self, vocabulary: Vocabulary) -> dict[str, int]:
        """Returns the characters of the text that a vocabulary lacks, and how often each occurs."""
        lacking = vocabulary.missing("" if self.vocabulary.kind == "bytes" else self.vocabulary.characters)
        if not lacking:
            return {}
        places = self.vocabulary.lookup("".join(lacking))
        counts = np.zeros(len(self.vocabulary), np.int64)
        for piece in stored.pieces(self.ids, _PIECE):
            counts += np.bincount(piece, minlength=len(counts))
        return dict(zip(lacking, counts[places].tolist(), strict=True))

    def split(self, config: DataConfig) -> Parts:
        """Returns the training, validation and test parts, in this order from the start of the text.

        Separate validation sources, if any, are the validation part, and only the test part is cut off the rest.
        Raises TextError where the text, or a part of it, is too small to train on.
        """
        self.check_size()
        own = self.separate_validation
        body = part_of(self.ids, 0, len(self.ids) - own)
        fraction = 0.0 if own else config.validation_fraction
        # nanoGPT's customary cut of tiny Shakespeare, int(n * 0.9), is this one with the shares (0.1, 0).
        end_of_train = int(len(body) * (1.0 - (fraction + config.test_fraction)))
        end_of_validation = int(len(body) * (1.0 - config.test_fraction))
        if own:
            validation = part_of(self.ids, len(body), len(self.ids))
        else:
            validation = part_of(body, end_of_train, end_of_validation)
        test = part_of(body, end_of_validation, len(body))
        for name, part in (("validation", validation), ("test", test)):
            if len(part) == 1:
                raise TextError(
                    f"the {name} part has a single character; it needs two or none", "hold out more, or none"
                )
        return Parts(part_of(body, 0, end_of_train), validation, test)


def load(
    sources: Sequence[Source],
    config: DataConfig,
    *,
    name: str,
    validation_sources: Sequence[Source] = (),
    report: Report | None = None,
    note: Note = lambda _said: None,
    in_passing: bool = False,
) -> Corpus:
    """Returns the encoded corpus of `sources` (one after the other), from the cache if it is there already.

    One that is read `in_passing` is not kept there unless it is large. `note` is told where what the cache held is
    damaged, and the text is therefore encoded anew, and where the cache lies in a temporary folder. Raises TextError
    where a source cannot be read or decoded, UsageError where the cache cannot be written to, and ResourceError where
    its disk is full or loses what has just been written.
    """
    sources, validation_sources = list(sources), list(validation_sources)
    key = _key(_contents(sources), _contents(validation_sources), config)
    under_way.clear()
    found = _find(key, note)
    if found is None and in_passing and not any(os.path.lexists(shelf / key) for shelf in under_way.shelves()):
        found = _in_memory(key, sources, validation_sources, config, report)
    # Encoding once is enough, unless another process finds an entry torn and takes the new one away with it.
    for _ in range(_ATTEMPTS):
        if found is None:
            _encode(key, sources, validation_sources, config, report)
            found = _find(key, note)
            bounded.shrink()
            if (said := elsewhere()) is not None:
                note(said)
    if found is None:
        raise ResourceError(
            f"the encoded text cannot be read back from {under_way.shelves()[0]}",
            "CHARRNN_CACHE names another place for it",
        )
    described, ids = found
    if validation_sources and not described.validation:
        raise TextError("the validation text is empty", "name another, or leave --validation out")
    return Corpus(
        name, described.vocabulary, ids, described.num_bytes, described.sha256, described.validation, described.traits
    )


def _find(key: str, note: Note) -> tuple[Described, TextIds] | None:
    """Returns the entry of this key on the first shelf where it is whole, or None."""
    damaged: list[str] = []
    for shelf in under_way.shelves():
        try:
            if (found := entries.read(shelf / key)) is not None:
                return found
        except Damaged as error:
            damaged.append(f"the encoded text in {shelf / key} {error}: it is encoded anew")
    for said in damaged:
        note(said)
    return None


def _contents(sources: list[Source]) -> list[tuple[str, str]]:
    """Returns what identifies the content of each source: the digest of its file, and how the file is compressed."""
    return [(source.digest(), _compression(source)) for source in sources]


def _key(contents: list[tuple[str, str]], validation_contents: list[tuple[str, str]], config: DataConfig) -> str:
    decoding = [config.encoding, config.encoding_errors, config.as_bytes, config.newlines]
    decoding += [config.normalize, config.lowercase, config.min_count]
    content = [_FORMAT, contents, validation_contents, decoding]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _compression(source: Source) -> str:
    # Only the part of the name counts that changes what the bytes mean.
    suffix = source.path.suffix.lower()
    return suffix if suffix in COMPRESSED_SUFFIXES else ""


def _encode(
    key: str,
    sources: list[Source],
    validation_sources: list[Source],
    config: DataConfig,
    report: Report | None,
) -> None:
    """Makes the entry of this key and gives it its place."""
    passes = _Passes(key, sources, validation_sources, config, report)
    with explained(under_way.shelves()[0] / key, "encoding the corpus into", ANOTHER_CACHE), under_way.begin() as work:
        require_room(work, passes.size, "encoding the corpus")
        made = work / "entry"
        retried(made.mkdir)
        with entries.synced(made / entries.IDS) as file:
            described = passes.write(file.write)
        with entries.synced(made / entries.DESCRIBED) as file:
            file.write(described.to_bytes())
        entries.place(made, key, work)


def _in_memory(
    key: str,
    sources: list[Source],
    validation_sources: list[Source],
    config: DataConfig,
    report: Report | None,
) -> tuple[Described, TextIds] | None:
    """Encodes a small text without the cache; returns None where it is not small."""
    if sum(source.size() for source in (*sources, *validation_sources)) > _SMALL:
        return None
    passes = _Passes(key, sources, validation_sources, config, report)
    if passes.scanned.num_bytes > _SMALL:  # it was compressed
        return None
    encoded = bytearray()
    described = passes.write(encoded.extend)
    return described, cast("Ids", np.frombuffer(bytes(encoded), described.vocabulary.dtype))


class _Passes:
    """Encodes a text in two passes: the first finds its characters, `write` is the second."""

    def __init__(
        self,
        key: str,
        sources: list[Source],
        validation_sources: list[Source],
        config: DataConfig,
        report: Report | None,
    ) -> None:
        self._key, self._config, self._report = key, config, report
        self._sources, self._validation_sources = sources, validation_sources
        self._everything = [*sources, *validation_sources]
        self._ends = list(itertools.accumulate((source.size() for source in self._everything), initial=0))
        self.scanned: Scan = scan(self._everything, config, self._progress("reading"))

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
        is_file = _is_file(self._everything, self._config) and num_bytes == self._ends[-1]
        digest, blocks = hashlib.sha256(), Digests(stored.BLOCK)
        encode, spellings = encoder(vocabulary), TwoSpellings(vocabulary)
        for piece in pieces_of(self._everything, self._config, self._progress("encoding")):
            ids = encode(piece)
            put(ids)
            blocks.update(ids)
            spellings.see(piece.text)
            if not is_file:
                digest.update(piece.raw)
        # The files have been read three times. While someone writes to them the three need not be the same text,
        # and the cache must not keep one text under the key of another.
        contents, validation_contents = _contents(self._sources), _contents(self._validation_sources)
        if self._key != _key(contents, validation_contents, self._config):
            raise TextError("the text changed while it was being read", "run this again once it is complete")
        return Described(
            key=self._key,
            vocabulary=vocabulary,
            characters=sum(counts),
            validation=sum(counts[len(self._sources) :]),
            num_bytes=num_bytes,
            sha256=(contents + validation_contents)[0][0] if is_file else digest.hexdigest(),
            block=stored.BLOCK,
            digests=blocks.whole(),
            traits=replace(traits, two_spellings=spellings.found),
        )


def _is_file(sources: list[Source], config: DataConfig) -> bool:
    """Returns whether the text equals the content of one file, byte by byte, apart from a byte order mark."""
    is_plain = (config.as_bytes or is_strict_utf8(config)) and config.newlines == "keep"
    is_plain = is_plain and config.normalize == "none" and not config.lowercase
    return is_plain and [_compression(source) for source in sources] == [""]
