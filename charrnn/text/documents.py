"""The documents of an encoded text: where each begins and ends, and which are held out.

    ids    END d d d END d d END        a mark at the beginning, and one behind each document
               ^     ^                  begins[0] = 1, ends[0] = 4

A document is held out by a number from 0 to 1 that is made of its own characters and a seed: those below the share are.
So the order of the documents is of no account, equal ones fall on the same side, and one that is held out stays so when
others are added. Where documents are few or uneven, so that this would hold out less than half of the share or more
than twice as much, the lowest numbers that add up to about the share are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from charrnn.text.stored import TextIds, pieces
from charrnn.text.vocabulary import UNKNOWN_SYMBOL, Ids, Vocabulary

Numbers = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]

_PIECE = 1 << 15
_FACTOR = 0x9E3779B97F4A7C15
_WHOLE = 1 << 64
_LEAST, _MOST = 0.5, 2.0
_ROOM = 1.5
"""How much more than the share the lowest numbers may add up to."""


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Some documents of a text, in the order in which they stand in it."""

    begins: Numbers
    """The place of each one's first character (n,), behind the end of the document before."""
    ends: Numbers
    """The place of each one's end (n,)."""

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def lengths(self) -> Numbers:
        """How many characters each has (n,), without its end."""
        return self.ends - self.begins

    @property
    def pairs(self) -> int:
        """How many characters a model is to learn from them, their ends included."""
        return int(self.lengths.sum()) + len(self)

    def some(self, which: npt.NDArray[np.bool_]) -> Documents:
        """Returns those documents for which `which` (n,) is true."""
        return Documents(self.begins[which], self.ends[which])


def find(ids: TextIds, end: int) -> Documents:
    """Returns all documents of a text, which begins with an end and ends with one."""
    found, start = [np.zeros(0, np.int64)], 0
    for piece in pieces(ids, _PIECE):
        found.append(np.flatnonzero(piece == end) + start)
        start += len(piece)
    places = np.concatenate(found)
    return Documents(places[:-1] + 1, places[1:])


def gathered(ids: TextIds, documents: Documents) -> Ids:
    """Returns the ids of these documents alone, in memory, with an end before them and behind each."""
    begins, ends = documents.begins, documents.ends
    if not len(documents):
        return cast("Ids", np.zeros(0, ids.dtype))
    # Documents that follow each other in the text are taken together.
    first = np.flatnonzero(np.concatenate([[True], begins[1:] != ends[:-1] + 1]))
    last = np.concatenate([first[1:], [len(documents)]]) - 1
    taken = np.empty(1 + documents.pairs, ids.dtype)
    taken[:1] = ids[int(begins[0]) - 1 : int(begins[0])]
    place = 1
    for begin, end in zip(begins[first].tolist(), (ends[last] + 1).tolist(), strict=True):
        taken[place : place + end - begin] = ids[begin:end]
        place += end - begin
    taken.flags.writeable = False
    return cast("Ids", taken)


def numbers_of(
    ids: TextIds, vocabulary: Vocabulary, seed: int, read_by: Vocabulary | None = None
) -> npt.NDArray[np.float64]:
    """Returns a number from 0 to 1 for each document of a text (n,), made of its characters and the seed alone.

    It is the polynomial of a document's scrambled characters c in a fixed odd factor f, c1 f^(n-1) + ... + cn modulo
    2^64, scrambled (by splitmix64) with the seed. Ids are of no account, which are others in another vocabulary; but
    rare characters are what they are to the model of the vocabulary `read_by`, its unknown symbol.
    """
    assert vocabulary.end is not None
    points = vocabulary.code_points
    if read_by is not None and read_by.unknown_symbol is not None:
        points = np.where(np.isin(points, read_by.code_points), points, np.uint32(UNKNOWN_SYMBOL))
    inverse = pow(_FACTOR, -1, _WHOLE)
    up, down = _powers(_FACTOR), _powers(inverse)
    characters = np.zeros(len(vocabulary), np.uint64)  # an end adds nothing
    characters[:-1] = _scrambled(points.astype(np.uint64))
    found, under_way = [np.zeros(0, np.uint64)], np.zeros(1, np.uint64)
    for piece in pieces(ids, _PIECE):
        sums = np.zeros(len(piece) + 1, np.uint64)
        np.cumsum(characters[piece] * down[: len(piece)], out=sums[1:])
        places = np.flatnonzero(piece == vocabulary.end)
        begins, ends = np.concatenate([[0], places + 1]), np.concatenate([places, [len(piece)]])
        # sums[end] - sums[begin] is c1 f^-begin + c2 f^-(begin + 1) + ...
        parts = (sums[ends] - sums[begins]) * up[np.maximum(ends - 1, 0)]
        parts[:1] += under_way * up[ends[:1]]
        under_way = parts[-1:]
        found.append(parts[:-1])
    hashes = np.concatenate(found)[1:]  # before the first end there is no document
    scrambled = _scrambled(hashes ^ _scrambled(np.array([seed], np.uint64)))
    return (scrambled >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _powers(factor: int) -> _Hashes:
    factors = np.full(_PIECE + 1, factor, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _scrambled(values: _Hashes) -> _Hashes:
    """Returns numbers in the places of others, as splitmix64 makes them (Steele, Lea & Flood 2014)."""
    mixed = values + np.uint64(_FACTOR)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def held_out(numbers: npt.NDArray[np.float64], lengths: Numbers, share: float, total: int) -> npt.NDArray[np.bool_]:
    """Returns which documents (n,) are held out for `share` of `total` characters, by their numbers and lengths.

    It is at least one, where there is one and the share is not 0.
    """
    chosen = numbers < share
    if not share or not len(numbers):
        return np.zeros(len(numbers), bool)
    wanted = share * total
    if chosen.any() and _LEAST * wanted <= int(lengths[chosen].sum()) <= _MOST * wanted:
        return chosen
    different, which = np.unique(numbers, return_inverse=True)
    sizes = np.bincount(which.reshape(-1), weights=lengths)
    taken = np.zeros(len(different), bool)
    size = 0.0
    for place, more in enumerate(sizes.tolist()):
        if size + more <= _ROOM * wanted:
            taken[place] = True
            size += more
        if size >= wanted:
            break
    if not taken.any():
        taken[np.argmin(sizes)] = True
    return cast("npt.NDArray[np.bool_]", taken[which.reshape(-1)])
