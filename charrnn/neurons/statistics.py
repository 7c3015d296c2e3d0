"""Statistics of how well a unit tells a label: AUC, rank correlations, intervals and null distributions.

    AUC   the share of pairs, one place where the label holds and one where not, in which the unit is higher where it
          holds, ties counted half (Hanley & McNeil 1982, Radiology 143(1)); from the sum of ranks (Mann & Whitney 1947)
    rho   Spearman's rank correlation, ties averaged: for labels that are degrees
    score |2 AUC - 1| or |rho|: 0 for a unit that tells nothing, 1 for one that orders perfectly, whatever its sign

Text is autocorrelated, so that neighbours are not independent. Intervals come from waves that are longer than the
memory (`autocorrelated.py`); the null distribution from labels shifted round the text, which keeps their own
correlations (a plain shuffle would call everything significant). Where the text holds too few independent stretches of
the unit and the label, neither is told. Many labels are tested at once, so discoveries are chosen to control the false
discovery rate (Benjamini & Hochberg 1995, JRSS B 57(1)).

Shape letters: N samples, U units, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.neurons.autocorrelated import FEWEST_STRETCHES, Spread, chance_of, spread_of_independent, spread_of_mean
from charrnn.neurons.student import student_quantile

Doubles: TypeAlias = npt.NDArray[np.float64]
_ALL = 1 - 1e-12
_SMALL = 0.5  # a larger effect of two that repeat themselves exactly, such as lines of equal length, is not by chance


def ranks(values: npt.NDArray[Any]) -> Doubles:
    """Returns ranks from 1 along the last axis, equal values sharing their mean rank: (..., N) -> (..., N)."""
    if values.dtype == np.uint16:
        return np.stack([_ranks_by_counting(row) for row in values.reshape(-1, values.shape[-1])]).reshape(values.shape)
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    count = values.shape[-1]
    places = np.broadcast_to(np.arange(count), values.shape)
    is_new = np.ones(values.shape, bool)
    is_new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = np.maximum.accumulate(np.where(is_new, places, 0), axis=-1)
    is_last = np.ones(values.shape, bool)
    is_last[..., :-1] = is_new[..., 1:]
    last = np.minimum.accumulate(np.where(is_last, places, count - 1)[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty(values.shape, np.float64)
    np.put_along_axis(found, order, (first + last) / 2 + 1, -1)
    return found


def _ranks_by_counting(keys: npt.NDArray[np.uint16]) -> Doubles:
    """Returns the ranks of small whole numbers (N,), many times faster than by sorting them."""
    counts = np.bincount(keys)
    return (np.cumsum(counts) - (counts - 1) / 2)[keys]


def countable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns small whole numbers as such, so that `ranks` counts them; other values as they are."""
    whole = np.clip(values, 0, 65535).astype(np.uint16)
    return whole if (values == whole).all() else values


def effects(values: npt.NDArray[Any], labels: npt.NDArray[Any], is_graded: npt.NDArray[np.bool_]) -> Doubles:
    """Returns the signed effect of every unit for every label, (U, N), (L, N) -> (U, L): 2 AUC - 1, or rho if graded.

    An effect is NaN where a label (or, for rho, a unit) is constant.
    """
    ranked, N = ranks(values), values.shape[-1]
    centred = ranked - (N + 1) / 2
    found = np.empty((len(values), len(labels)))
    with np.errstate(invalid="ignore", divide="ignore"):
        yes_no = np.flatnonzero(~is_graded)
        holds = labels[yes_no] > 0
        positives = holds.sum(1)
        # The mean rank where the label holds, less that over all, as a share of the largest possible difference.
        found[:, yes_no] = 2 * (centred @ holds.T.astype(np.float64)) / (positives * (N - positives))
        graded = np.flatnonzero(is_graded)
        if len(graded):
            theirs = ranks(labels[graded]) - (N + 1) / 2
            scale = np.sqrt((centred**2).sum(1))[:, None] * np.sqrt((theirs**2).sum(1))[None]
            found[:, graded] = centred @ theirs.T / scale
    return found


def auc(values: npt.NDArray[Any], label: npt.NDArray[Any]) -> float:
    """Returns the AUC of one unit (N,) for one label of zeros and ones (N,)."""
    return float((effects(values[None], label[None], np.array([False]))[0, 0] + 1) / 2)


@dataclass(frozen=True, slots=True)
class Sureness:
    """How sure an effect is: its 95 % interval, and whether the text is long enough to say."""

    low: float
    high: float
    stretches: int
    """As how many independent stretches of text the unit and the label count."""
    degrees: int
    """The degrees of freedom of a test of chance."""

    @property
    def is_known(self) -> bool:
        """Whether they are enough. Where not, an interval and a p-value mean nothing."""
        return self.stretches >= FEWEST_STRETCHES


def sureness(values: npt.NDArray[Any], label: npt.NDArray[Any], *, is_graded: bool) -> Sureness:
    """Returns how sure the effect of a unit (N,) for a label (N,) is, both in the order of the text.

    The interval is Student's t of Fisher's z, atanh of the effect, which for 2 AUC - 1 is half the logit of the AUC. An
    interval must not exclude what a test does not reject: where a small z is within chance, it is at least as wide as
    that of chance. (A unit that is rarely on, by chance never where the label holds, would seem sure to tell it.)
    """
    effect = float(effects(values[None], label[None], np.array([is_graded]))[0, 0])
    if not np.isfinite(effect):  # a constant tells nothing, and that is sure
        return Sureness(0.0, 0.0, max(FEWEST_STRETCHES, len(values)), len(values))
    spread = spread_of_mean(contributions(values, label, effect, is_graded=is_graded))
    mine, theirs = (ranks(each) - (len(values) + 1) / 2 for each in (values, label))
    chance = chance_of(mine, theirs)
    total = float(mine @ theirs)
    stretches = chance.stretches if spread.is_known else min(chance.stretches, spread.stretches)
    if abs(effect) > _ALL or not spread.error:
        return Sureness(effect, effect, stretches, chance.degrees)
    width = spread.within() / (1 - effect**2)
    by_chance = chance.error * student_quantile(chance.degrees)
    if abs(effect) < _SMALL and 0 < abs(total) <= by_chance:
        width = max(width, by_chance * abs(effect / total))
    low, high = np.tanh([np.arctanh(effect) - width, np.arctanh(effect) + width])
    return Sureness(float(low), float(high), stretches, chance.degrees)


def contributions(values: npt.NDArray[Any], label: npt.NDArray[Any], effect: float, *, is_graded: bool) -> Doubles:
    """Returns by how much each place moves the effect (its influence function), (N,); the mean is 0.

    For the AUC they are the placements of each place among those of the other answer (DeLong, DeLong & Clarke-Pearson
    1988, Biometrics 44(3)). For rho they are those of a correlation, and of the ranks themselves (Croux & Dehon 2010,
    Statistical Methods & Applications 19(4)).
    """
    N, ranked = len(values), ranks(values)
    if not is_graded:
        found, holds = np.empty(N), label > 0
        for side, sign in ((holds, 1), (~holds, -1)):
            below = (ranked[side] - ranks(values[side])) / (N - side.sum())  # the share of the other side below each
            found[side] = (sign * (2 * below - 1) - effect) * N / side.sum()
        return found
    mine, theirs = (each - each.mean() for each in (ranked, ranks(label)))
    mine, theirs = mine / mine.std(), theirs / theirs.std()
    found = mine * theirs - effect * (mine**2 + theirs**2) / 2
    for given, one, other in ((values, mine, theirs), (label, theirs, mine)):
        # A place raises the ranks of all that lie above it, by one in N.
        level, which = np.unique(given, return_inverse=True)
        sums = np.bincount(which, weights=other - effect * one, minlength=len(level))
        found += (sums[::-1].cumsum()[::-1] - sums / 2)[which] / np.std(ranks(given))
    centred: Doubles = found - found.mean()
    return centred


def interval(values: npt.NDArray[Any], label: npt.NDArray[Any], *, is_graded: bool) -> tuple[float, float] | None:
    """Returns the 95 % interval of a signed effect; None where the unit and the label are too slow for the text."""
    found = sureness(values, label, is_graded=is_graded)
    return (found.low, found.high) if found.is_known else None


def mean_interval(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Returns a 95 % interval of the mean of `values` (N,), which are in the order of a text; None where they change
    too slowly for their number."""
    spread = spread_of_mean(values)
    return _around(values, spread) if spread.is_known else None


def mean_interval_of_independent(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Returns a 95 % interval of the mean of `values` (N,) that do not depend on each other, such as whole texts; of
    one alone it has no ends."""
    return _around(values, spread_of_independent(values))


def _around(values: npt.NDArray[Any], spread: Spread) -> tuple[float, float]:
    mean, width = float(values.mean()), spread.within()
    return mean - width, mean + width


def flipped_p_value(differences: Doubles, *, draws: int = 4000, seed: int = 0) -> float:
    """Returns the p-value of a two-sided test that the signs of differences in pairs (N,) are random.

    It is the share of random signs under which the mean is as far from 0, the true ones counted in (Fisher 1935, The
    Design of Experiments, section 21). It is valid for any number of pairs; few pairs never give a small p-value.
    """
    random = np.random.Generator(np.random.Philox(seed))
    signs = random.integers(0, 2, (draws, len(differences))) * 2 - 1
    means, mean = np.abs(signs @ differences), abs(float(differences.sum()))
    return float((1 + (means >= mean * (1 - 1e-12)).sum()) / (1 + draws))


def discoveries(p_values: npt.ArrayLike, rate: float = 0.05) -> npt.NDArray[np.bool_]:
    """Returns which p-values are discoveries while no more than `rate` of those are expected to be false."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    passed = p[order] <= rate * np.arange(1, len(p) + 1) / max(len(p), 1)
    found = np.zeros(len(p), bool)
    if passed.any():
        found[order[: np.flatnonzero(passed)[-1] + 1]] = True
    return found
