"""Measures how holding units changes the text that the model writes: how often each label holds, with and without.

Texts come in pairs that were drawn with the same random numbers, one by the free model and one by the held one. Each
label's share (the mean, for degrees) is taken in every text; its change is the mean of the pairs' differences, with an
interval by Student's t over the pairs. A change counts as real where pairs swapped at random rarely differ as much:
with Bonferroni's correction, the chance that any label is wrongly named is one in twenty. Few pairs can show no change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.neurons.labels import labels_of
from charrnn.neurons.statistics import flipped_p_value, mean_interval_of_independent
from charrnn.wording import count

FEWEST = 4
"""The smallest number of pairs from which an interval is computed."""
_FALSE = 0.05
_FLIPS = 4000
_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Change:
    """One label: its mean in the free texts and in the held ones, and their difference with its 95 % interval."""

    label: str
    is_graded: bool
    free: float
    held: float
    low: float
    high: float
    is_change: bool
    """Whether the difference is significant, corrected for the number of labels."""

    @property
    def difference(self) -> float:
        """The mean in the held texts less the mean in the free ones."""
        return self.held - self.free


@dataclass(frozen=True, slots=True)
class Steered:
    """The changes, the most certain first, and the characters whose shares changed most: character, free, held."""

    pairs: int
    can_tell: bool
    """Whether there were enough pairs to show a change at all."""
    changes: list[Change]
    characters: list[tuple[str, float, float]]


def compare(free: Sequence[str], held: Sequence[str]) -> Steered:
    """Compares texts in pairs, without pairs that hold an empty text. Raises ValueError for fewer than `FEWEST`."""
    pairs = [pair for pair in zip(free, held, strict=True) if all(pair)]
    if len(pairs) < FEWEST:
        raise ValueError(f"there are too few texts to compare: {count(len(pairs), 'pair')}")
    labelled = [[labels_of(text) for text in pair] for pair in pairs]
    names = [(label.name, label.is_graded) for label in labelled[0][0]]
    means = np.array([[[label.values.mean() for label in labels] for labels in pair] for pair in labelled], np.float64)
    moves = [number for number in range(len(names)) if means[:, :, number].any()]
    changes, sureness, level = [], [], _FALSE / max(1, len(moves))
    for number in moves:
        differences = means[:, 1, number] - means[:, 0, number]
        low, high = mean_interval_of_independent(differences)
        is_change = flipped_p_value(differences, draws=max(_FLIPS, 100 * len(moves))) <= level
        before, after = means[:, :, number].mean(0)
        changes.append(Change(*names[number], float(before), float(after), low, high, is_change))
        width = (high - low) / 2
        sureness.append(abs(float(differences.mean())) / width if width else 0.0)
    order = sorted(range(len(changes)), key=lambda place: (not changes[place].is_change, -sureness[place]))
    return Steered(len(pairs), 2 ** (1 - len(pairs)) <= level, [changes[place] for place in order], _characters(pairs))


def _characters(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, float, float]]:
    counts = [Counter("".join(texts)) for texts in zip(*pairs, strict=True)]
    totals = [each.total() for each in counts]
    shares = {
        character: tuple(each[character] / total for each, total in zip(counts, totals, strict=True))
        for character in counts[0] | counts[1]
    }
    order = sorted(shares, key=lambda character: (-abs(shares[character][1] - shares[character][0]), character))
    return [(character, *shares[character]) for character in order[:_CHARACTERS]]  # type: ignore[misc]
