"""An encoded text: read and decoded once, kept in a memory-mapped cache, and split into its parts.

The sources are read twice, in small pieces: the first pass finds the characters, the second writes their ids. Memory
stays bounded however large the text. The result is cached under a key made of the sources' content and the decoding
options, so that a second start only hashes the files. A cache entry appears complete, by a rename, and a complete entry
is never replaced, since another process may be reading it.
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

from charrnn.errors import TextError
from charrnn.files import cache_folder, explained, make_folder, require_room, sync_folder
from charrnn.settings.config import DataConfig
from charrnn.text.decoding import Progress, TextPiece, is_strict_utf8, pieces_of
from charrnn.text.sources import COMPRESSED_SUFFIXES, Source
from charrnn.text.vocabulary import NUM_CODE_POINTS, Ids, Vocabulary
from charrnn.wording import count

MINIMUM_CHARACTERS = 200
_FORMAT = 1
_ATTEMPTS = 5

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, the bytes done and the bytes in all (of the sources on disk)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a corpus: consecutive slices of its ids."""

    train: Ids
    validation: Ids
    test: Ids


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids, with its vocabulary."""

    name: str
    vocabulary: Vocabulary
    ids: Ids
    """The ids of the text, memory-mapped and read-only, (characters,)."""
    num_bytes: int
    """The length of the text in bytes of UTF-8 (in byte mode, of the raw bytes)."""
    sha256: str
    """The SHA-256 of the text in UTF-8 without BOM (in byte mode, of the raw bytes). For a plain UTF-8 file it is what
    `sha256sum` prints."""
    separate_validation: int
    """The number of ids at the end that come from separate validation sources; 0 if there are none."""

    def __len__(self) -> int:
        return len(self.ids)

    def check_size(self) -> None:
        """Raises TextError where the text is too small, or too uniform, to train on."""
        length = len(self.ids) - self.separate_validation
        if length < MINIMUM_CHARACTERS:
            raise TextError(
                f"the corpus has {count(length, 'character')}; training needs at least {MINIMUM_CHARACTERS}",
                "give a longer text: about 100,000 characters begin to be worth while, a million is good",
            )
        if len(self.vocabulary) < 2:
            raise TextError("the corpus repeats a single character: there is nothing to learn", "give another text")

    def split(self, config: DataConfig) -> Parts:
        """Returns the training, validation and test parts, in this order from the start of the text.

        Separate validation sources, if any, are the validation part, and only the test part is cut off the rest.
        Raises TextError where the text, or a part of it, is too small to train on.
        """
        self.check_size()
        own = self.separate_validation
        body = self.ids[: len(self.ids) - own]
        fraction = 0.0 if own else config.validation_fraction
        # nanoGPT's customary cut of tiny Shakespeare, int(n * 0.9), is this one with the shares (0.1, 0).
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
    """Returns the encoded corpus of `sources` (one after the other), from the cache if it is there already.

    Raises TextError where a source cannot be read or decoded, ResourceError where the disk of the cache is full.
    """
    sources, validation_sources = list(sources), list(validation_sources)
    folder = cache_folder() / "corpora" / _key(_contents(sources), _contents(validation_sources), config)
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


def _contents(sources: list[Source]) -> list[tuple[str, str]]:
    """Returns what identifies the content of each source: the digest of its file, and how the file is compressed."""
    return [(source.digest(), _compression(source)) for source in sources]


def _key(contents: list[tuple[str, str]], validation_contents: list[tuple[str, str]], config: DataConfig) -> str:
    decoding = [config.encoding, config.encoding_errors, config.as_bytes, config.newlines]
    content = [_FORMAT, contents, validation_contents, decoding]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _compression(source: Source) -> str:
    # Only the part of the name counts that changes what the bytes mean.
    suffix = source.path.suffix.lower()
    return suffix if suffix in COMPRESSED_SUFFIXES else ""


def _open(folder: Path, name: str) -> Corpus | None:
    """Returns the corpus in a cache folder, or None where it is missing or incomplete."""
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

    vocabulary, counts, num_bytes = _scan(everything, config, progress("reading"))
    is_file = _is_file(everything, config) and num_bytes == ends[-1]  # with a mark the file is longer than the text
    digest = hashlib.sha256()
    encode = _encoder(vocabulary)
    make_folder(folder.parent)
    require_room(folder.parent, sum(counts) * vocabulary.dtype.itemsize, "encoding the corpus")
    with explained(folder, "encoding the corpus into"):
        workplace = Path(tempfile.mkdtemp(prefix=".encoding-", dir=folder.parent))
        try:
            with _synced(workplace / "ids.bin") as file:
                for piece in pieces_of(everything, config, progress("encoding")):
                    file.write(encode(piece))
                    if not is_file:
                        digest.update(piece.raw)
            # The files have been read three times. While someone writes to them the three need not be the same text,
            # and the cache must not keep one text under the key of another.
            contents, validation_contents = _contents(sources), _contents(validation_sources)
            if folder.name != _key(contents, validation_contents, config):
                raise TextError("the text changed while it was being read", "run this again once it is complete")
            described = {
                "code_points": vocabulary.code_points.tolist(),
                "kind": vocabulary.kind,
                "characters": sum(counts),
                "validation": sum(counts[len(sources) :]),
                "bytes": num_bytes,
                "sha256": (contents + validation_contents)[0][0] if is_file else digest.hexdigest(),
            }
            with _synced(workplace / "corpus.json") as file:
                file.write(json.dumps(described).encode())
            _place(workplace, folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing, and flushes it to disk at the end: a power cut must not leave an entry of the right
    size that is full of zeros."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _place(workplace: Path, folder: Path) -> None:
    """Renames a finished cache entry to its final place, unless a complete one is there already."""
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


def _is_file(sources: list[Source], config: DataConfig) -> bool:
    """Returns whether the text equals the content of one file, byte by byte, apart from a byte order mark."""
    is_plain = (config.as_bytes or is_strict_utf8(config)) and config.newlines == "keep"
    return is_plain and [_compression(source) for source in sources] == [""]


def _encoder(vocabulary: Vocabulary) -> Callable[[TextPiece], bytes]:
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


def _scan(sources: list[Source], config: DataConfig, progress: Progress) -> tuple[Vocabulary, list[int], int]:
    """Makes the first pass over the sources. Returns the vocabulary, the number of characters of each source, and the
    number of bytes of all sources in UTF-8 (in byte mode, of the raw bytes)."""
    seen = np.zeros(NUM_CODE_POINTS, bool)
    seen_ascii = b""
    num_bytes = 0
    counts = [0] * len(sources)
    for place, raw, text in pieces_of(sources, config, progress):
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
