"""A text as ids: read and decoded once, kept in a memory-mapped cache, split into its parts.

Two passes over the sources, each in pieces of a few megabytes: the first finds the characters, the second writes
their ids. Memory stays bounded however large the text. The result lies in a cache under a key made of the sources'
content and the decoding options, so that a second start only hashes the files. Knows decoding and splitting. Refuses
to know lanes, windows and models.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import DataConfig
from charrnn.errors import TextError, UsageError
from charrnn.files import cache_folder, explained, make_folder
from charrnn.sources import Source
from charrnn.vocabulary import NUM_CODE_POINTS, Ids, Vocabulary

MINIMUM_CHARACTERS = 200
_FORMAT = 1
_PIECE = 1 << 22
_BOM = "\ufeff"

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
    """Of the text in UTF-8 with its BOM removed; of a plain UTF-8 file it is what `sha256sum` prints."""
    separate_validation: int
    """How many ids at the end come from validation sources of their own; 0 if there are none."""

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, config: DataConfig) -> Parts:
        """Train, validation and test part, in this order from the start of the text.

        With validation sources of their own, those are the validation part, and only the test part is cut off the rest.
        Raises TextError where the text, or a part of it, is too small to train on.
        """
        own = self.separate_validation
        body = self.ids[: len(self.ids) - own]
        if len(body) < MINIMUM_CHARACTERS:
            raise TextError(
                f"the corpus has {len(body)} characters; training needs at least {MINIMUM_CHARACTERS}",
                "give a longer text: about 100,000 characters begin to be worth while, a million is good",
            )
        if len(self.vocabulary) < 2:
            raise TextError("the corpus repeats a single character: there is nothing to learn", "give another text")
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
    key = _key(sources, validation_sources, config)
    folder = cache_folder() / "corpora" / key
    corpus = _open(folder, name)
    if corpus is None:
        _encode(folder, sources, validation_sources, config, report)
        corpus = _open(folder, name)
        assert corpus is not None, "the cache just written cannot be read"
    return corpus


def _key(sources: list[Source], validation_sources: list[Source], config: DataConfig) -> str:
    content = [
        _FORMAT,
        [(source.digest(), source.path.suffix.lower()) for source in sources],
        [(source.digest(), source.path.suffix.lower()) for source in validation_sources],
        [config.encoding, config.encoding_errors, config.as_bytes, config.newlines],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


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
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encode(
    folder: Path,
    sources: list[Source],
    validation_sources: list[Source],
    config: DataConfig,
    report: Report | None,
) -> None:
    everything = [*sources, *validation_sources]
    total = sum(source.size() for source in everything)

    def progress(doing: str) -> Callable[[Source, int], None]:
        before = {source: sum(s.size() for s in everything[:place]) for place, source in enumerate(everything)}
        return lambda source, done: report(doing, before[source] + done, total) if report else None

    vocabulary, counts, num_bytes, digest = _scan(everything, config, progress("reading"))
    make_folder(folder.parent)
    with explained(folder, "encoding the corpus into"):
        workplace = Path(tempfile.mkdtemp(prefix=".encoding-", dir=folder.parent))
        try:
            with open(workplace / "ids.bin", "wb") as file:
                for text in _pieces(everything, config, progress("encoding")):
                    file.write(_ids_of(text, vocabulary))
            described = {
                "code_points": vocabulary.code_points.tolist(),
                "kind": vocabulary.kind,
                "characters": sum(counts),
                "validation": sum(counts[len(sources) :]),
                "bytes": num_bytes,
                "sha256": digest,
            }
            (workplace / "corpus.json").write_text(json.dumps(described), "utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            workplace.rename(folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


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


def _scan(
    sources: list[Source], config: DataConfig, progress: Callable[[Source, int], None]
) -> tuple[Vocabulary, list[int], int, str]:
    """First pass: the vocabulary, characters of each source, bytes in UTF-8 and sha256 of the whole text."""
    seen = np.zeros(NUM_CODE_POINTS, bool)
    known_ascii = b""
    num_bytes = 0
    digest = hashlib.sha256()
    counts = []
    for source in sources:
        count = 0
        for text in _pieces([source], config, progress):
            count += len(text)
            encoded = text if isinstance(text, bytes) else text.encode("utf-8")
            num_bytes += len(encoded)
            digest.update(encoded)
            if isinstance(text, bytes):
                continue
            if text.isascii():
                if new := encoded.translate(None, delete=known_ascii):
                    known_ascii += bytes(set(new))
            else:
                seen[np.frombuffer(text.encode("utf-32-le"), "<u4")] = True
        counts.append(count)
    if config.as_bytes:
        return Vocabulary.of_bytes(), counts, num_bytes, digest.hexdigest()
    seen[list(known_ascii)] = True
    return Vocabulary(np.flatnonzero(seen).tolist()), counts, num_bytes, digest.hexdigest()


def _pieces(
    sources: list[Source], config: DataConfig, progress: Callable[[Source, int], None]
) -> Iterator[str | bytes]:
    """The text of the sources in pieces; raw bytes in byte mode."""
    for source in sources:
        with source.open() as stream:
            done = 0
            decode = None if config.as_bytes else _StreamDecoder(source, config)
            while chunk := stream.read(_PIECE):
                yield decode(chunk) if decode else chunk
                done += len(chunk)
                progress(source, min(done, source.size()))
            if decode:
                yield decode(b"", final=True)


def read_text(source: Source, config: DataConfig) -> str:
    """The whole text of one source, decoded by the same rules (byte mode gives one character for each byte)."""
    pieces = _pieces([source], config, lambda _source, _done: None)
    return "".join(piece.decode("latin-1") if isinstance(piece, bytes) else piece for piece in pieces)


def read_beginning(sources: Sequence[Source], config: DataConfig, length: int) -> str:
    """The first `length` characters of the sources, by the same rules."""
    read = ""
    for piece in _pieces(list(sources), config, lambda _source, _done: None):
        read += piece.decode("latin-1") if isinstance(piece, bytes) else piece
        if len(read) >= length:
            break
    return read[:length]


class _StreamDecoder:
    """Bytes of one source in, text out: strictly, with the BOM removed and line ends treated as asked."""

    def __init__(self, source: Source, config: DataConfig) -> None:
        self._source = source
        self._config = config
        try:
            self._decoder = codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
        except LookupError as error:
            raise UsageError(
                f"--encoding is {config.encoding!r}", "name an encoding such as utf-8 or latin-1"
            ) from error
        self._position = 0
        self._is_start = True
        self._held_return = ""

    def __call__(self, chunk: bytes, *, final: bool = False) -> str:
        pending = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            offset = self._position - len(pending) + error.start
            raise self._bad_byte(offset, error.object[error.start]) from error
        except UnicodeError as error:  # UTF-16 without a BOM it can trust, and the like
            raise TextError(f"{self._source.name} is not {self._config.encoding}: {error}", _REMEDY) from error
        self._position += len(chunk)
        if self._is_start and text:
            text = text.removeprefix(_BOM)
            self._is_start = False
        if "\0" in text:
            raise TextError(
                f"{self._source.name} holds NUL characters: it looks like a binary file"
                + (" or UTF-16" if self._config.encoding == "utf-8" else ""),
                "--encoding utf-16 if it is that; --bytes models any file byte by byte",
            )
        return self._unify_newlines(text, final) if self._config.newlines == "lf" else text

    def _unify_newlines(self, text: str, final: bool) -> str:
        text = self._held_return + text
        self._held_return = ""
        if text.endswith("\r") and not final:  # its \n may come with the next piece
            text, self._held_return = text[:-1], "\r"
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _bad_byte(self, offset: int, byte: int) -> TextError:
        line, start = 1, b""
        with self._source.open() as stream:
            left = offset
            while left and (chunk := stream.read(min(left, _PIECE))):
                start = start or chunk[:2]
                line += chunk.count(b"\n")
                left -= len(chunk)
        looks_like_utf16 = start in (b"\xff\xfe", b"\xfe\xff") or (offset == 0 and byte in (0xFE, 0xFF))
        return TextError(
            f"{self._source.name} is not {self._config.encoding}: "
            f"byte 0x{byte:02x} at offset {offset:,}, line {line:,}",
            "it looks like UTF-16: --encoding utf-16" if looks_like_utf16 else _REMEDY,
        )


_REMEDY = (
    "--encoding names another encoding (latin-1, utf-16, ...), --encoding-errors replace puts U+FFFD, "
    "--bytes models bytes"
)
