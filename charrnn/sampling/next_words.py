"""Finds the likeliest next words of a model: defines what counts as a word, and searches exactly.

A next word is a string of separators (maybe none) followed by word characters, after which the word ends. Its
probability is the string's probability times the probability that no word character follows. A string is never likelier
than its beginning, so the search extends the likeliest beginnings first, several side by side, and is done when no
remaining beginning is likelier than the words found (uniform-cost search: Dijkstra 1959; Russell and Norvig, Artificial
Intelligence, section 3.4).

Besides the model's state, only the last two characters of the text matter.

Shape letters: B lanes, V vocabulary, N places where a text can stand.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.inference.distribution import log_probabilities
from charrnn.inference.engine import Doubles, Engine, Floats
from charrnn.sampling.sampler import require_finite
from charrnn.text.vocabulary import Vocabulary

_MOST_SEPARATORS = 20  # in code a word stands behind a line end and its indentation
_JOINERS = "'\u2019\u200c\u200d"  # apostrophes, and characters that join or part letters within a word in some scripts
_LANES = 32
_STEPS = 48


class Place(IntEnum):
    """Where the end of a text is in relation to words: outside a word, in a word, or after an apostrophe in one."""

    OUTSIDE = 0
    WORD = 1
    JOINT = 2
    """The end of the text is after an apostrophe within a word."""


class WordCharacters:
    """The ids that make up words: letters, marks, digits and underscores; apostrophes right after one of these.

    In byte mode every byte of a character of several bytes counts as a letter. The end of a document ends a word too,
    and no word is looked for behind it.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        characters = [*vocabulary.characters, *(["\n"] if vocabulary.has_end else [])]
        self.is_character = np.arange(len(characters)) != vocabulary.end
        """Which ids are characters, (V,): all but the end of a document."""
        self.core = np.array([_is_core(character) for character in characters], bool)
        self.joiners = np.array([character in _JOINERS for character in characters], bool)
        if vocabulary.kind == "bytes":
            high = np.arange(len(characters)) >= 0x80
            self.core |= high
            self.joiners &= ~high
        self.goes_on = np.stack([self.core, self.core | self.joiners, self.core])
        """Which ids may continue a word at each place, or begin one at the place outside, (N, V)."""
        self.after = np.where(self.goes_on, np.where(self.core, Place.WORD, Place.JOINT), Place.OUTSIDE)
        """The place after one more character, by the place before it and the character's id, (N, V)."""

    def end(self, ids: Sequence[int]) -> Place:
        """Returns the place at the end of a text of these ids."""
        place = Place.OUTSIDE
        for id_ in ids[-2:]:
            place = Place(self.after[place, id_])
        return place


def _is_core(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LMN"


@dataclass(frozen=True, slots=True)
class Words:
    """The likeliest next words, best first: the ids (from the first separator on) and the probability of each."""

    ranking: tuple[tuple[tuple[int, ...], float], ...]
    is_exact: bool
    """Whether the search was complete; if it was cut short, likelier words may be missing."""


def likeliest_words(
    engine: Engine,
    characters: WordCharacters,
    logits: Floats,
    state: Any,
    place: Place,
    *,
    count: int = 10,
    steps: int = _STEPS,
    lanes: int = _LANES,
) -> Words:
    """Returns the `count` likeliest words after a text that ends at `place`, with `logits` (1, V) and `state` there.

    Takes at most `steps` steps of at most `lanes` lanes. Equally likely words come in the order of their ids. Raises
    CheckpointError where the model's output is not finite.
    """
    found: list[tuple[float, tuple[int, ...]]] = []
    floor = -math.inf  # a beginning must exceed the log-probability of the last word in the ranking
    beginnings = _Beginnings([()], np.array([place]), np.zeros(1, np.int64), np.zeros(1), state)
    allowed = characters.is_character[None, :]  # the word at the end of the text may go on, or end
    batches = [_Batch(beginnings, logits, allowed, floor)]
    for _ in range(steps):
        batch = max(batches, key=lambda batch: batch.best)
        if batch.best <= floor:
            break
        lane, ids, likely = batch.take(lanes, floor)
        before = batch.beginnings
        logits, state = engine.step(ids, engine.take(before.state, lane.tolist()))
        require_finite(bool(np.isfinite(logits).all()))
        strings = [(*before.strings[from_], id_) for from_, id_ in zip(lane.tolist(), ids.tolist(), strict=True)]
        places = characters.after[before.places[lane], ids]
        separators = before.separators[lane] + (places == Place.OUTSIDE)
        beginnings = _Beginnings(strings, places, separators, likely, state)
        ended = [(-value, string) for value, string in _ended(characters, beginnings, logits) if value > floor]
        found = sorted(found + ended)[:count]
        if len(found) == count:
            floor = -found[-1][0]
        allowed = characters.goes_on[places] | ((places == Place.OUTSIDE) & (separators < _MOST_SEPARATORS))[:, None]
        allowed &= characters.is_character
        batches.append(_Batch(beginnings, logits, allowed, floor))
    is_exact = max(batch.best for batch in batches) <= floor
    return Words(tuple((string, math.exp(-cost)) for cost, string in found), is_exact)


@dataclass(frozen=True, slots=True)
class _Beginnings:
    """The beginnings of words (B,) that the model has read, each in its lane."""

    strings: list[tuple[int, ...]]
    places: npt.NDArray[np.int64]
    separators: npt.NDArray[np.int64]
    log_probabilities: Doubles
    state: Any


def _ended(
    characters: WordCharacters, beginnings: _Beginnings, logits: Floats
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yields every beginning that is a word, with the log-probability that it is one and ends."""
    (inside,) = np.nonzero(beginnings.places != Place.OUTSIDE)
    going_on = characters.goes_on[beginnings.places[inside]]
    others = np.where(going_on, -np.inf, log_probabilities(logits[inside]))
    ended = beginnings.log_probabilities[inside] + np.logaddexp.reduce(others, axis=1)
    for lane, value in zip(inside.tolist(), ended.tolist(), strict=True):
        if math.isfinite(value):
            yield value, beginnings.strings[lane]


class _Batch:
    """The strings that are one character longer than some beginnings, likeliest first."""

    def __init__(self, beginnings: _Beginnings, logits: Floats, allowed: npt.NDArray[np.bool_], floor: float) -> None:
        self.beginnings = beginnings
        likely = beginnings.log_probabilities[:, None] + log_probabilities(logits)
        lanes, ids = np.nonzero(allowed & (likely > floor))
        values = likely[lanes, ids]
        order = np.argsort(-values, kind="stable")
        self._lanes, self._ids, self._values = lanes[order], ids[order], values[order]
        self._next = 0

    @property
    def best(self) -> float:
        """The log-probability of the likeliest string that is left."""
        return float(self._values[self._next]) if self._next < len(self._values) else -math.inf

    def take(self, most: int, floor: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Doubles]:
        """Removes up to `most` of the likeliest strings above `floor`; returns their beginnings' lanes, last ids and
        log-probabilities."""
        chosen = slice(self._next, self._next + most)
        count = int((self._values[chosen] > floor).sum())
        chosen = slice(self._next, self._next + count)
        self._next += count
        return self._lanes[chosen], self._ids[chosen], self._values[chosen]
