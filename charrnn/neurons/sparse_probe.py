"""How few units tell a label: k-sparse probes, and the F1 of one unit at a threshold.

**k-sparse probing** (Gurnee, Nanda, Pauly, Harvey, Troitskii & Bertsimas 2023, arXiv 2305.01610): a linear probe of the
k best units, for k = 1, 2, 4, 8, ..., beside the *dense* probe of all. Where one unit tells as much as all do, a label
is local; where many are needed, it is spread out. All is learned on the first half of a text, and every probe is scored
on the second:

    probe     least squares with a ridge of the label on standardised activations (Hoerl & Kennard 1970, Technometrics
              12(1)); of a degree, on its ranks. It minimises |y - X w|^2 / N + ridge |w|^2. For yes or no this is
              Fisher's linear discriminant
    ridge     of the dense probe, for each label: of `RIDGES` the one with the best score on the last third of the first
              half, fitted on the two thirds before. A probe of k of D units has k / D of it, so that all of them expect
              the same variance to be explained
    ranking   the unit with the largest effect on the first half comes first, as in the atlas; then, one by one, the
              unit that lowers the squared error most beside those that were taken (forward selection by orthogonal
              least squares, Chen, Billings & Luo 1989, International Journal of Control 50(5)). Unlike a ranking by
              mean differences this takes no two copies of one thing. After `GREEDY` units the others follow by what
              each of them would add alone
    score     2 AUC - 1, or Spearman's rho, of the probe's predictions: 0 is chance, and a probe of one unit scores as
              the unit does
    k         the smallest of the numbers of units whose probe scores `SHARE` of the dense probe's score

The dense probe has the units of the state (h and, of an lstm, tanh c): gates are functions of the state before and of
the character read. k is told only where the dense probe is a discovery, as units are, and where the 95 % interval of
its score lies above `CLEAR`.

**F1** is the harmonic mean of precision and recall (van Rijsbergen 1979, Information Retrieval) at the threshold, and
with the direction, that are best on the first half, scored on the second.

Shape letters: N places, U recorded units, D units that are probed, L labels, R ridges, K numbers of units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.neurons.labels import Label
from charrnn.neurons.record import Unit
from charrnn.neurons.shifts import Shifts, shifted_p_value
from charrnn.neurons.statistics import Doubles, countable, discoveries, effects, ranks, sureness

Keys = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]

RIDGES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
GREEDY = 128
SHARE = 0.95
CLEAR = 0.1
"""The smallest score, an AUC of 0.55 or a rho of 0.1, of which it is told on how few units it rests."""
MOST_UNITS = 2048
"""The largest number of units that are probed: of more, those that tell some label best on the first half."""
NAMED = 8
"""The number of units at the head of the ranking that are named."""
_BLOCK = 1024  # places that are held as floats at a time
_LABELS = 16  # labels whose predictions are held at a time
_STILL = 1e-6  # the share of its variance that the units taken before must leave a unit


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold between the whole numbers that activations are kept as, chosen on the first half."""

    edge: int
    is_above: bool
    """Whether the label is said to hold from the edge upwards; else it is said to hold below it."""
    f1: float
    """The F1 on the second half."""


@dataclass(frozen=True, slots=True)
class KCurve:
    """The scores of probes of few units of the state for a label, and of the dense probe, on the second half."""

    counts: tuple[int, ...]
    """The numbers of units: 1, 2, 4, ... and last that of all units."""
    scores: tuple[float, ...]
    """The score of the probe of each number of units."""
    first: tuple[Unit, ...]
    """The units at the head of the ranking."""
    low: float | None
    """The lower end of the 95 % interval of the dense probe's score; None, as `high` and `p_value` are, where the
    prediction and the label are too slow for the text."""
    high: float | None
    p_value: float | None
    is_told: bool
    """Whether the dense probe tells the label clearly."""

    @property
    def dense(self) -> float:
        """The score of the probe of all units."""
        return self.scores[-1]

    @property
    def k(self) -> int | None:
        """The smallest number of units whose probe scores 95 % of what the dense one does; None where that tells
        nothing."""
        return fewest(self.counts, self.scores) if self.is_told else None


@dataclass(frozen=True, eq=False, slots=True)
class SparseProbe:
    """The probes of one label."""

    counts: tuple[int, ...]
    scores: Doubles
    """The scores on the second half, (K,)."""
    ranking: Places
    """The probed units, as numbers from 0 to D - 1, best first."""
    told: Doubles
    """The predictions of the dense probe on the second half, but for a constant, (N,)."""


def fewest(counts: Sequence[int], scores: Sequence[float]) -> int:
    """Returns the smallest of `counts` whose score is at least `SHARE` of the last one, which is above zero."""
    return next(count for count, score in zip(counts, scores, strict=True) if score >= SHARE * scores[-1])


def best_cut(keys: Keys, holds: Flags, then: Keys, then_holds: Flags) -> Cut:
    """Returns the threshold and direction with the best F1 of a unit's activations on the first half, `keys` (N,) where
    the label `holds`, and its F1 on the second, `then` (N,)."""
    levels = int(keys.max()) + 1
    counts = [np.bincount(some, minlength=levels) for some in (keys[holds], keys)]
    found = []
    for is_above in (True, False):
        # By edge: how many places at or above it, or below it, hold; and how many there are.
        hits, said = (each[::-1].cumsum()[::-1] if is_above else np.append(0, each[:-1].cumsum()) for each in counts)
        scores = 2 * hits / (said + holds.sum())
        best = np.flatnonzero(scores == scores.max())
        found.append((float(scores.max()), is_above, int(best[len(best) // 2])))  # in the middle between two values
    _, is_above, edge = max(found, key=lambda one: one[0])
    says = (then >= edge) == is_above
    return Cut(edge, is_above, float(2 * (says & then_holds).sum() / (says.sum() + then_holds.sum())))


def probed_rows(units: Sequence[Unit], states: Sequence[str], first: Doubles) -> Places:
    """Returns the places, among `units` (U), of the units that are probed, (D,): those of the kinds `states`, or of
    too many those with the largest effects for any label on the first half, `first` (U, L)."""
    rows = np.array([row for row, unit in enumerate(units) if unit.kind in states], np.int64)
    best = np.abs(np.nan_to_num(first[rows])).max(1)
    return np.sort(rows[np.argsort(-best, kind="stable")[:MOST_UNITS]])


def sparse_probes(
    keys: Sequence[Keys],
    rows: Places,
    labels: Sequence[npt.NDArray[Any]],
    is_graded: Flags,
    leaders: Places,
    report: Progress = lambda _done, _all: None,
) -> list[SparseProbe]:
    """Returns the probes of each label: fitted on the first half and scored on the second.

    `keys` are the activations (U, N) of both halves, as whole numbers, of which `rows` (D,) are probed; `labels` are
    the labels (L, N) there, of which none is constant on the first half. `leaders` (L,) are the units, from 0 to D - 1,
    that the rankings begin with. `report` is told how many of the labels are done.
    """
    (first, second), (learned, asked) = keys, labels
    D, N, L = len(rows), first.shape[1], len(learned)
    report(0, L)
    inputs, targets = _Inputs(first, rows), _targets(learned, is_graded)
    end = max(1, 2 * N // 3)
    sums = _Sums(D, L)
    sums.add(inputs.blocks(first, 0, end), targets[:, :end])
    ridges = _ridges(sums, inputs, first, end, learned[:, end:], is_graded)
    sums.add(inputs.blocks(first, end, N), targets[:, end:])
    gram, products = sums.covariances()
    counts = (*(1 << power for power in range((D - 1).bit_length())), D)
    weights = np.zeros((L, len(counts), D))
    for ridge in np.unique(ridges):
        chosen = ridges == ridge
        weights[chosen, -1] = solved(gram, products[:, chosen], float(ridge)).T
    rankings = []
    for number in range(L):
        report(number + 1, L)
        order = ranking(gram, products[:, number], int(leaders[number]))
        for place, count in enumerate(counts[:-1]):
            some, ridge = order[:count], float(ridges[number]) * count / D
            weights[number, place, some] = solved(gram[np.ix_(some, some)], products[some, number], ridge)
        rankings.append(order)
    told = inputs.told(second, weights, 0)
    return [
        SparseProbe(counts, _scores(some, label, one), order, some[-1].copy())
        for some, label, one, order in zip(told, asked, is_graded, rankings, strict=True)
    ]


def k_curves(
    probes: Sequence[SparseProbe],
    units: Sequence[Unit],
    labels: Sequence[Label],
    shifts: Shifts,
    places: Places,
    start: int,
    rate: float,
    report: Progress = lambda _done, _all: None,
) -> list[KCurve]:
    """Returns the curve of each label's probe, with how sure its dense probe is.

    `units` (D) are those probed, at `places` (N,) of the second half, which begins at `start`; `shifts` are those of
    labels round it. Of the curves that are told, no more than `rate` are expected to be chance.
    """
    curves = []
    for number, (probe, label) in enumerate(zip(probes, labels, strict=True)):
        report(number, len(labels))
        answers = countable(label.values[start:])
        sure = sureness(probe.told, answers[places - start], is_graded=label.is_graded)
        null = shifts.effects(probe.told, answers, is_graded=label.is_graded)
        scores, named = tuple(probe.scores.tolist()), tuple(units[unit] for unit in probe.ranking[:NAMED])
        p_value = shifted_p_value(scores[-1], null, sure.degrees)
        low, high, p = (sure.low, sure.high, p_value) if sure.is_known else (None, None, None)
        curves.append(KCurve(probe.counts, scores, named, low, high, p, is_told=low is not None and low > CLEAR))
    known = {number: curve.p_value for number, curve in enumerate(curves) if curve.p_value is not None}
    for number, is_found in zip(known, discoveries(list(known.values()), rate), strict=True):
        curves[number] = replace(curves[number], is_told=curves[number].is_told and bool(is_found))
    return curves


def solved(gram: Doubles, products: Doubles, ridge: float) -> Doubles:
    """Returns the weights of a ridge regression from the covariances of its inputs, (D, D), and with its targets,
    (D,) or (D, L)."""
    return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), products), np.float64)


def ranking(gram: Doubles, products: Doubles, leader: int) -> Places:
    """Returns the units (D,) in the order in which a forward selection takes them, `leader` first.

    `gram` (D, D) has the covariances of the units, `products` (D,) those with the label. The selection is a Cholesky
    decomposition with pivots, which leaves of every other unit what those taken do not explain.
    """
    D = len(gram)
    left: Doubles = gram.diagonal().copy()
    told = products.copy()
    least = np.maximum(_STILL * left, 1e-300)
    is_free, order = left > least, list[int]()
    rows = np.empty((min(GREEDY, D), D))
    while len(order) < len(rows) and is_free.any():
        begins = not order and is_free[leader]
        pick, taken = leader if begins else int(_gains(told, left, is_free).argmax()), len(order)
        root = math.sqrt(left[pick])
        rows[taken] = (gram[pick] - rows[:taken, pick] @ rows[:taken]) / root
        told -= rows[taken] * (told[pick] / root)
        left -= rows[taken] ** 2
        is_free &= left > least
        is_free[pick] = False
        order.append(pick)
    rest = np.setdiff1d(np.arange(D), order)
    others = rest[np.argsort(-_gains(told, left, is_free)[rest], kind="stable")]
    return np.concatenate([np.array(order, np.int64), others])


def _gains(told: Doubles, left: Doubles, is_free: Flags) -> Doubles:
    """Returns by how much each unit would lower the squared error; -1 for those that have nothing left to add."""
    found: Doubles = np.divide(told**2, left, out=np.full(len(told), -1.0), where=is_free)
    return found


class _Inputs:
    """Standardised activations of the probed units, by their means and spreads on the first half, block by block."""

    def __init__(self, first: Keys, rows: Places) -> None:
        self._rows = rows
        self._middle, self._scale = np.empty((2, len(rows), 1))
        for place, row in enumerate(rows):
            self._middle[place], self._scale[place] = first[row].mean(), first[row].std() or math.inf

    def blocks(self, keys: Keys, begin: int, end: int) -> Iterator[Doubles]:
        """Yields the inputs (D, places) at the places from `begin` to `end`."""
        for start in range(begin, end, _BLOCK):
            yield (keys[self._rows, start : min(start + _BLOCK, end)] - self._middle) / self._scale

    def told(self, keys: Keys, weights: Doubles, begin: int) -> Iterator[Doubles]:
        """Yields for each label the predictions (any, places) of its weights (L, any, D) at all places from `begin` on.

        Those of a few labels exist at a time.
        """
        for label in range(0, len(weights), _LABELS):
            some = weights[label : label + _LABELS]
            rows = some.reshape(-1, some.shape[-1])
            found = np.concatenate([rows @ block for block in self.blocks(keys, begin, keys.shape[1])], 1)
            yield from found.reshape(*some.shape[:2], -1)


class _Sums:
    """Sums of squares and products of inputs (D, N) and targets (L, N), added up block by block."""

    def __init__(self, inputs: int, targets: int) -> None:
        self._count = 0
        self._inputs, self._targets = np.zeros(inputs), np.zeros(targets)
        self._squares, self._products = np.zeros((inputs, inputs)), np.zeros((inputs, targets))

    def add(self, blocks: Iterator[Doubles], targets: Doubles) -> None:
        """Adds places: their inputs in blocks, and their targets."""
        begin = 0
        for block in blocks:
            end = begin + block.shape[1]
            some = targets[:, begin:end]
            self._count += end - begin
            self._inputs += block.sum(1)
            self._targets += some.sum(1)
            self._squares += block @ block.T
            self._products += block @ some.T
            begin = end

    def covariances(self) -> tuple[Doubles, Doubles]:
        """Returns the covariances of the inputs, (D, D), and with the targets, (D, L)."""
        middle, theirs = self._inputs / self._count, self._targets / self._count
        squares = self._squares / self._count - np.outer(middle, middle)
        return squares, self._products / self._count - np.outer(middle, theirs)


def _targets(labels: npt.NDArray[Any], is_graded: Flags) -> Doubles:
    """Returns what probes are fitted to, (L, N), with mean 0 and variance 1: yes or no, or the ranks of a degree."""
    found = (labels > 0).astype(np.float64)
    found[is_graded] = ranks(labels[is_graded])
    found -= found.mean(1, keepdims=True)
    found /= found.std(1, keepdims=True)
    return found


def _ridges(
    sums: _Sums, inputs: _Inputs, first: Keys, end: int, answers: npt.NDArray[Any], is_graded: Flags
) -> Doubles:
    """Returns the ridge of each label, (L,): that with the best score on the places of the first half from `end` on,
    where the labels are `answers`; among equals the largest."""
    gram, products = sums.covariances()
    weights = np.stack([solved(gram, products, ridge).T for ridge in RIDGES], 1)  # (L, R, D)
    told = inputs.told(first, weights, end)
    best = [int(_scores(*each).argmax()) for each in zip(told, answers, is_graded, strict=True)]
    return np.array(RIDGES)[best]


def _scores(told: Doubles, label: npt.NDArray[Any], is_graded: np.bool_) -> Doubles:
    """Returns the scores (K,) of predictions (K, N) for a label (N,); 0 where one of both is constant."""
    found: Doubles = np.nan_to_num(effects(told, label[None], np.array([is_graded]))[:, 0])
    return found
