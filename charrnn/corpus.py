"""A text as ids: read and decoded once, kept in a memory-mapped cache, split into its parts.

Two passes over the sources, each in pieces of a few megabytes: the first finds the characters, the second writes
their ids. Memory stays bounded however large the text. The result lies in a cache under a key made of the sources'
content and the decoding options, so that a second start only hashes the files. Entries of the cache appear whole, by a
rename, and a whole one is never replaced: another process may be reading it. Knows decoding and splitting. Refuses to
know lanes, windows and models.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.config import DataConfig
from charrnn.decoding import REMEDY, Progress, pieces_of
from charrnn.errors import TextError
from charrnn.files import cache_folder, explained, make_folder, sync_folder
from charrnn.sources import COMPRESSED_SUFFIXES, Source
from charrnn.vocabulary import NUM_CODE_POINTS, Ids, Vocabulary, describe_character

MINIMUM_CHARACTERS = 200
_FORMAT = 1
_ATTEMPTS = 5

Report = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all (of the sources on disk)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a corpus: consecutive slices of its ids."""

    train: Ids
    validation: Ids
    test: Ids


@dataclass(frozen=True, slots=True)
class Corpus:
    """An encoded text."""

    name: str
    vocabulary: Vocabulary
    ids: Ids
    """Memory-mapped, read-only, (characters,)."""
    num_bytes: int
    """Length of the text in UTF-8 (of the raw bytes in byte mode)."""
    sha256: str
    """Of the text in UTF-8 without BOM (of the bytes in byte mode): of a plain UTF-8 file what `sha256sum` prints."""
    separate_validation: int
    """How many ids at the end come from validation sources of their own; 0 if there are none."""

    def __len__(self) -> int:
        return len(self.ids)

    def check_size(self) -> None:
        """Raises TextError where the text is too small, or too uniform, to train on."""
        length = len(self.ids) - self.separate_validation
        if length < MINIMUM_CHARACTERS:
            raise TextError(
                f"the corpus has {length} characters; training needs at least {MINIMUM_CHARACTERS}",
                "give a longer text: about 100,000 characters begin to be worth while, a million is good",
            )
        if len(self.vocabulary) < 2:
            raise TextError("the corpus repeats a single character: there is nothing to learn", "give another text")

    def split(self, config: DataConfig) -> Parts:
        """Train, validation and test part, in this order from the start of the text.

        With validation sources of their own, those are the validation part, and only the test part is cut off the rest.
        Raises TextError where the text, or a part of it, is too small to train on.
        """
        self.check_size()
        own = self.separate_validation
        body = self.ids[: len(self.ids) - own]
        fraction = 0.0 if own else config.validation_fraction
        # nanoGPT's customary cut of tiny Shakespeare, int(n * 0.9), is the case (0.1, 0) of this one.
        end_of_train = int(len(body) * (1.0 - (fraction + config.test_fraction)))
        end_of_validation = int(len(body) * (1.0 - config.test_fraction))
        validation = self.ids[len(body) :] if own else body[end_of_train:end_of_validation]
        for name, part in (("validation", validation), ("test", body[end_of_validation:])):
            if len(part) == 1:
                raise TextError(
                    f"the {name} part has a single character; it needs two or none", "hold out more, or none"
                )
        return Parts(body[:end_of_train], validation, body[end_of_validation:])


def load(
    sources: Sequence[Source],
    config: DataConfig,
    *,
    name: str,
    validation_sources: Sequence[Source] = (),
    report: Report | None = None,
) -> Corpus:
    """The encoded corpus of `sources` (one after the other), from the cache where it is there already.

    Raises TextError where a source cannot be read or decoded, ResourceError where the cache has no room.
    """
    sources, validation_sources = list(sources), list(validation_sources)
    folder = cache_folder() / "corpora" / _key(sources, validation_sources, config)
    corpus = _open(folder, name)
    # Encoding once is enough, unless another process finds the same entry torn and replaces it at the same moment.
    for _ in range(_ATTEMPTS):
        if corpus is None:
            _encode(folder, sources, validation_sources, config, report)
            corpus = _open(folder, name)
    assert corpus is not None, "the cache just written cannot be read"
    if validation_sources and not corpus.separate_validation:
        raise TextError("the validation text is empty", "name another, or leave --validation out")
    return corpus


def _key(sources: list[Source], validation_sources: list[Source], config: DataConfig) -> str:
    content = [
        _FORMAT,
        [(source.digest(), _compression(source)) for source in sources],
        [(source.digest(), _compression(source)) for source in validation_sources],
        [config.encoding, config.encoding_errors, config.as_bytes, config.newlines],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _compression(source: Source) -> str:
    # Of a name only that counts which changes what the bytes mean.
    suffix = source.path.suffix.lower()
    return suffix if suffix in COMPRESSED_SUFFIXES else ""


def _open(folder: Path, name: str) -> Corpus | None:
    """The corpus in a cache folder, or None where it is not there or not whole."""
    try:
        described: dict[str, Any] = json.loads((folder / "corpus.json").read_text("utf-8"))
        vocabulary = Vocabulary(described["code_points"], described["kind"])
        length = described["characters"]
        if (folder / "ids.bin").stat().st_size != length * vocabulary.dtype.itemsize:
            return None
        ids: Ids = (
            np.memmap(folder / "ids.bin", dtype=vocabulary.dtype, mode="r", shape=(length,))
            if length
            else np.zeros(0, vocabulary.dtype)
        )
        return Corpus(name, vocabulary, ids, described["bytes"], described["sha256"], described["validation"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _encode(
    folder: Path,
    sources: list[Source],
    validation_sources: list[Source],
    config: DataConfig,
    report: Report | None,
) -> None:
    everything = [*sources, *validation_sources]
    ends = list(itertools.accumulate((source.size() for source in everything), initial=0))

    def progress(doing: str) -> Progress:
        # A compressed source gives more bytes than lie on disk; it counts as done when it has given as many as those.
        return lambda place, done: report(doing, min(ends[place] + done, ends[place + 1]), ends[-1]) if report else None

    vocabulary, counts, num_bytes, digest = _scan(everything, config, progress("reading"))
    make_folder(folder.parent)
    with explained(folder, "encoding the corpus into"):
        workplace = Path(tempfile.mkdtemp(prefix=".encoding-", dir=folder.parent))
        try:
            with _synced(workplace / "ids.bin") as file:
                for _, text in pieces_of(everything, config, progress("encoding")):
                    file.write(_ids_of(text, vocabulary))
            described = {
                "code_points": vocabulary.code_points.tolist(),
                "kind": vocabulary.kind,
                "characters": sum(counts),
                "validation": sum(counts[len(sources) :]),
                "bytes": num_bytes,
                "sha256": digest,
            }
            with _synced(workplace / "corpus.json") as file:
                file.write(json.dumps(described).encode())
            # The files have been read three times. While someone writes to them the three need not be the same text,
            # and the cache must not keep one text under the key of another.
            if folder.name != _key(sources, validation_sources, config):
                raise TextError("the text changed while it was being read", "run this again once it is complete")
            _place(workplace, folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, on disk at the end: a power cut must not leave an entry of the right size full of zeros."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _place(workplace: Path, folder: Path) -> None:
    """Renames a finished entry to its place, unless a whole one is there already."""
    for _ in range(_ATTEMPTS):
        try:
            workplace.rename(folder)
            sync_folder(folder.parent)
            return
        except OSError:
            if not folder.exists():
                raise
        if _open(folder, "") is not None:
            return
        with tempfile.TemporaryDirectory(prefix=".torn-", dir=folder.parent) as torn, contextlib.suppress(OSError):
            folder.rename(Path(torn, folder.name))


def _ids_of(text: str | bytes, vocabulary: Vocabulary) -> bytes:
    if isinstance(text, bytes):
        return text
    if text.isascii() and vocabulary.dtype == np.uint8:
        # bytes.translate is the fastest table look-up there is from Python: about a gigabyte a second.
        table = np.zeros(256, np.uint8)
        known = vocabulary.code_points[vocabulary.code_points < 128]
        table[known] = np.arange(len(known))
        return text.encode("ascii").translate(table.tobytes())
    return vocabulary.lookup(text).astype(vocabulary.dtype).tobytes()


def _scan(sources: list[Source], config: DataConfig, progress: Progress) -> tuple[Vocabulary, list[int], int, str]:
    """First pass: the vocabulary, characters of each source, bytes in UTF-8 and sha256 of the whole text."""
    seen = np.zeros(NUM_CODE_POINTS, bool)
    known_ascii = b""
    num_bytes = 0
    digest = hashlib.sha256()
    counts = [0] * len(sources)
    for place, text in pieces_of(sources, config, progress):
        counts[place] += len(text)
        encoded = text if isinstance(text, bytes) else _utf8(text, sources[place])
        num_bytes += len(encoded)
        digest.update(encoded)
        if isinstance(text, bytes):
            continue
        if text.isascii():
            if new := encoded.translate(None, delete=known_ascii):
                known_ascii += bytes(set(new))
        else:
            seen[np.frombuffer(text.encode("utf-32-le"), "<u4")] = True
    if config.as_bytes:
        return Vocabulary.of_bytes(), counts, num_bytes, digest.hexdigest()
    seen[list(known_ascii)] = True
    return Vocabulary(np.flatnonzero(seen).tolist()), counts, num_bytes, digest.hexdigest()


def _utf8(text: str, source: Source) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:  # utf-7 and unicode_escape can spell it
        raise TextError(
            f"{source.name} holds {describe_character(text[error.start])}, half of a UTF-16 pair", REMEDY
        ) from error
