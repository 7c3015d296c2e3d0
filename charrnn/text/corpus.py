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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from charrnn.errors import ResourceError, TextError
from charrnn.files import ANOTHER_CACHE, explained, require_room
from charrnn.settings.config import DataConfig
from charrnn.system_errors import retried
from charrnn.text import documents, entries, stored, under_way
from charrnn.text.archives import COMPRESSED_SUFFIXES
from charrnn.text.decoding import Progress, is_strict_utf8
from charrnn.text.documents import Documents
from charrnn.text.encoding import Groups, Reading, encoder, scan
from charrnn.text.entries import Described
from charrnn.text.joined import joined
from charrnn.text.sources import Source
from charrnn.text.stored import Damaged, Digests, TextIds, part_of
from charrnn.text.union import covers, union
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count

MINIMUM_CHARACTERS = 200
MINIMUM_DOCUMENTS = 3
_FORMAT = 3
_ATTEMPTS = 5

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, the bytes done and the bytes in all (of the sources on disk)."""
Note = Callable[[str], object]
"""A function that is told a sentence the user should know."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a corpus: slices of its ids, and what a text has grown by is trained on; or whole documents."""

    train: TextIds
    """Of documents all ids, those of documents that are held out too; `documents` says which are to be learned."""
    validation: TextIds
    test: TextIds
    documents: Documents | None = None
    """The documents of the training part, by their places in `train`; None where the text is not made of any."""

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
    _splits: dict[DataConfig, Parts] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def check_size(self) -> None:
        """Raises TextError where the text is too small, or too uniform, to train on."""
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
        if len(self.vocabulary.code_points) < 2:
            raise TextError("the corpus repeats a single character: there is nothing to learn", "give another text")

    def split(self, config: DataConfig, begun: int | None = None) -> Parts:
        """Returns the training, validation and test parts, in this order from the start of the text.

        Where the text has grown since its first `begun` characters were cut, these are cut as they were, and all that
        came later is trained on: what was held out stays so.

        Separate validation sources, if any, are the validation part, and only the test part is cut off the rest.
        Documents are held out as `documents.py` says, whatever their order. Raises TextError where the text, or a part
        of it, is too small to train on.
        """
        self.check_size()
        if self.vocabulary.has_end:
            if config not in self._splits:
                self._splits[config] = self._split_documents(config)
            return self._splits[config]
        own = self.separate_validation
        body = part_of(self.ids, 0, len(self.ids) - own)
        later = part_of(body, len(body) if begun is None else begun, len(body))
        body = part_of(body, 0, len(body) - len(later))
        fraction = 0.0 if own else config.validation_fraction
        # nanoGPT's customary cut of tiny Shakespeare, int(n * 0.9), is this one with the shares (0.1, 0).
        end_of_train = int(len(body) * (1.0 - (fraction + config.test_fraction)))
        end_of_validation = int(len(body) * (1.0 - config.test_fraction))
        if own:
            validation = part_of(self.ids, len(self.ids) - own, len(self.ids))
        else:
            validation = part_of(body, end_of_train, end_of_validation)
        test = part_of(body, end_of_validation, len(body))
        for name, part in (("validation", validation), ("test", test)):
            if len(part) == 1:
                raise TextError(
                    f"the {name} part has a single character; it needs two or none", "hold out more, or none"
                )
        return Parts(joined(part_of(body, 0, end_of_train), later), validation, test)

    def _split_documents(self, config: DataConfig) -> Parts:
        end, own = self.vocabulary.end, self.separate_validation
        assert end is not None
        body = part_of(self.ids, 0, len(self.ids) - own)
        every = documents.find(body, end)
        validation_share = 0.0 if own else config.validation_fraction
        if not validation_share and not config.test_fraction:
            return Parts(body, part_of(self.ids, len(body), len(self.ids)), part_of(body, 0, 0), every)
        numbers = documents.numbers_of(body, self.vocabulary, config.split_seed)
        total = int(every.lengths.sum())
        is_test = documents.held_out(numbers, every.lengths, config.test_fraction, total)
        rest = every.some(~is_test)
        held = documents.held_out(numbers[~is_test] - config.test_fraction, rest.lengths, validation_share, total)
        train, wanted = rest.some(~held), {"validation": validation_share, "test": config.test_fraction}
        found = {"validation": rest.some(held), "test": every.some(is_test)}
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
) -> Corpus:
    """Returns the encoded corpus of `sources` (one after the other), from the cache if it is there already.

    Its vocabulary has the symbols of `known` besides those of the text, where both are of characters.

    `note` is told where what the cache held is damaged, and the text is therefore encoded anew. Raises TextError where
    a source cannot be read or decoded, UsageError where the cache cannot be written to, and ResourceError where its
    disk is full or loses what has just been written.
    """
    sources, validation_sources = list(sources), list(validation_sources)
    corpus = _load(sources, validation_sources, config, name, None, report, note)
    if known is None or known.kind != corpus.vocabulary.kind or covers(corpus.vocabulary, known):
        return corpus
    return _load(sources, validation_sources, config, name, known, report, note)


def _load(
    sources: list[Source],
    validation_sources: list[Source],
    config: DataConfig,
    name: str,
    known: Vocabulary | None,
    report: Report | None,
    note: Note,
) -> Corpus:
    key = _key(_contents(sources), _contents(validation_sources), config, known)
    under_way.clear()
    found = _find(key, note)
    # Encoding once is enough, unless another process finds an entry torn and takes the new one away with it.
    for _ in range(_ATTEMPTS):
        if found is None:
            _encode(key, sources, validation_sources, config, known, report)
            found = _find(key, note)
    if found is None:
        raise ResourceError(
            f"the encoded text cannot be read back from {under_way.shelves()[0]}",
            "CHARRNN_CACHE names another place for it",
        )
    described, ids = found
    if validation_sources and described.validation <= described.vocabulary.has_end:
        raise TextError("the validation text is empty", "name another, or leave --validation out")
    if described.empty:
        note(f"{count(described.empty, 'empty document')} {'is' if described.empty == 1 else 'are'} left out of {name}")
    return Corpus(
        name, described.vocabulary, ids, described.num_bytes, described.sha256, described.validation,
        described.documents,
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


def _contents(sources: list[Source]) -> list[tuple[str, str]]:
    """Returns what identifies the content of each source: the digest of its file, and how the file is compressed."""
    return [(source.digest(), _compression(source)) for source in sources]


def _key(
    contents: list[tuple[str, str]],
    validation_contents: list[tuple[str, str]],
    config: DataConfig,
    known: Vocabulary | None,
) -> str:
    decoding = [config.encoding, config.encoding_errors, config.as_bytes, config.newlines]
    decoding += [config.documents, config.column]
    content: list[Any] = [_FORMAT, contents, validation_contents, decoding]
    if known is not None:
        content.append([known.code_points.tolist(), known.has_end])
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
    known: Vocabulary | None,
    report: Report | None,
) -> None:
    """Makes the entry of this key and gives it its place."""
    everything = [*sources, *validation_sources]
    ends = list(itertools.accumulate((source.size() for source in everything), initial=0))

    def progress(doing: str) -> Progress:
        # A compressed source gives more bytes than lie on disk; it counts as done when it has given as many as those.
        return lambda place, done: report(doing, min(ends[place] + done, ends[place + 1]), ends[-1]) if report else None

    groups: Groups = (sources, validation_sources)
    vocabulary, counts, num_bytes = scan(Reading(groups, config, progress("reading")), config, len(everything))
    vocabulary = vocabulary if known is None else union(vocabulary, known)
    is_file = _is_file(everything, config) and num_bytes == ends[-1]  # with a mark the file is longer than the text
    digest, blocks = hashlib.sha256(), Digests(stored.BLOCK)
    encode, reading = encoder(vocabulary), Reading(groups, config, progress("encoding"))
    with explained(under_way.shelves()[0] / key, "encoding the corpus into", ANOTHER_CACHE), under_way.begin() as work:
        require_room(work, sum(counts) * vocabulary.dtype.itemsize, "encoding the corpus")
        made = work / "entry"
        retried(made.mkdir)
        with entries.synced(made / entries.IDS) as file:
            for piece in reading.pieces((lambda _raw: None) if is_file else digest.update):
                ids = encode(piece)
                file.write(ids)
                blocks.update(ids)
        # The files have been read three times. While someone writes to them the three need not be the same text,
        # and the cache must not keep one text under the key of another.
        contents, validation_contents = _contents(sources), _contents(validation_sources)
        if key != _key(contents, validation_contents, config, known):
            raise TextError("the text changed while it was being read", "run this again once it is complete")
        described = Described(
            key=key,
            vocabulary=vocabulary,
            characters=sum(counts),
            validation=sum(counts[len(sources) :]),
            documents=reading.documents,
            empty=reading.cutting.empty,
            num_bytes=num_bytes,
            sha256=(contents + validation_contents)[0][0] if is_file else digest.hexdigest(),
            block=stored.BLOCK,
            digests=blocks.whole(),
        )
        with entries.synced(made / entries.DESCRIBED) as file:
            file.write(described.to_bytes())
        entries.place(made, key, work)


def _is_file(sources: list[Source], config: DataConfig) -> bool:
    """Returns whether the text equals the content of one file, byte by byte, apart from a byte order mark."""
    is_plain = (config.as_bytes or is_strict_utf8(config)) and config.newlines == "keep"
    return is_plain and [_compression(source) for source in sources] == [""]
