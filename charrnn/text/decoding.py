"""Decodes the bytes of sources to pieces of text, strictly and in bounded memory.

A BOM is removed, line ends are treated as asked, and a byte that is not valid in the encoding is an error that says
where it stands. Every text is converted to UTF-8 first; a text in UTF-8 is only cut into pieces and decoded once.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from charrnn.errors import TextError
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.config import DataConfig
from charrnn.text.forms import changed
from charrnn.text.sources import Source, incremental_decoder
from charrnn.text.vocabulary import Ids, Vocabulary, describe_character

# A piece is small enough that its bytes, its text and its ids stay in a core's L2 cache, and that its memory is reused
# instead of being returned to the system: pieces of megabytes take twice as long.
_PIECE = 1 << 16

# A carriage return at the end of a chunk may be half of a line end.
_LINE_END = re.compile(rb"\r?\n|\r(?!\Z)")

# Codecs that take a mark off themselves: what stands after it is text, even if it looks like a second one.
_WITHOUT_MARK = ("utf-8-sig", "utf-16", "utf-32")

LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
"""What line ends become under each --newlines but keep."""
REMEDIES = (
    "--encoding names another encoding (latin-1, utf-16, ...)",
    "--encoding-errors replace puts U+FFFD",
    "--bytes models bytes",
    "or save it as UTF-8",
)
"""The advice given with the error about a text that is not in the expected encoding."""

Progress = Callable[[int, int], None]
"""A function that is told the place of a source in the list of sources, and the number of its bytes that are done."""


class TextPiece(NamedTuple):
    """A piece of a text, which holds whole characters."""

    place: int
    """The place of the piece's source in the list of sources."""
    raw: bytes
    """The characters of the piece in UTF-8; in byte mode its raw bytes."""
    text: str
    """The characters of the piece; in byte mode one for each byte."""


def pieces_of(sources: list[Source], config: DataConfig, progress: Progress, first: int = 0) -> Iterator[TextPiece]:
    """Yields the text of the sources in pieces, one source after the other; the place of the first is `first`.

    A source that does not end in a line end is followed by one, unless it is the last: the last word of a file and the
    first of the next would be one. Files of bytes stand as they are, as do those that are documents.
    """
    last = first + len(sources) - 1
    for place, source in enumerate(sources, first):
        chunks = _chunks(source, functools.partial(progress, place))
        if not config.as_bytes:
            chunks = _cut(chunks) if is_strict_utf8(config) else _transcoded(chunks, source, config)
            if codecs.lookup(config.encoding).name not in _WITHOUT_MARK:
                chunks = _without_mark(chunks)
        if config.newlines != "keep":
            chunks = _with_line_ends(chunks, LINE_ENDS[config.newlines])
        if config.column is None and (config.normalize != "none" or config.lowercase):
            chunks = _in_form(chunks, source, config)
        if place < last and not config.as_bytes and not config.has_documents:
            chunks = _with_line_end(chunks)
        for raw in chunks:
            yield TextPiece(place, raw, raw.decode("latin-1") if config.as_bytes else _decoded(raw, source, config))


def is_strict_utf8(config: DataConfig) -> bool:
    """Returns whether texts must be valid UTF-8. Raises UsageError where the encoding is not known."""
    incremental_decoder(config)
    return codecs.lookup(config.encoding).name == "utf-8" and config.encoding_errors == "strict"


def _chunks(source: Source, progress: Callable[[int], None]) -> Iterator[bytes]:
    with source.open() as stream:
        done = 0
        while chunk := stream.read(_PIECE):
            yield chunk
            done += len(chunk)
            progress(done)


def _cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the bytes of `chunks`, which should be UTF-8, cut between characters instead of anywhere."""
    held = b""
    for chunk in chunks:
        raw = held + chunk
        # An incomplete character has at most three bytes. The codec finds them, and checks no other bytes.
        _, used = codecs.utf_8_decode(raw[-3:], "ignore", False)
        end = max(len(raw) - 3, 0) + used
        held = raw[end:]
        yield raw[:end]
    yield held


def _transcoded(chunks: Iterator[bytes], source: Source, config: DataConfig) -> Iterator[bytes]:
    """Yields the text of one source in UTF-8."""
    decoder = incremental_decoder(config)
    for chunk in itertools.chain(chunks, [b""]):
        try:
            yield decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            raise _bad_byte(source, config) from error
        except UnicodeEncodeError as error:  # utf-7 and unicode_escape can spell it
            half = describe_character(error.object[error.start])
            raise TextError(f"{source.name} holds {half}, half of a UTF-16 pair", *REMEDIES) from error
        except UnicodeError as error:  # UTF-16 without a BOM it can trust, and the like
            raise TextError(f"{source.name} is not {config.encoding}: {error}", *REMEDIES) from error


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the chunks of UTF-8 without a byte order mark at the beginning."""
    is_start = True
    for chunk in chunks:
        yield chunk.removeprefix(codecs.BOM_UTF8) if is_start else chunk
        is_start = is_start and not chunk


def _with_line_ends(chunks: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    """Yields the chunks with every line end turned into `end`, also where a line end spans two chunks."""
    held = b""
    for chunk in chunks:
        raw = held + chunk
        held = b"\r" if raw.endswith(b"\r") else b""  # its line feed may come with the next piece
        lines = raw.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield lines if end == b"\n" else lines.replace(b"\n", end)
    if held:
        yield end


def _in_form(chunks: Iterator[bytes], source: Source, config: DataConfig) -> Iterator[bytes]:
    """Yields the chunks of UTF-8 in the normal form and the case that are asked for."""
    texts = (_decoded(raw, source, config) for raw in chunks)
    for text in changed(texts, config.normalize, lowercase=config.lowercase):
        yield text.encode()


def _with_line_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the chunks of one source, and a line end behind them where there is none: of the kind that the source has
    first."""
    end, last = b"", b""
    for chunk in chunks:
        if not end and (found := _LINE_END.search(last + chunk)) is not None:
            end = found[0]
        last = chunk[-1:] or last
        yield chunk
    if last not in (b"", b"\n", b"\r"):
        yield end or b"\n"


def _decoded(raw: bytes, source: Source, config: DataConfig) -> str:
    """Returns the characters of a piece in UTF-8. Raises TextError where it is not valid UTF-8, or holds characters
    that no text holds."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad_byte(source, config) from error
    if b"\0" in raw:
        raise TextError(
            f"{source.name} holds NUL characters: it looks like a binary file"
            + (" or UTF-16" if config.encoding == "utf-8" else ""),
            "--encoding utf-16 if it is that",
            "--bytes models any file byte by byte",
            "or name a file of text",
        )
    return text


def _bad_byte(source: Source, config: DataConfig) -> TextError:
    """Returns the error for a source that is not in its encoding. The source is read again, to find out where."""
    decoder = incremental_decoder(config)
    position, line, start = 0, 1, b""
    for chunk in itertools.chain(_chunks(source, lambda _done: None), [b""]):
        start = start or chunk[:2]
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder may still have had some bytes of the chunk before, whose line ends are counted already; or it
            # has taken a mark off the chunk's beginning.
            read, held = error.object, len(error.object) - len(chunk)
            offset, byte = position - held + error.start, read[error.start]
            line += read[: error.start].count(b"\n") - read[: max(held, 0)].count(b"\n")
            looks_like_utf16 = start in (b"\xff\xfe", b"\xfe\xff") or (offset == 0 and byte in (0xFE, 0xFF))
            return TextError(
                f"{source.name} is not {config.encoding}: byte 0x{byte:02x} at offset {offset:,}, line {line:,}",
                *(("it looks like UTF-16: --encoding utf-16", REMEDIES[-1]) if looks_like_utf16 else REMEDIES),
            )
        position += len(chunk)
        line += chunk.count(b"\n")
    return TextError(f"{source.name} changed while it was being read", "run this again once it is complete")


def encoded(sources: Sequence[Source], config: DataConfig, vocabulary: Vocabulary, unknown: UnknownPolicy) -> Ids:
    """Returns the ids of the whole text of the sources, decoded as `config` says, in `vocabulary`.

    Memory holds little more than the ids. The sources are read twice: all unknown characters are told in one error.
    """
    if vocabulary.kind == "text":
        missing = Counter[str]()
        for text in _texts(sources, config):
            missing.update(vocabulary.unknown(text))
        vocabulary.check_unknown(missing, unknown)
    read = bytearray()
    for piece in pieces_of(list(sources), config, lambda _place, _done: None):
        read += piece.raw if vocabulary.kind == "bytes" else vocabulary.encode(piece.text, unknown).tobytes()
    return cast("Ids", np.frombuffer(read, vocabulary.dtype))


def read_beginning(
    sources: Sequence[Source],
    config: DataConfig,
    length: int,
    cut: Callable[[Iterator[TextPiece]], Iterator[TextPiece]] = lambda pieces: pieces,
) -> str:
    """Returns the first `length` characters of the sources, decoded as `config` says, of what `cut` makes of them."""
    read = ""
    for piece in cut(pieces_of(list(sources), config, lambda _place, _done: None)):
        read += piece.text
        if len(read) >= length:
            break
    return read[:length]


def _texts(sources: Sequence[Source], config: DataConfig) -> Iterator[str]:
    return (piece.text for piece in pieces_of(list(sources), config, lambda _place, _done: None))
