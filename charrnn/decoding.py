"""From the bytes of sources to pieces of text: strictly, and in bounded memory.

A BOM is removed, line ends are treated as asked, and a byte that is not valid in the encoding is an error that says
where it stands. Knows encodings. Refuses to know ids and caches.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import AnyStr

from charrnn.config import DataConfig
from charrnn.errors import TextError
from charrnn.sources import Source, incremental_decoder

_PIECE = 1 << 22
_BOM = "\ufeff"

REMEDY = (
    "--encoding names another encoding (latin-1, utf-16, ...), --encoding-errors replace puts U+FFFD, "
    "--bytes models bytes"
)
"""What can be done about a text that is not in the encoding it should be in."""

Progress = Callable[[int, int], None]
"""Called with the place of a source in its list, and the bytes of it that are done."""


def pieces_of(sources: list[Source], config: DataConfig, progress: Progress) -> Iterator[tuple[int, str | bytes]]:
    """The text of the sources in pieces, each with its source's place in the list; raw bytes in byte mode."""
    for place, source in enumerate(sources):
        chunks = _chunks(source, functools.partial(progress, place))
        pieces: Iterator[str] | Iterator[bytes]
        if config.as_bytes:
            pieces = _with_lf(chunks, b"\r", b"\n") if config.newlines == "lf" else chunks
        else:
            decoded = _decoded(chunks, source, config)
            pieces = _with_lf(decoded, "\r", "\n") if config.newlines == "lf" else decoded
        for piece in pieces:
            yield place, piece


def _chunks(source: Source, progress: Callable[[int], None]) -> Iterator[bytes]:
    with source.open() as stream:
        done = 0
        while chunk := stream.read(_PIECE):
            yield chunk
            done += len(chunk)
            progress(done)


def _decoded(chunks: Iterator[bytes], source: Source, config: DataConfig) -> Iterator[str]:
    """The text of one source: strictly, without its BOM."""
    decoder = incremental_decoder(config)
    position = 0
    is_start = True
    for chunk in itertools.chain(chunks, [b""]):
        position += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # What the decoder had before it ends where the chunk ends, but may begin in the chunk before.
            offset = position - len(error.object) + error.start
            raise _bad_byte(source, config, offset, error.object[error.start]) from error
        except UnicodeError as error:  # UTF-16 without a BOM it can trust, and the like
            raise TextError(f"{source.name} is not {config.encoding}: {error}", REMEDY) from error
        if is_start and text:
            text = text.removeprefix(_BOM)
            is_start = False
        if "\0" in text:
            raise TextError(
                f"{source.name} holds NUL characters: it looks like a binary file"
                + (" or UTF-16" if config.encoding == "utf-8" else ""),
                "--encoding utf-16 if it is that; --bytes models any file byte by byte",
            )
        yield text


def _with_lf(pieces: Iterator[AnyStr], cr: AnyStr, lf: AnyStr) -> Iterator[AnyStr]:
    """Every line end made lf, wherever the border between two pieces falls."""
    held = cr[:0]
    for piece in pieces:
        text = held + piece
        held = cr if text.endswith(cr) else cr[:0]  # its lf may come with the next piece
        yield text.removesuffix(cr).replace(cr + lf, lf).replace(cr, lf)
    if held:
        yield lf


def _bad_byte(source: Source, config: DataConfig, offset: int, byte: int) -> TextError:
    line, start = 1, b""
    with source.open() as stream:
        left = offset
        while left and (chunk := stream.read(min(left, _PIECE))):
            start = start or chunk[:2]
            line += chunk.count(b"\n")
            left -= len(chunk)
    looks_like_utf16 = start in (b"\xff\xfe", b"\xfe\xff") or (offset == 0 and byte in (0xFE, 0xFF))
    return TextError(
        f"{source.name} is not {config.encoding}: byte 0x{byte:02x} at offset {offset:,}, line {line:,}",
        "it looks like UTF-16: --encoding utf-16" if looks_like_utf16 else REMEDY,
    )


def read_text(source: Source, config: DataConfig) -> str:
    """The whole text of one source, decoded by the same rules (byte mode gives one character for each byte)."""
    return "".join(_characters([source], config))


def read_beginning(sources: Sequence[Source], config: DataConfig, length: int) -> str:
    """The first `length` characters of the sources, by the same rules."""
    read = ""
    for piece in _characters(sources, config):
        read += piece
        if len(read) >= length:
            break
    return read[:length]


def _characters(sources: Sequence[Source], config: DataConfig) -> Iterator[str]:
    for _, piece in pieces_of(list(sources), config, lambda _place, _done: None):
        yield piece.decode("latin-1") if isinstance(piece, bytes) else piece
