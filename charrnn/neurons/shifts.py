"""What a unit tells of a label by chance: the effects that it has for the label shifted round the text.

A shifted label keeps its own correlations and loses its relation to the unit (Harris 2020, bioRxiv 2020.11.29.402719,
compares such tests). The shifted effects are as good a sample of chance as the text is long for the memory of both:
`autocorrelated.py` says where it is too short.

Shape letters: S characters of the text, N sampled places of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.neurons.statistics import Doubles, ranks
from charrnn.neurons.student import student_p_value

Complexes: TypeAlias = npt.NDArray[np.complex128]

NEAREST = 20
"""Shifts are by a part in so many of the text, or more."""
_MANY = 100
_STILL = 1e-9  # a label whose values spread less than this counts as constant


class Shifts:
    """Shifts of labels round a text of S characters, by a twentieth of it or more; units were read at `places` (N,).

    The two parts of the text before and after its middle are shifted by different lengths. Otherwise, where all lines
    are equally long, a shift by whole lines would change no position in the line, which one shift in a line's length
    is, and a perfect effect would seem to be chance.

    The sums of each part for every length come from Fourier transforms, of which those that do not depend on unit and
    label are kept. A transform is over 2S numbers, a label laid end to end twice, and takes 16 S bytes; about ten such
    arrays exist at a time.
    """

    def __init__(
        self, places: npt.NDArray[np.int64], characters: int, random: np.random.Generator, shifts: int
    ) -> None:
        self._places, self._characters = places, characters
        least = max(1, characters // NEAREST)
        self._lengths = random.integers(least, max(least + 1, characters - least), (2, shifts))
        self._parts = [2 * places // characters == part for part in range(2)]
        self._long = _fast_length(2 * characters)
        self._marked = [self._transformed(np.ones(part.sum()), part) for part in self._parts]

    def effects(self, values: npt.NDArray[Any], label: npt.NDArray[Any], *, is_graded: bool) -> Doubles:
        """Returns the effects (shifts,) of a unit's values (N,) for its label (S,), which is shifted.

        A degree's ranks are those over the whole text.
        """
        N = len(values)
        answers = ranks(label) if is_graded else (label > 0).astype(np.float64)
        answers -= (middle := float(answers.mean()))
        centred = ranks(values) - (N + 1) / 2
        turned = self._turned(answers)
        products = self._sums(turned, [self._transformed(centred[part], part) for part in self._parts])
        sums = self._sums(turned, self._marked)
        if is_graded:
            squares = self._sums(self._turned(answers**2), self._marked)
        else:  # of zeros and ones, less their mean
            squares = (1 - 2 * middle) * sums + N * middle * (1 - middle)
        spread = np.maximum(squares - sums**2 / N, 0)  # of the answers that fall on the places
        scale = np.sqrt((centred**2).sum() * spread) if is_graded else N * spread / 2
        is_known = (spread > _STILL * N) & (scale > 0)
        return np.divide(products, scale, out=np.zeros(len(products)), where=is_known)

    def _transformed(self, weights: Doubles, part: npt.NDArray[np.bool_]) -> Complexes:
        placed = np.zeros(self._characters)
        placed[self._places[part]] = weights
        return np.fft.rfft(placed, self._long).conj()

    def _turned(self, answers: Doubles) -> Complexes:
        return np.fft.rfft(np.tile(answers, 2), self._long)

    def _sums(self, turned: Complexes, weighted: Sequence[Complexes]) -> Doubles:
        """Returns the weighted sums of shifted answers over both parts, for each shift."""
        first, second = (
            np.fft.irfft(one * turned, self._long)[lengths]
            for one, lengths in zip(weighted, self._lengths, strict=True)
        )
        return np.asarray(first + second, np.float64)


def shifted_p_value(effect: float, null: Doubles, degrees: int = _MANY) -> float:
    """Returns the p-value of a two-sided test: the share of shifted labels that score as high as `effect`, which is
    counted in.

    Of slow series few shifts are independent of each other, and the spread of the null distribution is not well known:
    with fewer than a hundred `degrees` of freedom the p-value is that of Student's t at the normal quantile of the
    share.
    """
    share = float((1 + (np.abs(null) >= abs(effect) * (1 - 1e-9)).sum()) / (1 + len(null)))
    if degrees >= _MANY or share >= 1:
        return share
    return student_p_value(NormalDist().inv_cdf(1 - share / 2), degrees)


def _fast_length(least: int) -> int:
    """Returns a length of at least `least` that Fourier transforms are fast for: a product of small primes."""
    return min(odd << max(0, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15, 25))
