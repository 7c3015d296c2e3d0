"""The errors of a model, each with what might have prevented it: Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078,
section 4.4).

An error is a character that the model gave a probability below 1/2. Oracles take errors away, one after the other, and
each gets those that it is the first to take:

    n-grams             some n-gram model (n up to 9, counted on the training text) gives it more than 1/2
    dynamic memory      in a word, from its second character on, that stood within the last 5,000 characters already
    rare words          in a word that the training text has at most five times
    word model          right after white space or a quotation mark: the next word is to be chosen
    punctuation         on punctuation
    boost               what is left, by how much would have to be added to its probability to reach 1/2

Without a training text there is no oracle of n-grams and none of rare words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.evaluation.breakdown import Group, grouped
from charrnn.evaluation.itemised import Itemised
from charrnn.evaluation.ngram import ngram_probabilities
from charrnn.evaluation.words import CLASSES, QUOTES, classes, per_character, spans
from charrnn.text.stored import TextIds

LONGEST_NGRAM = 9
MEMORY = 5_000
RARE = 5
_BOOSTS = (0.1, 0.2, 0.3, 0.4, 0.5)
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """The text that a model was trained on."""

    ids: TextIds
    """In the model's vocabulary."""
    text: str


def error_pie(
    items: Itemised,
    words: Numbers,
    ids: TextIds,
    vocabulary_size: int,
    training: Training | None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Group]:
    """Returns the errors of each oracle, in the order in which they take them; together these are all errors.

    `ids` are what was fed to the model, at the places `items.fed`, and `words` (words, 2) where words begin and end.
    """
    probabilities = np.exp(-items.nats.astype(np.float64))
    is_error = items.is_scored & ((probabilities < 0.5) | items.is_unknown)
    oracles: list[tuple[str, Mask]] = [("characters that the model does not know", items.is_unknown)]
    if training is not None:
        oracles.append(("n-grams", _known_to_ngrams(items, ids, vocabulary_size, training, progress)))
    oracles.append(("dynamic memory", _remembered(items, words, is_error)))
    if training is not None:
        oracles.append(("rare words", _rare(items, words, training.text)))
    oracles += [("word model", _begins_word(items)), ("punctuation", _punctuation(items))]
    names = [name for name, _ in oracles]
    taken = np.full(len(items.text), -1)
    for number, (_, mask) in enumerate(oracles):
        taken[(taken < 0) & mask] = number
    low = 0.0
    for boost in _BOOSTS:
        names.append(f"boost by {low:g} to {boost:g}")
        # The last one takes what rounding leaves.
        reached = probabilities + boost >= 0.5 if boost < _BOOSTS[-1] else np.ones(len(taken), bool)
        taken[(taken < 0) & reached] = len(names) - 1
        low = boost
    taken[~is_error] = len(names)
    return [group for group in grouped(items, taken, [*names, ""]) if group.name]


def _known_to_ngrams(
    items: Itemised, ids: TextIds, vocabulary_size: int, training: Training, progress: Callable[[int, int], None]
) -> Mask:
    found = np.zeros(len(items.text), bool)
    if len(training.ids) and len(ids) > 1:
        for likely in ngram_probabilities(training.ids, ids, vocabulary_size, LONGEST_NGRAM - 1, progress):
            found[items.fed[1:]] |= likely > 0.5
    return found


def _remembered(items: Itemised, words: Numbers, is_error: Mask) -> Mask:
    found = np.zeros(len(items.text), bool)
    begins = items.begins if items.has_documents else np.zeros(1, np.int64)
    context = begins[np.searchsorted(begins, words[:, 0], side="right") - 1].tolist()
    for (start, end), first in zip(words.tolist(), context, strict=True):
        if is_error[start + 1 : end].any():
            found[start + 1 : end] = items.text.find(items.text[start:end], max(first, start - MEMORY), start) >= 0
    return found


def _rare(items: Itemised, words: Numbers, training: str) -> Mask:
    counts = Counter(training[start:end] for start, end in spans(training).tolist())
    found = np.zeros(len(items.text), bool)
    for start, end in words.tolist():
        found[start:end] = counts[items.text[start:end]] <= RARE
    return found


def _begins_word(items: Itemised) -> Mask:
    opens = per_character(items.text, lambda character: character.isspace() or character in QUOTES)
    found = np.zeros(len(items.text), bool)
    found[1:] = opens[:-1] == 1
    return found


def _punctuation(items: Itemised) -> Mask:
    found: Mask = classes(items.text, items.kind) == CLASSES.index("punctuation")
    return found
