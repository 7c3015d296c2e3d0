"""Reads one column of a table: of CSV or TSV with a header, or of JSON lines, whose objects have keys."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text.vocabulary import describe_character

_DELIMITERS = ",;\t"
_LONGEST = 1 << 27
"""Characters of a row, and of a cell: more are the sign of a quotation mark that nothing closes."""
_UTF8 = "save it as UTF-8, or leave --bytes out and name its --encoding"


def cells(texts: Iterator[str], config: DataConfig, name: str) -> Iterator[str]:
    """Yields the text of each cell of the column that `config` names, in their order.

    `texts` is the file called `name`, in pieces; in byte mode it has a character for each byte of its UTF-8, and so do
    the cells. What begins with a brace is JSON lines, all else a table. Raises TextError, with the number of the line,
    for what is not well-formed, and where there is no such column, or no text in it.
    """
    assert config.column is not None
    lines = _lines(_utf8(texts, name) if config.as_bytes else texts, name)
    before: list[str] = []
    for line in lines:
        before.append(line)
        if line.strip():
            break
    else:
        return
    if before[-1].lstrip()[:1] in ("{", "["):
        found = _of_json(itertools.chain(before, lines), config.column, name)
    else:
        found = _of_table(before[-1], lines, config.column, name, len(before) + 1)
    for number, cell in found:
        if config.newlines == "lf":
            cell = cell.replace("\r\n", "\n").replace("\r", "\n")
        if "\0" in cell:
            raise _error(name, number, "the text holds NUL characters", "leave them out")
        try:
            raw = cell.encode()
        except UnicodeEncodeError as error:  # which JSON can spell
            half = describe_character(cell[error.start])
            raise _error(name, number, f"the text holds {half}, half of a UTF-16 pair", "leave it out") from error
        yield raw.decode("latin-1") if config.as_bytes else cell


def _error(name: str, line: int, what: str, *hints: str) -> TextError:
    return TextError(f"{name}, line {line:,}: {what}", *hints)


def _utf8(texts: Iterator[str], name: str) -> Iterator[str]:
    """Yields the characters of a file that comes as bytes."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        for text in texts:
            yield decoder.decode(text.encode("latin-1"))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise TextError(f"{name} is not UTF-8, in which --column reads a table: {error.reason}", _UTF8) from error


def _lines(texts: Iterator[str], name: str) -> Iterator[str]:
    """Yields the lines of a text with their ends: a line feed, a carriage return, or both."""
    held: list[str] = []
    size = 0
    for text in texts:
        if "\n" in text or "\r" in text:
            # A carriage return at the end of a piece may be half of a line end.
            *whole, text = io.StringIO("".join(held) + text, newline="")
            if text.endswith("\n"):
                whole, text = [*whole, text], ""
            yield from whole
            held, size = [], 0
        held.append(text)
        size += len(text)
        if size > _LONGEST:
            raise TextError(f"{name} has a line of more than {_LONGEST:,} characters", "is it a table, or JSON lines?")
    yield from io.StringIO("".join(held), newline="")


def _of_table(header: str, lines: Iterator[str], column: str, name: str, first: int) -> Iterator[tuple[int, str]]:
    """Yields the cells of a table, each with the number of the line in which its row begins; that of the first line
    below the header is `first`."""
    delimiter = max(_DELIMITERS, key=lambda one: (column in _header(header, one), header.count(one)))
    names = _header(header, delimiter)
    if names.count(column) != 1:
        several = "several columns" if column in names else "no column"
        raise TextError(
            f"{name} has {several} called {column!r}",
            f"its first line names {', '.join(repr(one) for one in names[:20])}",
        )
    place = names.index(column)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    reader, number = csv.reader(lines, delimiter=delimiter, strict=True), first
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "write a cell that holds quotation marks, or a line end, between two, and its own ones twice"
            raise _error(name, number, f"the row is not well-formed: {error}", hint) from error
        if len(row) > len(names) or 0 < len(row) <= place:
            raise _error(
                name, number, f"the row has {len(row)} cells, and the header {len(names)}",
                f"write a cell that holds {delimiter!r} between quotation marks",
            )  # fmt: skip
        if row:
            yield number, row[place]
        number = first + reader.line_num


def _header(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return []


def _of_json(lines: Iterator[str], column: str, name: str) -> Iterator[tuple[int, str]]:
    """Yields the texts under a key of objects, each with the number of its line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _error(name, number, f"it is not JSON: {error}", "write one object on each line") from error
        if not isinstance(value, dict):
            raise _error(name, number, f"it is not an object but {_kind(value)}", "write one object on each line")
        if column not in value:
            keys = ", ".join(repr(key) for key in list(value)[:20]) or "no key"
            raise _error(name, number, f"there is no {column!r}", f"the object has {keys}")
        cell = value[column]
        if not isinstance(cell, str):
            raise _error(name, number, f"{column!r} is {_kind(cell)}, not a text", "--column names a key of texts")
        yield number, cell


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
