"""The text that `inspect` is given, as the model reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.config import UnknownPolicy

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.vocabulary import Vocabulary


def ids_of(text: str, vocabulary: Vocabulary, unknown: UnknownPolicy = "error") -> Any:
    """The ids of a text; in byte mode of one that has a character for each byte."""
    import numpy as np

    if vocabulary.kind == "bytes":
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return vocabulary.encode(text, unknown)


def read_text(argument: str, loaded: Checkpoint, unknown: UnknownPolicy, length: int) -> str:
    """The first `length` characters of the text, as the model knows them (byte mode: one character for each byte)."""
    from charrnn.cli.texts import find
    from charrnn.decoding import read_beginning
    from charrnn.sources import release

    texts = find([argument], glob=None, report=lambda _doing, _done, _total: None, config=loaded.data)
    try:
        beginning = read_beginning(texts.sources, loaded.data, length)
    finally:
        release(texts.sources)
    if loaded.vocabulary.kind == "bytes":
        return beginning
    return loaded.vocabulary.decode(loaded.vocabulary.encode(beginning, unknown).tolist())
