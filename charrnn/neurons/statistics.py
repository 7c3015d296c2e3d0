"""Statistics of how well a unit tells a label: AUC, rank correlations, intervals and null distributions.

    AUC   the share of pairs, one place where the label holds and one where not, in which the unit is higher where it
          holds, ties counted half (Hanley & McNeil 1982, Radiology 143(1)); from the sum of ranks (Mann & Whitney 1947)
    rho   Spearman's rank correlation, ties averaged: for labels that are degrees
    score |2 AUC - 1| or |rho|: 0 for a unit that tells nothing, 1 for one that orders perfectly, whatever its sign

Text is autocorrelated, so that neighbours are not independent. Intervals come from blocks of text drawn with
replacement (Künsch 1989, Annals of Statistics 17(3)); the null distribution from labels shifted round the text,
which keeps their own correlations (a plain shuffle would call everything significant). Many labels are tested at once,
so discoveries are chosen to control the false discovery rate (Benjamini & Hochberg 1995, JRSS B 57(1)).

Shape letters: N samples, U units, L labels.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]
_LEVEL = 0.95
BLOCKS = 50
"""The number of stretches of a text that are drawn with replacement."""


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


def interval(
    values: npt.NDArray[Any],
    label: npt.NDArray[Any],
    *,
    is_graded: bool,
    blocks: int = BLOCKS,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns a 95 % interval of a signed effect, from `draws` resamples of `blocks` stretches of text.

    `values` and `label` are (N,), in the text's order.
    """
    random = np.random.Generator(np.random.Philox(seed))
    pieces = np.array_split(np.arange(len(values)), blocks)
    flags = np.array([is_graded])
    found = []
    for _ in range(draws):
        taken = np.concatenate([pieces[block] for block in random.integers(0, len(pieces), len(pieces))])
        found.append(effects(values[None, taken], label[None, taken], flags)[0, 0])
    tail = (1 - _LEVEL) / 2
    known = np.array(found)[np.isfinite(found)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def resampled_means(
    values: Doubles, masks: npt.NDArray[np.bool_], *, blocks: int = BLOCKS, draws: int = 4000, seed: int = 0
) -> Doubles:
    """Returns means (M, draws) of `values` (N,) where each of `masks` (M, N) holds, in `draws` resamples of the text.

    A resample is `blocks` stretches of the text with replacement, the same ones for every mask, so that differences of
    rows are resamples of differences. A mean is NaN where no place of its mask was drawn.
    """
    random = np.random.Generator(np.random.Philox(seed))
    begins = np.array([piece[0] for piece in np.array_split(np.arange(len(values)), min(blocks, len(values)))])
    sums = np.add.reduceat(np.where(masks, values, 0.0), begins, axis=1)  # (M, blocks)
    counts = np.add.reduceat(masks.astype(np.float64), begins, axis=1)
    taken = random.multinomial(
        len(begins), np.full(len(begins), 1 / len(begins)), draws
    ).T  # how often each block was drawn, (blocks, draws)
    with np.errstate(invalid="ignore"):
        means: Doubles = (sums @ taken) / (counts @ taken)
    return means


def mean_interval(values: Doubles, *, blocks: int = BLOCKS, draws: int = 4000, seed: int = 0) -> tuple[float, float]:
    """Returns a 95 % interval of the mean of `values` (N,), in the text's order, by resampling it."""
    drawn = resampled_means(values, np.ones((1, len(values)), bool), blocks=blocks, draws=draws, seed=seed)[0]
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def shifted_p_value(effect: float, null: Doubles) -> float:
    """Returns the p-value of a two-sided test: the share of shifted labels that score as high as `effect`, which is
    counted in."""
    return float((1 + (np.abs(null) >= abs(effect)).sum()) / (1 + len(null)))


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
