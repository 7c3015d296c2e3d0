"""N-gram models over characters, with interpolated modified Kneser-Ney smoothing, as a baseline for networks.

    p_k(x | c) = max(a(c x) - D(a), 0) / a(c .) + g(c) p_{k-1}(x | c without its first character)
    g(c)       = (D1 N1(c) + D2 N2(c) + D3 N3+(c)) / a(c .)

k is the length of the context c; p_{-1} is uniform over the vocabulary. a counts how often c x stands in the training
text in the highest order, and after how many different characters it stands in the lower ones. Nj(c) is how many x
follow c with a = j (3+: or more); D1, D2, D3 come from how many grams have a = 1, 2, 3, 4 (Chen & Goodman 1999,
Computer Speech & Language 13(4)). Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078, table 2) compare with these.

Grams are numbered, not stored: a gram's number comes from its first part's number and its last character, so that a
context may be of any length.

Shape letters: N characters of both texts, G different grams of a length, S scored characters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.text.stored import TextIds

Numbers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

MOST_TRAINING = 20_000_000
"""The largest number of characters of training text that are counted; of a longer text, the last ones are."""


@dataclass(frozen=True, eq=False)
class _Grams:
    """All grams of one length, and the context of each, which is the gram without its last character."""

    numbers: Numbers
    """The number of the gram that ends at each character, (N,)."""
    first: Numbers
    """The place where each gram first occurs, (G,)."""
    contexts: Numbers
    """The number of each gram's context, (G,)."""


def ngram_nats(
    training: TextIds,
    text: TextIds,
    vocabulary_size: int,
    longest: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[float]:
    """Returns the nats per character of `text`, all but its first, for contexts of 0 to `longest` characters counted in
    `training`.

    `progress` is called with the number of lengths done and of all lengths. Raises ValueError for texts without
    anything to count or to score.
    """
    return [float(-np.log(p).mean()) for p in ngram_probabilities(training, text, vocabulary_size, longest, progress)]


def ngram_probabilities(
    training: TextIds,
    text: TextIds,
    vocabulary_size: int,
    longest: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Doubles]:
    """Returns the probability of each character of `text` but the first, for each length of the context; see
    `ngram_nats`."""
    training = training[-MOST_TRAINING:]
    if not len(training) or len(text) < 2:
        raise ValueError("there is nothing to count, or nothing to score")
    x = np.concatenate((training, np.asarray(text))).astype(np.int64)
    T, scored = len(training), np.arange(len(training) + 1, len(x))
    starts = np.array([0, T])  # the places that no character precedes
    below = np.full(len(scored), 1 / vocabulary_size)
    grams = _numbered(np.zeros(len(x), np.int64), x, vocabulary_size)
    found = []
    for length in range(longest + 1):
        longer = _longer(grams.numbers, x, starts, vocabulary_size)
        occurrences = np.bincount(grams.numbers[:T], minlength=len(grams.first))
        # A longer gram that first occurs in the training text is one more different character before the shorter gram.
        lefts = np.bincount(grams.numbers[longer.first[longer.first < T]], minlength=len(grams.first))
        found.append(_smoothed(occurrences, grams, scored, below))
        below = _smoothed(lefts, grams, scored, below)
        grams = longer
        progress(length + 1, longest + 1)
    return found


def _longer(prefixes: Numbers, x: Numbers, starts: Numbers, vocabulary_size: int) -> _Grams:
    """Returns the grams one character longer than those with the numbers `prefixes` (N,), which end one character
    earlier."""
    before = np.empty_like(prefixes)
    before[1:] = prefixes[:-1] + 1
    before[starts] = 0
    return _numbered(before, x, vocabulary_size)


def _numbered(contexts: Numbers, x: Numbers, vocabulary_size: int) -> _Grams:
    """Returns the grams made of the numbered context (N,) and the last character of each."""
    _, first, numbers = np.unique(contexts * vocabulary_size + x, return_index=True, return_inverse=True)
    return _Grams(numbers.reshape(-1), first, contexts[first])


def _smoothed(counts: Numbers, grams: _Grams, scored: Numbers, below: Doubles) -> Doubles:
    """Returns the probability of each scored character (S,), given `below`, its probability in the shorter context."""
    size = int(grams.contexts.max()) + 1
    discounts = _discounts(counts)
    taken = discounts[np.minimum(counts, 3)]  # D(0) is 0
    sums = np.bincount(grams.contexts, weights=counts, minlength=size)
    freed = np.bincount(grams.contexts, weights=taken, minlength=size)
    here = grams.numbers[scored]
    context = grams.contexts[here]
    is_known = sums[context] > 0
    total = np.where(is_known, sums[context], 1.0)
    mixed = (counts[here] - taken[here] + freed[context] * below) / total
    return np.where(is_known, mixed, below)


def _discounts(counts: Numbers) -> Doubles:
    """Returns the discount D (4,) of a count of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):  # too few rare grams for an estimate, which then hardly matters
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = n1 / (n1 + 2 * n2)
    found = np.array([1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
    return np.concatenate(([0.0], np.clip(found, 0.0, [1.0, 2.0, 3.0])))
