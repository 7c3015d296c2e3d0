"""Reading a file of samples: a text, the lines of `charrnn sample --json`, or a run's samples.txt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.settings.config import DataConfig
    from charrnn.text.sources import Source

_HEADING = re.compile(r"^=== (.+) ===\n", re.MULTILINE)
"""What stands above each sample in a run's samples.txt."""
_LONGEST = 1 << 26
"""Bytes of the longest line that is looked at for an object."""


def read_samples(arguments: list[str], config: DataConfig) -> list[tuple[str, str]]:
    """Returns the name and the text of each sample in files, decoded as the run's text is.

    In byte mode a text has one character for each byte. Raises TextError where nothing can be read, and where a line
    of a file of JSON objects is none.
    """
    from charrnn.cli import texts
    from charrnn.text.sources import release

    found = texts.find(arguments, glob=None, report=lambda _doing, _done, _all: None, config=config)
    try:
        read = [sample for source in found.sources for sample in _of_file(source, config)]
    finally:
        release(found.sources)
    samples = [(name, text) for name, text in read if text]
    if not samples:
        raise TextError(f"there is no sample in {', '.join(arguments)}", "name a file that charrnn sample has written")
    return samples


def _of_file(source: Source, config: DataConfig) -> Iterator[tuple[str, str]]:
    from charrnn.text.decoding import pieces_of

    name = "stdin" if source.is_temporary else Path(source.name).name
    with source.open() as stream:
        is_json = _is_object(stream.readline(_LONGEST))
    if is_json:
        with source.open() as stream:
            yield from _of_objects(name, stream.read(), config)
        return
    text = "".join(piece.text for piece in pieces_of([source], config, lambda _place, _done: None))
    if _HEADING.match(text) is None:
        yield name, text
        return
    _, *parts = _HEADING.split(text)
    for heading, part in zip(parts[::2], parts[1::2], strict=True):
        yield heading, part.removesuffix("\n").removesuffix("\n")


def _is_object(line: bytes) -> bool:
    """Returns whether a line is what `sample --json` writes: an object that has the number of a sample and its text."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"sample", "text"} <= found.keys()


def _of_objects(name: str, raw: bytes, config: DataConfig) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise TextError(
                f"line {number:,} of {name} is not an object with a text",
                "each line must be one that charrnn sample --json has written",
            ) from error
        if not isinstance(text, str):
            raise TextError(f"the text in line {number:,} of {name} is {text!r}", "it must be a string")
        yield f"{name}:{number}", text.encode("utf-8", "replace").decode("latin-1") if config.as_bytes else text
