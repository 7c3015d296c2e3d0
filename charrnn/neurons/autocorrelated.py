"""How sure a mean is whose terms are autocorrelated, and when a text is too short to say.

Neighbours in a text are alike, so that N terms are worth fewer independent ones. The variance of their mean is the
spectrum of the terms at frequency zero, divided by N. It is estimated from cosines over the whole text, the first of
which is half a wave long:

    Lambda_j = sqrt(2 / N) sum_t x_t cos(pi j (t - 1/2) / N),  j = 1 ... B
    variance of the mean = mean over j of Lambda_j^2, divided by N

The mean, divided by the root of this, has Student's t distribution with B degrees of freedom where the spectrum is flat
over these waves (Müller 2007, Journal of Econometrics 141(2); Lazarus, Lewis, Stock & Watson 2018, Journal of Business
& Economic Statistics 36(4)). Waves play here the part of blocks in a bootstrap (Künsch 1989): each of them has to be
longer than the memory of the terms. So B is chosen from the terms: it is at most 0.4 times the geometric mean of the
frequencies in which the variance of the slow terms lies (for an autoregression of order one this mean is the corner of
its spectrum, N / (pi memory)), and is halved as long as the slower half of the waves varies more than the faster half,
by an F test at one in five, which finds slow changes below much noise. Where fewer than 8 waves are left, the terms are
too slow for the text, and nothing is said. (The last halving also asks that the slowest waves vary six times as much
as all others, lest one text in a hundred be called too short by chance.) A bootstrap of fifty blocks covers the truth
in 53 % of the intervals where the memory is a tenth of the text.

Two series without relation have the same trouble (Yule 1926; Granger & Newbold 1974; for neurons Elber-Dorozko &
Loewenstein 2018, eLife 7:e34231, and Harris 2020, bioRxiv 2020.11.29.402719): the sum of their products has the
variance sum_k of the products of their autocovariances (Bartlett 1935, Journal of the Royal Statistical Society 98(3);
Bretherton et al. 1999, Journal of Climate 12(7)), that is the sum of the products of their spectra. The geometric mean
of the frequencies of this product, times e, is the number of independent *stretches*: N for two series of which
neighbours are independent, two fifths of N / memory for two autoregressions, and few where one of the two is slow.
With fewer than 32 of them that variance is not known well enough for a test: in simulations, tests at 5 % by shifted
labels reject 4 to 6 % from about 16 stretches on, and 10 to 14 % with four.

Shape letters: N terms in the order of the text, B waves.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.neurons.student import student_quantile

FEWEST_STRETCHES = 32
"""The smallest number of independent stretches from which anything is told."""
_FEWEST_WAVES = 8
_MOST_WAVES = 64
_SLOW = 256
"""The number of the slowest waves in which it is sought where the variance of the terms lies."""
_MOST_TERMS = 1 << 17
"""The most terms that are transformed. Neighbours in longer series are summed first, which moves the error by less than
1e-4 of itself: a transform whose length has a large prime factor takes gigabytes and seconds for millions of terms."""
_OF_THE_CORNER = 0.4
_TOO_STEEP = 6.0
_MOST_DEGREES = 100
_FOUR_IN_FIVE = 0.8416  # the normal quantile

Doubles = npt.NDArray[np.float64]


class Spread(NamedTuple):
    """The standard error of a mean, and how many waves it was estimated from: its degrees of freedom."""

    error: float
    waves: int

    @property
    def is_known(self) -> bool:
        """Whether the text is long enough for the error to mean anything."""
        return self.waves >= _FEWEST_WAVES

    @property
    def stretches(self) -> int:
        """As how many independent stretches the text counts where it is too short; else `FEWEST_STRETCHES` or more."""
        return self.waves * FEWEST_STRETCHES // _FEWEST_WAVES

    def within(self, share: float = 0.95) -> float:
        """Returns by how much the mean differs from the truth at most, with probability `share`."""
        return self.error * student_quantile(max(1, self.waves), share)


class Chance(NamedTuple):
    """The standard error of the sum of products of two series without relation, and how many stretches it is from."""

    error: float
    stretches: int

    @property
    def degrees(self) -> int:
        """The degrees of freedom, which are fewer than the stretches: their spectra are estimated as well."""
        return max(1, min(_MOST_DEGREES, self.stretches // 3))


def spread_of_mean(terms: npt.NDArray[Any]) -> Spread:
    """Returns the standard error of the mean of `terms` (N,), which are in the order of the text."""
    N = len(terms)
    centred = np.asarray(terms, np.float64) - terms.mean(dtype=np.float64)
    if np.abs(centred).max() <= 1e-12 * np.abs(terms).max():
        return Spread(0.0, _MOST_WAVES)  # what never changes is known, however short the text
    powers = _cosines(centred, max(1, min(_SLOW, N - 1))) ** 2
    most = waves = min(_MOST_WAVES, int(_OF_THE_CORNER * _geometric_mean(powers)))
    while waves >= _FEWEST_WAVES:
        half = waves // 2
        slower = float(powers[:half].mean())
        if slower <= _steepest(half) * powers[half : 2 * half].mean():
            break
        if half < _FEWEST_WAVES and slower <= _TOO_STEEP * powers[half:most].mean():
            break  # it was chance, which the test gives one time in five, and not a mountain of slow waves
        waves = half
    return Spread(math.sqrt(float(powers[: max(1, waves)].mean()) / N), waves)


def spread_of_independent(terms: npt.NDArray[Any]) -> Spread:
    """Returns the standard error of the mean of `terms` (N,) that do not depend on each other, such as whole texts."""
    N = len(terms)
    return Spread(float(np.std(terms, ddof=1)) / math.sqrt(N) if N > 1 else math.inf, N - 1)


def chance_of(first: Doubles, second: Doubles) -> Chance:
    """Returns the standard error that the sum of products of two centred series, both (N,), has without relation."""
    N = len(first)
    # Twice the length: what leaves the text at its end does not come in again at its beginning.
    one, other = (np.abs(np.fft.rfft(series, 2 * N)) ** 2 for series in (first, second))
    powers = one * other
    if not powers.any():
        return Chance(0.0, N)
    variance = float(2 * powers.sum() - powers[0] - powers[-1]) / (2 * N) / N
    return Chance(math.sqrt(variance), min(N, int(math.e * _geometric_mean(powers[1:]))))


def _cosines(terms: Doubles, waves: int) -> Doubles:
    """Returns Lambda_1 ... Lambda_waves, from the Fourier transform of the terms and their mirror image."""
    N = len(terms)
    if N > _MOST_TERMS:
        sums = np.add.reduceat(terms, np.arange(_MOST_TERMS, dtype=np.int64) * N // _MOST_TERMS)
        return _cosines(sums, waves) * math.sqrt(_MOST_TERMS / N)
    places = np.arange(1, waves + 1)
    transformed = np.fft.rfft(np.concatenate((terms, terms[::-1])))[1 : waves + 1]
    found: Doubles = (transformed * np.exp(-0.5j * np.pi * places / N)).real * math.sqrt(0.5 / N)
    return found


def _geometric_mean(powers: Doubles) -> float:
    """Returns the geometric mean of the frequencies 1, 2, ..., weighted by the power at each."""
    return math.exp(float(powers @ np.log(np.arange(1, len(powers) + 1))) / float(powers.sum()))


def _steepest(degrees: int) -> float:
    """Returns the ratio that two variances with as many degrees of freedom each exceed in one of five cases, if they
    are equal: the quantile of F, to 0.2 %, by Paulson 1942, Annals of Mathematical Statistics 13(2)."""
    part = 2 / (9 * degrees)
    outer, inner = (1 - part) ** 2 - _FOUR_IN_FIVE**2 * part, (1 - part) ** 2
    return ((inner + math.sqrt(inner**2 - outer**2)) / outer) ** 3
