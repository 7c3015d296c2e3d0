"""What the last few characters tell of a label: the mean answer after the same characters, a probe without a network.

A unit that tells a label no better than this only detects characters.

Shape letters: L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.neurons.labels import Label
from charrnn.neurons.statistics import Doubles, effects

Ids = npt.NDArray[np.integer]

CONTEXT = 3


def from_characters(ids: Ids, first: slice, labels: Sequence[Label], places: npt.NDArray[np.int64]) -> Doubles:
    """Returns the effects (L,) of predicting each label from the last characters: learned on the first half of the
    text, measured on the second."""
    answers = np.stack([label.values[first] for label in labels])
    predicted = after_characters(contexts(ids), first, answers, places)
    return np.array([
        np.nan_to_num(effects(one[None], label.values[places][None], np.array([label.is_graded]))[0, 0])
        for one, label in zip(predicted, labels, strict=True)
    ])  # fmt: skip


def after_characters(
    codes: Iterable[npt.NDArray[np.int64]],
    learned: slice | npt.NDArray[np.int64],
    answers: npt.NDArray[Any],
    places: npt.NDArray[np.int64],
) -> Doubles:
    """Predicts `answers` (L, learned) from the last characters: returns the mean answer after the same characters as at
    each of `places`, (L, places).

    `codes` are those of `contexts`, from one character to several; where a long context was never seen, a shorter one
    counts.
    """
    predicted = np.repeat(answers.mean(1)[:, None], len(places), 1).astype(np.float64)
    for code in codes:
        seen, which = np.unique(code[learned], return_inverse=True)
        counts = np.bincount(which, minlength=len(seen))
        at = np.searchsorted(seen, code[places]).clip(max=len(seen) - 1)
        is_known = seen[at] == code[places]
        for number, answer in enumerate(answers):
            means = np.bincount(which, weights=answer, minlength=len(seen)) / counts
            predicted[number, is_known] = means[at[is_known]]
    return predicted


def contexts(ids: Ids) -> Iterator[npt.NDArray[np.int64]]:
    """Yields an array of codes for the last character at each place, then one for the last two, then for the last
    three."""
    codes = np.zeros(len(ids), np.int64)
    wide = ids.astype(np.int64) + 1
    base = int(wide.max()) + 1
    for back in range(CONTEXT):
        codes[back:] += wide[: len(wide) - back] * base**back
        yield codes.copy()
