"""Where the bits of a text go: by classes of characters, places in words, context, and how often a word has occurred.

Each breakdown puts every scored character into exactly one of its groups, so that their nats add up to the text's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.evaluation.itemised import Itemised, Line
from charrnn.evaluation.words import CLASSES, classes

Numbers = npt.NDArray[np.int64]
SHORTEST_LINE = 20
"""Characters of the shortest line that counts among the dearest: a bit more or less says little about a shorter one."""
_DEAREST = 10


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the scored characters, and what they cost together."""

    name: str
    characters: int
    nats: float

    @property
    def bits_per_character(self) -> float:
        """Returns the mean cost."""
        return self.nats / (self.characters * math.log(2))


def grouped(items: Itemised, group_of: npt.NDArray[np.integer], names: Sequence[str]) -> list[Group]:
    """Returns the groups that hold a scored character, in the order of `names`; `group_of` (N,) says which each is
    in."""
    scored = group_of[items.is_scored]
    counts = np.bincount(scored, minlength=len(names))
    nats = np.bincount(scored, weights=items.nats[items.is_scored], minlength=len(names))
    groups = zip(names, counts.tolist(), nats.tolist(), strict=True)
    return [Group(name, count, cost) for name, count, cost in groups if count]


def by_class(items: Itemised) -> list[Group]:
    """Returns a group for each class of characters; those that the model does not know are one of their own."""
    found = classes(items.text, items.kind).astype(np.int64)
    found[items.is_unknown] = len(CLASSES)
    names = [*CLASSES, "characters that the model does not know"]
    if items.has_documents:
        found[items.is_line_end] = len(names)
        names.append("ends of documents")
    return grouped(items, found, names)


_PLACES = (1, 2, 3, 4, 5, 7, 10)
"""The places in a word with which groups begin."""


def by_place_in_word(items: Itemised, words: Numbers) -> list[Group]:
    """Returns groups of places in `words` (words, 2), what stands right after a word, and what stands elsewhere."""
    names = [*_ranges(_PLACES), "right after a word", "elsewhere"]
    found = np.full(len(items.text) + 1, len(names) - 1)
    lengths = words[:, 1] - words[:, 0]
    after = words[:, 1]
    found[after] = len(names) - 2
    inside = np.repeat(words[:, 0], lengths)
    place = np.arange(len(inside)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found[inside + place] = np.searchsorted(_PLACES, place + 1, side="right") - 1
    return grouped(items, found[:-1], names)


_TIMES = (1, 2, 3, 6, 11, 101)
"""The occurrences of a word with which groups begin."""


def by_occurrence(items: Itemised, words: Numbers) -> list[Group]:
    """Returns groups of letters by how often their word has occurred in the text so far, and what is in no word."""
    names = [*_ranges(_TIMES), "in no word"]
    found = np.full(len(items.text), len(names) - 1)
    seen = Counter[str]()
    times = np.empty(len(words), np.int64)
    for place, (start, end) in enumerate(words.tolist()):
        word = items.text[start:end]
        seen[word] += 1
        times[place] = seen[word]
    lengths = words[:, 1] - words[:, 0]
    inside = np.repeat(words[:, 0] - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
    found[inside] = np.repeat(np.searchsorted(_TIMES, times, side="right") - 1, lengths)
    return grouped(items, found, names)


def by_context(items: Itemised) -> list[Group]:
    """Returns groups of characters by how many characters the model has read before them since its state was zero."""
    N = len(items.text)
    lengths = np.diff(np.append(items.begins, N))
    context = np.arange(N) - np.repeat(items.begins, lengths)
    firsts = (0, *(1 << power for power in range(11)))
    names = _ranges(firsts)
    return grouped(items, np.searchsorted(firsts, context, side="right") - 1, names)


def _ranges(firsts: Sequence[int]) -> list[str]:
    """Returns a name for each group of numbers that begins with one of `firsts`.

    >>> _ranges((1, 2, 5))
    ['1', '2 to 4', '5 and more']
    """
    names = []
    for first, following in zip(firsts, [*firsts[1:], None], strict=True):
        if following is None:
            names.append(f"{first:,} and more")
        else:
            names.append(f"{first:,}" if following == first + 1 else f"{first:,} to {following - 1:,}")
    return names


def dearest(items: Itemised, number: int = _DEAREST) -> list[Line]:
    """Returns the lines that cost most bits a character, the dearest first, among those that are long enough."""
    long_enough = (line for line in items.lines() if line.characters >= SHORTEST_LINE)
    return sorted(long_enough, key=lambda line: (-(line.bits_per_character or 0.0), line.number))[:number]
