"""Cuts a text that comes in pieces into documents, in bounded memory.

A mark that no text holds stands for the end of a document: one before the first document, and one behind each. What
parted the documents (line ends, the matches of a pattern, the rest of a table) is dropped, and so are empty documents,
which are counted. The end of a file is the end of a document, however documents are cut.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.settings.documents import compiled, pattern_of
from charrnn.text import columns
from charrnn.text.decoding import TextPiece
from charrnn.text.fitting import as_read
from charrnn.text.sources import Source

_MARK, _MARK_OF_BYTES = "\0", "\u0100"
"""Characters that no text has: one with U+0000 is refused, and bytes end at 255."""
_PIECE = 1 << 16
_LONGEST_MATCH = 1 << 15
"""Characters that a match of `split:REGEX` may have, and that it may look at on each side."""

Parts = list[str]
"""Some text, cut where documents end: between two parts one ends. The first goes on with the document before."""


def mark_of(*, as_bytes: bool) -> str:
    """Returns the character that marks the end of a document in a text of characters, or of bytes."""
    return _MARK_OF_BYTES if as_bytes else _MARK


class Cutting:
    """Cuts texts as `config` says, and counts the documents. A config without documents leaves a text as it is."""

    def __init__(self, config: DataConfig, sources: Sequence[Source]) -> None:
        """`sources` are those of the pieces, by their places."""
        self._config, self._sources = config, sources
        self._mark = mark_of(as_bytes=config.as_bytes)
        self._is_open = False
        self.documents = 0
        self.empty = 0
        """How many documents without a character were dropped."""

    def __call__(self, pieces: Iterable[TextPiece], first: int = 0) -> Iterator[TextPiece]:
        """Yields a text with marks: one at its beginning, and one behind each document. `first` is the place of its
        first source.

        A piece's `raw` is then what `text` is, with the marks, in UTF-8, or in byte mode in two bytes each (UTF-16).
        Raises TextError where a table is not well-formed, or a match is too long.
        """
        if not self._config.has_documents:
            yield from pieces
            return
        before = self._mark
        for place, texts in itertools.groupby(pieces, lambda piece: piece.place):
            for text in _gathered(self._marked(place, (piece.text for piece in texts))):
                yield self._piece(place, before + text)
                before = ""
        if before:  # a text of nothing at all
            yield self._piece(first, before)

    def _piece(self, place: int, text: str) -> TextPiece:
        return TextPiece(place, text.encode("utf-16-le" if self._config.as_bytes else "utf-8"), text)

    def _marked(self, place: int, texts: Iterator[str]) -> Iterator[str]:
        """Yields the text of one source with the marks."""
        config = self._config
        if config.column is not None:
            cells = columns.cells(texts, config, self._sources[place].name)
            # The names of a table's columns stay as they are, and a text of JSON is one once its escapes are read.
            cut: Iterator[Parts] = ([as_read(cell, config), ""] for cell in cells)
        elif config.documents == "lines":
            yield from map(self._lined, _with_line_feeds(texts))
            cut = iter(())
        elif (pattern := pattern_of(config.documents)) is not None:
            # In byte mode a character of the text is a byte, and so is one of the pattern.
            spelled = pattern.encode().decode("latin-1") if config.as_bytes else pattern
            cut = _split(texts, compiled(spelled, re.ASCII if config.as_bytes else 0), config.documents)
        else:
            cut = ([text] for text in texts)
        for parts in cut:
            yield self._joined(parts)
        if config.documents == "files" and not self._is_open:
            self.empty += 1
        if self._is_open:
            yield self._joined(["", ""])

    def _lined(self, text: str) -> str:
        """Returns lines with the marks behind them, in a third of the time where none is empty."""
        if "\n\n" in text or (text.startswith("\n") and not self._is_open):
            return self._joined(text.split("\n"))
        self.documents += text.count("\n")
        if text:
            self._is_open = not text.endswith("\n")
        return text.replace("\n", self._mark)

    def _joined(self, parts: Parts) -> str:
        """Returns parts with the marks between them."""
        first, *others = parts
        self._is_open |= bool(first)
        if not others:
            return first
        mark, last = self._mark, others.pop()
        whole = [part for part in others if part]
        self.empty += len(others) - len(whole) + (not self._is_open)
        self.documents += len(whole) + self._is_open
        text = first + mark * self._is_open + (mark.join(whole) + mark) * bool(whole) + last
        self._is_open = bool(last)
        return text


def cut_text(text: str, config: DataConfig) -> str:
    """Returns a text with marks, cut as `config` says where it can be cut by itself: a text is one file, and one cell
    of a table. In byte mode the text that is returned has a character for each byte."""
    if config.column is not None:
        config = replace(config, column=None, documents="files")
    if config.as_bytes:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return "".join(piece.text for piece in Cutting(config, [])([TextPiece(0, b"", text)]))


def _gathered(texts: Iterator[str]) -> Iterator[str]:
    """Yields texts in pieces that are not small: a cell of a table may be a word."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(held)
            held.clear()
            size = 0
    yield "".join(held)


def _with_line_feeds(texts: Iterator[str]) -> Iterator[str]:
    """Yields a text with a line feed for each line end: for a line feed, a carriage return, or both."""
    held = ""
    for text in texts:
        text = held + text
        held = "\r" if text.endswith("\r") else ""  # its line feed may come with the next piece
        text = text.removesuffix("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield text
    if held:
        yield "\n"


def _split(texts: Iterator[str], pattern: re.Pattern[str], said: str) -> Iterator[Parts]:
    """Cuts where a pattern matches.

    A match counts once all that it could see is there, so that it does not depend on where a piece ends.
    """
    held, position, is_start = "", 0, True
    for text in itertools.chain(texts, [None]):
        held += text or ""
        certain = len(held) if text is None else len(held) - 2 * _LONGEST_MATCH
        parts: Parts = []
        begin = position
        for match in pattern.finditer(held, position):
            if match.start() >= certain and text is not None:
                break
            if match.end() - match.start() > _LONGEST_MATCH:
                raise TextError(
                    f"--documents {said} matches {len(match[0]):,} characters or more, from {match[0][:20]!r} on",
                    f"what parts two documents may have {_LONGEST_MATCH:,} at most",
                )
            parts.append(held[begin : match.start()])
            begin = match.end()
        position = max(begin, certain)
        parts.append(held[begin:position])
        if is_start and not parts[0]:  # a match at the very beginning parts nothing
            parts = parts[1:] or parts
        is_start = is_start and parts == [""]
        yield parts
        held = held[max(0, position - _LONGEST_MATCH) :]
        position = min(position, _LONGEST_MATCH)
