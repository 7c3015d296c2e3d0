"""Artificial recordings: units and labels that change along a text and, unless they are made to, have no relation.

`memory` is the number of characters after which an autocorrelation has fallen to 1/e (for `lines`, about that).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from charrnn.neurons.labels import Label
from charrnn.settings.config import ModelConfig

Random = np.random.Generator
Series = npt.NDArray[np.float64]

ALPHABET = 5
HIDDEN = 15


def wander(random: Random, memory: float, length: int) -> Series:
    """An autoregression of order one: normal, with variance 1."""
    keep = math.exp(-1 / memory)
    before = math.ceil(10 * memory)
    drawn = lfilter([math.sqrt(1 - keep**2)], [1, -keep], random.standard_normal(length + before))
    return np.asarray(drawn[before:])


def switch(random: Random, memory: float, length: int) -> Series:
    """A telegraph: -1 or 1, for a length of text that is drawn anew each time."""
    turns = np.cumsum(random.random(length) < 1 / (2 * memory)) + random.integers(2)
    return np.asarray(turns % 2 * 2.0 - 1)


def rare(random: Random, memory: float, length: int) -> Series:
    """1 in about a tenth of the text, else -1: where an autoregression is high."""
    return np.where(wander(random, memory, length) > 1.3, 1.0, -1.0)


def lines(random: Random, memory: float, length: int) -> Series:
    """A position in the line that jumps back to 0, from 0 to about 1; lengths of lines differ by up to half."""
    lengths = random.uniform(1.5, 4.5, math.ceil(length / memory) + 20) * memory
    begins = np.cumsum(lengths).astype(np.int64) - int(random.uniform(0, 3) * memory)
    places = np.arange(length)
    last = np.searchsorted(begins, places, "right") - 1
    return np.where(last < 0, places, places - begins[last]) / (4.5 * memory)


def drift(random: Random, memory: float, length: int) -> Series:
    """A smooth line: an autoregression of an autoregression."""
    keep = math.exp(-2 / memory)
    before = math.ceil(10 * memory)
    drawn = lfilter([1.0], [1, -2 * keep, keep**2], random.standard_normal(length + before))[before:]
    return np.asarray(drawn / drawn.std())


KINDS: tuple[Callable[[Random, float, int], Series], ...] = (wander, switch, rare, lines, drift)


def label_of(
    kind: Callable[[Random, float, int], Series], number: int, random: Random, memory: float, length: int
) -> Label:
    """A label of a kind; of the kinds with more than two values, the first is a degree and the second is cut in two."""
    values = kind(random, memory, length)
    is_graded = kind not in (switch, rare) and not number
    least = 0 if kind in (switch, rare) else np.median(values)
    answers = np.rint(200 + 40 * values) if is_graded else values > least
    return Label(f"{kind.__name__} {number}", answers.astype(np.float32), is_graded)


def labels_without_relation(random: Random, memory: float, length: int) -> list[Label]:
    """A label of each kind, and another of the first."""
    return [label_of(kind, number % 2, random, memory, length) for number, kind in enumerate((*KINDS, KINDS[0]))]


class Recording:
    """An engine that reads out an artificial recording: as many units of each kind, at the place that was reached."""

    config = ModelConfig(cell="rnn", num_layers=1, hidden_size=HIDDEN, embedding_size=2)

    def __init__(self, random: Random, memory: float, length: int) -> None:
        kinds = [KINDS[unit % len(KINDS)] for unit in range(HIDDEN)]
        self._values = np.stack([np.tanh(kind(random, memory, length)).astype(np.float32) for kind in kinds], 1)

    def zero_state(self, lanes: int = 1) -> int:
        """The place before the first character."""
        return 0

    def record(self, ids: npt.ArrayLike, state: Any) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
        """Returns the units' values after each character, (T, 1, H), and the place after the last."""
        end = int(state) + len(np.asarray(ids))
        return {"h": self._values[int(state) : end, None]}, end
