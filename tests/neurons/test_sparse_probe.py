"""How few units tell a label: probes against scikit-learn's, F1 against all thresholds, k against what is planted."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, roc_auc_score

from charrnn.neurons import sparse_probe
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Unit
from charrnn.neurons.shifts import Shifts
from charrnn.neurons.sparse_probe import (
    SparseProbe,
    best_cut,
    fewest,
    k_curves,
    probed_rows,
    ranking,
    solved,
    sparse_probes,
)
from tests.campaign._unrelated import wander

Doubles = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint16]

N = 2500
"""Places of each half: more than two blocks."""


def _kept(values: Doubles) -> Keys:
    """As whole numbers, as `make_atlas` keeps them."""
    return np.round(4000 * (1 + np.tanh(values / 3))).astype(np.uint16)


def _probed(
    values: Doubles, labels: Doubles, is_graded: bool = False, leader: int | None = None, half: int = N
) -> tuple[SparseProbe, Keys]:
    """The probe of one label (2 half,) by units (D, 2 half), and the units' whole numbers."""
    keys = _kept(values)
    if leader is None:
        leader = int(np.abs(np.corrcoef(keys[:, :half], labels[:half])[-1, :-1]).argmax())
    halves = [slice(0, half), slice(half, None)]
    (found,) = sparse_probes(
        [keys[:, some] for some in halves],
        np.arange(len(values)),
        [labels[None, some] for some in halves],
        np.array([is_graded]),
        np.array([leader]),
    )
    return found, keys


@pytest.mark.parametrize("is_graded", [False, True])
def test_every_probe_is_scikit_learns(is_graded: bool) -> None:
    """Of the dense probe and of each smaller one the scores, to 1e-9: ridge regression on standardised units, with the
    penalty that scores best on the last third of the first half; SciPy and scikit-learn score."""
    random, D = np.random.default_rng(1), 11
    values = random.standard_normal((D, 2 * N))
    values[5] = values[3] + 0.3 * random.standard_normal(2 * N)
    hidden = values[:4].sum(0) + random.standard_normal(2 * N)
    labels = np.rint(3 * hidden) if is_graded else (hidden > 1).astype(np.float64)
    found, keys = _probed(values, labels, is_graded)

    inputs = keys.astype(np.float64)
    inputs = ((inputs - inputs[:, :N].mean(1, keepdims=True)) / inputs[:, :N].std(1, keepdims=True)).T
    target = rankdata(labels[:N]) if is_graded else labels[:N]
    target = (target - target.mean()) / target.std()

    def score(fitted: Any, units: Any, some: slice) -> float:
        told = fitted.predict(inputs[some][:, units])
        answers = labels[some]
        return float(spearmanr(told, answers).statistic) if is_graded else 2 * roc_auc_score(answers, told) - 1

    end = 2 * N // 3
    tried = {
        ridge: score(Ridge(alpha=ridge * end).fit(inputs[:end], target[:end]), slice(None), slice(end, N))
        for ridge in sparse_probe.RIDGES
    }
    best = max(tried, key=lambda ridge: tried[ridge])
    assert found.counts == (1, 2, 4, 8, 11)
    for count, told in zip(found.counts, found.scores, strict=True):
        units = found.ranking[:count]
        fitted = Ridge(alpha=best * count / D * N).fit(inputs[:N][:, units], target)
        assert told == pytest.approx(score(fitted, units, slice(N, None)), abs=1e-9)
    dense = Ridge(alpha=best * N).fit(inputs[:N], target).predict(inputs[N:])
    np.testing.assert_allclose(found.told, dense, atol=1e-9)


def test_labels_asked_together_are_told_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the predictions of only a few of them are held at a time, and the last few are fewer."""
    monkeypatch.setattr(sparse_probe, "_LABELS", 2)
    random, many = np.random.default_rng(9), 5
    values = random.standard_normal((6, 600))
    labels = (values[:many] + 0.5 * random.standard_normal((many, 600)) > 0.3).astype(np.float64)
    labels[3] = np.rint(5 * values[3])
    is_graded = np.arange(many) == 3
    keys, leaders = _kept(values), np.arange(many)
    halves = [slice(0, 300), slice(300, None)]
    together = sparse_probes(
        [keys[:, some] for some in halves], np.arange(6), [labels[:, some] for some in halves], is_graded, leaders
    )
    assert len(together) == many
    for number, found in enumerate(together):
        alone, _ = _probed(values, labels[number], bool(is_graded[number]), number, half=300)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-12)
        np.testing.assert_allclose(found.told, alone.told, atol=1e-12)


def test_weights_are_those_of_the_normal_equations() -> None:
    """For one target and for several, to 1e-9."""
    random = np.random.default_rng(2)
    inputs, targets = random.standard_normal((40, 7)), random.standard_normal((40, 3))
    expected = np.linalg.lstsq(
        np.concatenate([inputs, np.sqrt(0.3 * 40) * np.eye(7)]), np.concatenate([targets, np.zeros((7, 3))]), rcond=None
    )[0]
    gram, products = inputs.T @ inputs / 40, inputs.T @ targets / 40
    np.testing.assert_allclose(solved(gram, products, 0.3), expected, atol=1e-9)
    np.testing.assert_allclose(solved(gram, products[:, 1], 0.3), expected[:, 1], atol=1e-9)


def test_the_ranking_is_forward_selection_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the leader each unit is the one whose least-squares fit beside those before has the smallest error; a copy
    of another unit, and one that never moves, come last; from `GREEDY` on each unit is judged by itself."""
    random, D = np.random.default_rng(3), 9
    inputs = random.standard_normal((200, D)) @ random.standard_normal((D, D))
    inputs[:, 6], inputs[:, 8] = inputs[:, 2], 0
    target = inputs[:, :5] @ random.standard_normal(5) + random.standard_normal(200)
    inputs -= inputs.mean(0)
    target -= target.mean()

    def error(units: list[int]) -> float:
        fitted = np.linalg.lstsq(inputs[:, units], target, rcond=None)[0]
        return float(((target - inputs[:, units] @ fitted) ** 2).sum())

    expected = [4]
    while len(expected) < 7:
        others = [
            unit
            for unit in range(D - 1)
            if unit not in expected
            and {unit, *expected} < {6, 2} | {*range(8)} - ({6} if 2 in expected else {2} if 6 in expected else set())
        ]
        expected.append(min(others, key=lambda unit: error([*expected, unit])))
    gram, products = inputs.T @ inputs / 200, inputs.T @ target / 200
    found = ranking(gram, products, 4)
    assert {2, 6} & {*found[7:]}
    assert [2 if unit == 6 else unit for unit in found[:7]] == [2 if unit == 6 else unit for unit in expected]
    assert sorted(found) == [*range(D)]
    monkeypatch.setattr(sparse_probe, "GREEDY", 3)
    short = ranking(gram, products, 4)
    assert [*short[:3]] == [*found[:3]]
    rest = [unit for unit in range(D) if unit not in {*short[:3], 8} and {unit, *short[:3]} != {2, 6}]
    gains = {unit: error([*short[:3]]) - error([*short[:3], unit]) for unit in rest}
    assert short[3] == max(gains, key=lambda unit: gains[unit])


@pytest.mark.parametrize("sign", [1, -1])
def test_f1_is_the_best_of_all_thresholds(sign: int) -> None:
    """On the first half, by scikit-learn's f1_score at each threshold in both directions; then scored on the second, to
    1e-9, with that threshold."""
    random = np.random.default_rng(4)
    holds = random.random(1200) < 0.2
    keys = (40 + sign * 9 * holds + 7 * random.standard_normal(1200)).astype(np.uint16)
    first, second = slice(0, 600), slice(600, None)
    found = best_cut(keys[first], holds[first], keys[second], holds[second])
    tried = {
        (edge, above): float(f1_score(holds[first], (keys[first] >= edge) == above, zero_division=0))
        for edge, above in itertools.product(np.unique(keys[first]), (True, False))
    }
    chosen = f1_score(holds[first], (keys[first] >= found.edge) == found.is_above)
    assert chosen == pytest.approx(max(tried.values()), abs=1e-9)
    assert found.is_above == (sign > 0)
    says = (keys[second] >= found.edge) == found.is_above
    assert found.f1 == pytest.approx(float(f1_score(holds[second], says)), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_graded", [False, True])
def test_k_is_1_for_what_one_unit_knows_alone(is_graded: bool, seed: int) -> None:
    """Among forty units of noise; also where others carry a copy of it, or a worse one."""
    random = np.random.default_rng([5, seed])
    values, hidden = random.standard_normal((40, 2 * N)), random.standard_normal(2 * N)
    labels = np.rint(4 * hidden) if is_graded else (hidden > 0.8).astype(np.float64)
    values[17] = hidden + 0.3 * random.standard_normal(2 * N)
    for alike in ({}, {3: values[17], 9: hidden + 2 * values[9]}):
        for unit, carried in alike.items():
            values[unit] = carried
        found, _ = _probed(values, labels, is_graded)
        assert fewest(found.counts, found.scores) == 1
        assert found.ranking[0] in {17, *alike}
        assert found.scores[0] > 0.8


@pytest.mark.parametrize("seed", range(8))
def test_k_is_larger_for_what_is_spread_out(seed: int) -> None:
    """A label carried by eight units, each with noise of its own that is as strong, needs all of them or nearly; the
    forty others are not among the first. One carried by two halves of a sum needs exactly those two."""
    random = np.random.default_rng([6, seed])
    values, hidden = random.standard_normal((48, 2 * N)), random.standard_normal(2 * N)
    values[8:16] += hidden
    found, _ = _probed(values, (hidden > 0).astype(np.float64))
    assert fewest(found.counts, found.scores) in (4, 8)
    assert found.scores[0] < 0.8 * found.scores[-1]
    assert {*found.ranking[:8]} == {*range(8, 16)}
    summed, _ = _probed(values, (values[30] + values[41] > 0.5).astype(np.float64))
    assert fewest(summed.counts, summed.scores) == 2
    assert {*summed.ranking[:2]} == {30, 41}


def test_curves_without_relation_are_not_told_and_others_are() -> None:
    """Among 200 pairs of a label and a state that both change slowly and have nothing to do with each other, and 100 in
    which one unit wanders with the label, no more than one in twenty of those told is false, and nearly all true ones
    are told. What is too slow for the text has no interval and no k."""
    units, labels, probes = [Unit(1, "h", index) for index in range(6)], [], []
    for number in range(301):
        random, is_related = np.random.default_rng([7, number]), number >= 200
        memory = 2000 if number == 300 else 10
        hidden, states = wander(random, memory, 2 * N), np.stack([wander(random, memory, 2 * N) for _ in units])
        states[3] += 2 * hidden if is_related else 0
        labels.append(Label(str(number), (hidden > 0.3).astype(np.float32)))
        probes.append(_probed(states, labels[-1].values.astype(np.float64))[0])
    places = np.arange(N, 2 * N)
    shifts = Shifts(places - N, N, np.random.default_rng(8), 20_000)
    curves = k_curves(probes, units, labels, shifts, places, N, 0.05)
    told = np.array([curve.is_told for curve in curves[:300]])
    assert told[:200].sum() <= 0.05 * told.sum()
    assert told[200:].mean() >= 0.95
    for curve in curves:
        assert (curve.k is None) == (not curve.is_told)
    assert {curve.k for curve in curves[200:300] if curve.is_told} == {1}
    assert all(curve.first[0] == units[3] for curve in curves[200:300])
    assert (curves[300].low, curves[300].high, curves[300].p_value, curves[300].k) == (None, None, None, None)


def test_a_weak_score_is_not_divided() -> None:
    """What is sure, and an AUC of less than 0.55: a twentieth of it less is chance."""
    random = np.random.default_rng(9)
    hidden = random.standard_normal(2 * 20_000)
    states = random.standard_normal((3, len(hidden))) + 0.08 * hidden
    label = Label("weak", (hidden > 0).astype(np.float32))
    places = np.arange(20_000, 40_000)
    shifts = Shifts(places - 20_000, 20_000, random, 200)
    probe, _ = _probed(states, label.values.astype(np.float64), half=20_000)
    (curve,) = k_curves([probe], [Unit(1, "h", 0)] * 3, [label], shifts, places, 20_000, 0.05)
    assert curve.p_value is not None
    assert curve.p_value < 0.05
    assert 0 < (curve.low or 0) < sparse_probe.CLEAR
    assert curve.k is None


def test_of_too_many_units_those_that_tell_most_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only units of the state, in their order."""
    units = [Unit(1, kind, index) for kind in "hcf" for index in range(3)]
    first = np.array([[0.1, 0.2], [0.5, 0], [0, np.nan], [0.2, -0.9], [0, 0], [0.3, 0.1], [1, 1], [1, 1], [1, 1]])
    assert probed_rows(units, ("h", "c"), first).tolist() == [*range(6)]
    monkeypatch.setattr(sparse_probe, "MOST_UNITS", 3)
    assert probed_rows(units, ("h", "c"), first).tolist() == [1, 3, 5]


def test_units_that_never_move_tell_nothing() -> None:
    """Neither alone nor together; their scores are 0, and there is no k."""
    random = np.random.default_rng(10)
    label = Label("any", (random.random(2 * N) < 0.3).astype(np.float32))
    probe, _ = _probed(np.zeros((3, 2 * N)), label.values.astype(np.float64), leader=0)
    assert probe.scores.tolist() == [0, 0, 0]
    places = np.arange(N, 2 * N)
    (curve,) = k_curves([probe], [Unit(1, "h", 0)] * 3, [label], Shifts(places - N, N, random, 200), places, N, 0.05)
    assert (curve.p_value, curve.k) == (1, None)
