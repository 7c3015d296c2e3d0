"""Vocabularies put together, and where the symbols of one stand in another.

Ids follow code points, so that a character has another id beside others. What belongs to a symbol (rows of weights) is
therefore carried over by the symbol, never by the id.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextError
from charrnn.text.vocabulary import Vocabulary

_NAMED, _END = 40, "end"


def symbols(vocabulary: Vocabulary) -> list[Hashable]:
    """Returns what each id stands for, in the order of the ids.

    These are code points, and for the end of a document a name that is the same in every vocabulary: so it keeps what
    belongs to it.
    """
    named: list[Hashable] = [*vocabulary.code_points.tolist(), *([_END] if vocabulary.has_end else [])]
    assert len(named) == len(vocabulary), "an id stands for nothing"
    return named


def union(one: Vocabulary, other: Vocabulary) -> Vocabulary:
    """Returns the vocabulary of the characters of both, with an end of documents where `one` has it, and the unknown
    symbol where one of them has it.

    Raises TextError where one is of bytes and one of characters.
    """
    if one.kind != other.kind:
        raise TextError("bytes and characters cannot be put into one vocabulary", "read both as bytes, or neither")
    has_symbol = one.unknown_symbol is not None or other.unknown_symbol is not None
    if covers(one, other) and has_symbol == (one.unknown_symbol is not None):
        return one
    points = [*one.code_points, *other.code_points]
    both = Vocabulary(points, one.kind, has_end=one.has_end, has_unknown_symbol=has_symbol)
    return one if both == one else both


def covers(one: Vocabulary, other: Vocabulary) -> bool:
    """Returns whether `one` has every character of `other`, and its unknown symbol."""
    if other.unknown_symbol is not None and one.unknown_symbol is None:
        return False
    return one.kind == other.kind and set(symbols(other)) - {_END} <= set(symbols(one))


def places(before: Vocabulary, now: Vocabulary) -> npt.NDArray[np.int64]:
    """Returns the id in `before` of each symbol of `now` (V,); -1 for those that are new."""
    known = {symbol: place for place, symbol in enumerate(symbols(before))}
    return np.array([known.get(symbol, -1) for symbol in symbols(now)], np.int64)


def listed(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    """Returns characters for a message, each made visible, the first forty of them; the end of a document by its name.

    >>> listed(Vocabulary.of("\\nab"), [0, 2])
    '\\\\n b'
    """
    names = vocabulary.names
    shown = [_shown(names[id_]) for id_ in ids[:_NAMED]]
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return " ".join(shown) + more


def _shown(character: str) -> str:
    if character == " ":
        return "(space)"
    return character if character.isprintable() else ascii(character)[1:-1]
