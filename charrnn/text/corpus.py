"""An encoded text: read and decoded once, kept in a cache, and split into its parts.

The sources are read twice, in small pieces: the first pass finds the characters, the second writes their ids. Memory
stays bounded however large the text. The result is cached under a key made of the sources' content and the decoding
options, so that a second start only hashes the files. A cache entry appears complete, by a rename, and a complete entry
is never replaced, since another process may be reading it. `entries.py` says what an entry is and how it is checked,
`stored.py` how the ids of a large one are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import numpy as np

from charrnn.errors import ResourceError, TextError
from charrnn.files import ANOTHER_CACHE, explained, require_room
from charrnn.settings.config import DataConfig
from charrnn.system_errors import retried
from charrnn.text import bounded, documents, entries, held_out, stored, under_way
from charrnn.text.cache import elsewhere
from charrnn.text.documents import Documents
from charrnn.text.entries import Described
from charrnn.text.held_out import HeldOut
from charrnn.text.passes import Passes, Report, Wanted
from charrnn.text.sources import Source
from charrnn.text.stored import Damaged, TextIds, part_of
from charrnn.text.traits import Traits
from charrnn.text.union import covers
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.wording import count

MINIMUM_CHARACTERS = 200
MINIMUM_DOCUMENTS = 3
MOST_DIFFERENT = 1 << 16
"""Different characters that a model may have: no writing has more, and each costs a row of two matrices."""
_SMALL = 1 << 25
"""Bytes of a text that is read in passing and not kept in the cache."""
_ATTEMPTS = 5
_PIECE = 1 << 20

Note = Callable[[str], object]
"""A function that is told a sentence the user should know."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a corpus: ranges of its ids, and what a text has grown by is trained on; or whole documents."""

    train: TextIds
    """Of documents all ids, those of documents that are held out too; `documents` says which are to be learned."""
    validation: TextIds
    test: TextIds
    documents: Documents | None = None
    """The documents of the training part, by their places in `train`; None where the text is not made of any."""
    held_out: HeldOut | None = None
    """Which places of the text are held out; None of documents."""

    @property
    def size(self) -> int:
        """How many characters an epoch reads, the ends of documents included."""
        return len(self.train) if self.documents is None else self.documents.pairs

    def part(self, name: Literal["train", "validation", "test"]) -> TextIds:
        """Returns the ids of one part, and of documents those alone, with an end before them and behind each."""
        if name == "train" and self.documents is not None:
            return documents.gathered(self.train, self.documents)
        ids: TextIds = getattr(self, name)
        return ids


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids, with its vocabulary."""

    name: str
    vocabulary: Vocabulary
    ids: TextIds
    """The ids of the text, read-only, (characters,): in memory, or read from the cache where they are many. A text that
    is made of documents has the id of an end before them and behind each, and so has a separate validation text."""
    num_bytes: int
    """The length of the text in bytes of UTF-8 (in byte mode, of the raw bytes), as it was before documents were cut
    out of it."""
    sha256: str
    """The SHA-256 of the text in UTF-8 without BOM (in byte mode, of the raw bytes), as it was before documents were
    cut out of it. For a plain UTF-8 file it is what `sha256sum` prints."""
    separate_validation: int
    """The number of ids at the end that come from separate validation sources; 0 if there are none."""
    documents: int = 0
    """How many documents there are; 0 where the text is not made of any."""
    traits: Traits = Traits()
    """How its lines end, and more of that kind."""
    files: tuple[int, ...] = ()
    """How many ids each file has, without separate validation sources; empty where that is of no account, as of
    documents."""
    _splits: dict[tuple[DataConfig, int | None, Vocabulary | None, HeldOut | None], Parts] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_files(self) -> int:
        """How many files it has that are not empty, without separate validation sources; of documents 1."""
        return sum(size > 0 for size in self.files) or 1

    def check_size(self) -> None:
        """Raises TextError where the text is too small, too uniform or too varied to train on."""
        length = len(self.ids) - self.separate_validation
        if self.vocabulary.has_end:
            length -= self.documents + 1
            if self.documents < MINIMUM_DOCUMENTS:
                raise TextError(
                    f"the corpus has {count(self.documents, 'document')}; training needs at least {MINIMUM_DOCUMENTS}",
                    "cut it otherwise with --documents, or leave that out: a text may be one long document",
                )
        if length < MINIMUM_CHARACTERS:
            raise TextError(
                f"the corpus has {count(length, 'character')}; training needs at least {MINIMUM_CHARACTERS}",
                "give a longer text: about 100,000 characters begin to be worth while, a million is good",
            )
        if len(self.vocabulary.code_points) > MOST_DIFFERENT:
            raise TextError(
                f"the text has {len(self.vocabulary.code_points):,} different characters, and a model takes at most "
                f"{MOST_DIFFERENT:,}",
                "--bytes models bytes, of which there are 256",
                "--min-count makes one symbol of the rare ones",
                "or, if it should not have so many, --encoding names another encoding",
            )
        if len(self.vocabulary.code_points) < 2:
            if self.vocabulary.unknown_symbol is not None:
                raise TextError(
                    "every character of the text is rarer than --min-count asks for: there is nothing to learn",
                    "give a smaller --min-count",
                )
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

    def split(
        self,
        config: DataConfig,
        begun: int | None = None,
        read_by: Vocabulary | None = None,
        kept: HeldOut | None = None,
    ) -> Parts:
        """Returns the training, validation and test parts.

        Where the text has grown since its first `begun` characters were cut, these are cut as they were, and all that
        came later is trained on: what was held out stays so. So does what is `kept`, where it is known.

        Separate validation sources, if any, are the validation part, and only the test part is cut out of the rest.
        Documents are held out as `documents.py` says, whatever their order, and by what a model of the vocabulary
        `read_by` reads of them, where that is given; else it is as `held_out.py` says. Raises TextError where the text,
        or a part of it, is too small to train on.
        """
        self.check_size()
        key = config, begun, read_by, kept
        if key not in self._splits:
            whole = self._split_documents(config, begun, read_by) if self.vocabulary.has_end else None
            self._splits[key] = whole or self._split_text(config, begun, kept)
        return self._splits[key]

    def _split_text(self, config: DataConfig, begun: int | None, kept: HeldOut | None) -> Parts:
        own = self.separate_validation
        body = part_of(self.ids, 0, len(self.ids) - own)
        if kept is None:
            first = len(body) if begun is None else begun
            ends = np.minimum(np.cumsum(self.files or (len(body),)), first)
            config = replace(config, validation_fraction=0.0) if own else config
            files = np.diff(ends, prepend=0).tolist()
            kept = held_out.choose(part_of(body, 0, first), files, self.vocabulary, config)
        validation = part_of(self.ids, len(body), len(self.ids)) if own else kept.part("validation", body)
        test = kept.part("test", body)
        for name, part in (("validation", validation), ("test", test)):
            if len(part) == 1:
                raise TextError(
                    f"the {name} part has a single character; it needs two or none", "hold out more, or none"
                )
        return Parts(kept.training(body), validation, test, held_out=kept)

    def _split_documents(self, config: DataConfig, begun: int | None, read_by: Vocabulary | None) -> Parts:
        end, own = self.vocabulary.end, self.separate_validation
        assert end is not None
        body = part_of(self.ids, 0, len(self.ids) - own)
        every = documents.find(body, end)
        validation_share = 0.0 if own else config.validation_fraction
        if not validation_share and not config.test_fraction:
            return Parts(body, part_of(self.ids, len(body), len(self.ids)), part_of(body, 0, 0), every)
        numbers = documents.numbers_of(body, self.vocabulary, config.split_seed, read_by)
        is_first = every.ends < (len(body) if begun is None else begun)
        is_test, is_validation = np.zeros((2, len(every)), bool)
        total = int(every.lengths[is_first].sum())
        is_test[is_first] = documents.held_out(numbers[is_first], every.lengths[is_first], config.test_fraction, total)
        rest = is_first & ~is_test
        is_validation[rest] = documents.held_out(
            numbers[rest] - config.test_fraction, every.lengths[rest], validation_share, total
        )
        # What came later is trained on, but not what is equal to a document that is held out.
        train = every.some(~np.isin(numbers, numbers[is_test | is_validation]))
        wanted = {"validation": validation_share, "test": config.test_fraction}
        found = {"validation": every.some(is_validation), "test": every.some(is_test)}
        lacking = [name for name, share in wanted.items() if share and not len(found[name])]
        if lacking or int(train.lengths.sum()) < MINIMUM_CHARACTERS:
            raise TextError(
                f"of {count(len(every), 'document')} nothing is left "
                + (f"for the {lacking[0]} part" if lacking else "to train on once whole ones are held out"),
                "hold out less (--validation-fraction 0 holds out nothing), name a --validation text, or cut into more "
                "documents",
            )
        validation = part_of(self.ids, len(body), len(self.ids))
        if not own:
            validation = documents.gathered(body, found["validation"])
        return Parts(body, validation, documents.gathered(body, found["test"]), train)


def load(
    sources: Sequence[Source],
    config: DataConfig,
    *,
    name: str,
    validation_sources: Sequence[Source] = (),
    known: Vocabulary | None = None,
    report: Report | None = None,
    note: Note = lambda _said: None,
    in_passing: bool = False,
) -> Corpus:
    """Returns the encoded corpus of `sources` (one after the other), from the cache if it is there already.

    Its vocabulary has the symbols of `known` besides those of the text, where both are of characters. One that is read
    `in_passing` is not kept in the cache unless it is large.

    `note` is told where what the cache held is damaged, and the text is therefore encoded anew, and where the cache
    lies in a temporary folder. Raises TextError where a source cannot be read or decoded, UsageError where the cache
    cannot be written to, and ResourceError where its disk is full or loses what has just been written.
    """
    wanted = Wanted(list(sources), list(validation_sources), config)
    told = set[str]()

    def once(said: str) -> None:
        if said not in told:
            told.add(said)
            note(said)

    corpus = _load(wanted, name, report, once, in_passing=in_passing)
    if known is None or known.kind != corpus.vocabulary.kind or covers(corpus.vocabulary, known):
        return corpus
    return _load(replace(wanted, known=known), name, report, once, in_passing=in_passing)


def _load(wanted: Wanted, name: str, report: Report | None, note: Note, *, in_passing: bool) -> Corpus:
    key = wanted.key(wanted.contents())
    under_way.clear()
    found = _find(key, note)
    if found is None and in_passing and not any(os.path.lexists(shelf / key) for shelf in under_way.shelves()):
        found = _in_memory(key, wanted, report)
    # Encoding once is enough, unless another process finds an entry torn and takes the new one away with it.
    for _ in range(_ATTEMPTS):
        if found is None:
            _encode(key, wanted, report)
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
    if wanted.validation_sources and described.validation <= described.vocabulary.has_end:
        raise TextError("the validation text is empty", "name another, or leave --validation out")
    if described.empty:
        note(f"{count(described.empty, 'empty document')} {'is' if described.empty == 1 else 'are'} left out of {name}")
    return Corpus(
        name, described.vocabulary, ids, described.num_bytes, described.sha256, described.validation,
        described.documents, described.traits, described.files,
    )  # fmt: skip


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


def _encode(key: str, wanted: Wanted, report: Report | None) -> None:
    """Makes the entry of this key and gives it its place."""
    passes = Passes(wanted, key, report)
    with explained(under_way.shelves()[0] / key, "encoding the corpus into", ANOTHER_CACHE), under_way.begin() as work:
        require_room(work, passes.size, "encoding the corpus")
        made = work / "entry"
        retried(made.mkdir)
        with entries.synced(made / entries.IDS) as file:
            described = passes.write(file.write)
        with entries.synced(made / entries.DESCRIBED) as file:
            file.write(described.to_bytes())
        entries.place(made, key, work)


def _in_memory(key: str, wanted: Wanted, report: Report | None) -> tuple[Described, TextIds] | None:
    """Encodes a small text without the cache; returns None where it is not small."""
    if sum(source.size() for source in wanted.everything) > _SMALL:
        return None
    passes = Passes(wanted, key, report)
    if passes.scanned.num_bytes > _SMALL:  # it was compressed
        return None
    encoded = bytearray()
    described = passes.write(encoded.extend)
    return described, cast("Ids", np.frombuffer(bytes(encoded), described.vocabulary.dtype))
