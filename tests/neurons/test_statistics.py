"""The statistics of the atlas against SciPy's and scikit-learn's, and against what defines them."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import false_discovery_control, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from charrnn.neurons import autocorrelated
from charrnn.neurons.autocorrelated import spread_of_mean
from charrnn.neurons.shifts import Shifts, shifted_p_value
from charrnn.neurons.statistics import (
    auc,
    contributions,
    discoveries,
    effects,
    flipped_p_value,
    interval,
    mean_interval,
    mean_interval_of_independent,
    ranks,
    sureness,
)
from tests.campaign._unrelated import wander

U, N, L = 5, 301, 4


def _values(seed: int, levels: int | None, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """With many ties where there are few levels."""
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((U, N)) if levels is None else random.integers(0, levels, (U, N))
    return drawn.astype(dtype)


@pytest.mark.parametrize(
    ("levels", "dtype"), [(None, np.float64), (None, np.float32), (7, np.float32), (7, np.uint16), (3000, np.uint16)]
)
def test_ranks_are_scipys(levels: int | None, dtype: Any) -> None:
    """Ties share their mean rank, sorted or counted, in one row or in many."""
    values = _values(1, levels, dtype)
    np.testing.assert_array_equal(ranks(values), rankdata(values, axis=1))
    np.testing.assert_array_equal(ranks(values[2]), rankdata(values[2]))


@pytest.mark.parametrize(("levels", "dtype"), [(None, np.float64), (5, np.float64), (40, np.uint16)])
def test_effects_are_those_of_the_references(levels: int | None, dtype: Any) -> None:
    """Each unit with each label to 1e-9: 2 AUC - 1 for yes and no, Spearman's rho for degrees."""
    values, random = _values(2, levels, dtype), np.random.default_rng(3)
    labels = np.stack([random.random(N) < 0.1, random.random(N) < 0.7, random.integers(0, 4, N), random.random(N)])
    is_graded = np.array([False, False, True, True])
    found = effects(values, labels.astype(np.float32), is_graded)
    for unit in range(U):
        for label in range(L):
            answer = labels[label].astype(np.float32)
            expected = (
                spearmanr(values[unit], answer).statistic
                if is_graded[label]
                else 2 * roc_auc_score(answer, values[unit]) - 1
            )
            assert found[unit, label] == pytest.approx(expected, abs=1e-9)
    assert auc(values[0], labels[0]) == pytest.approx(roc_auc_score(labels[0], values[0]), abs=1e-9)


def test_what_does_not_vary_has_no_effect_to_speak_of() -> None:
    """A label that always or never holds, and rho of a unit that is always the same: not a number, and no crash."""
    values = np.stack([np.arange(N), np.zeros(N)])
    labels = np.stack([np.ones(N), np.zeros(N), np.arange(N), np.zeros(N)])
    found = effects(values, labels, np.array([False, False, True, True]))
    assert np.isnan(found[:, [0, 1, 3]]).all()
    assert found[0, 2] == pytest.approx(1.0)
    assert np.isnan(found[1, 2])
    assert auc(values[1], (np.arange(N) % 2).astype(float)) == 0.5


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    """As SciPy adjusts p-values; none among none, all among zeros."""
    random = np.random.default_rng(4)
    for size in (1, 7, 300):
        p = np.where(random.random(size) < 0.3, random.random(size) * 0.01, random.random(size))
        for rate in (0.01, 0.05, 0.2):
            np.testing.assert_array_equal(discoveries(p, rate), false_discovery_control(p) <= rate)
    assert discoveries([]).tolist() == []
    assert discoveries([0.0, 0.0]).tolist() == [True, True]


def test_a_p_value_counts_the_observed_one_in() -> None:
    """By hand, two-sided: of four shifts one is as far from zero."""
    assert shifted_p_value(0.5, np.array([0.1, -0.6, 0.3, -0.2])) == pytest.approx(2 / 5)
    assert shifted_p_value(-0.9, np.array([0.1, -0.6, 0.3, -0.2])) == pytest.approx(1 / 5)


@pytest.mark.parametrize("is_graded", [False, True])
def test_intervals_cover_what_they_should(is_graded: bool) -> None:
    """Of independent samples with a known effect, about 95 % of the intervals hold it."""
    covered = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        hidden = random.standard_normal(600)
        label = (hidden if is_graded else hidden > 0.8).astype(np.float32)
        values = hidden + random.standard_normal(600)
        ends = interval(values, label, is_graded=is_graded)
        if ends is not None:
            covered.append(ends[0] <= _true_effect(is_graded) <= ends[1])
    assert len(covered) >= 59
    assert 0.88 <= np.mean(covered) <= 1.0


@functools.cache
def _true_effect(is_graded: bool) -> float:
    random = np.random.default_rng(99)
    hidden = random.standard_normal(200_000)
    label = (hidden if is_graded else hidden > 0.8).astype(np.float32)
    return float(effects((hidden + random.standard_normal(200_000))[None], label[None], np.array([is_graded]))[0, 0])


def test_the_interval_of_what_repeats_itself_is_wider() -> None:
    """A value that stays for thirty places at a time says less than as many independent ones: by the root of thirty."""
    random = np.random.default_rng(5)
    alone = random.standard_normal((2, 9000))
    lasting = np.repeat(random.standard_normal((2, 300)), 30, axis=1)
    widths = []
    for values, label in (alone, lasting):
        ends = interval(values, (label > 0).astype(np.float32), is_graded=False)
        assert ends is not None
        widths.append(ends[1] - ends[0])
    assert widths[1] == pytest.approx(30**0.5 * widths[0], rel=0.3)


@pytest.mark.parametrize("is_graded", [False, True])
@pytest.mark.parametrize("levels", [None, 4])
def test_contributions_are_the_jackknifes(is_graded: bool, levels: int | None) -> None:
    """Leaving out a place changes the effect by its contribution, divided by the others' number; with ties too."""
    random = np.random.default_rng(6)
    hidden = random.standard_normal(300)
    values, label = hidden + random.standard_normal(300), hidden if is_graded else hidden > 0.5
    if levels:
        values, label = np.round(values * levels / 4), np.round(label * levels / 4) if is_graded else label
    flags, label = np.array([is_graded]), np.asarray(label, np.float64)

    def effect(left_out: list[int]) -> float:
        return float(effects(np.delete(values, left_out)[None], np.delete(label, left_out)[None], flags)[0, 0])

    found = contributions(values, label, effect([]), is_graded=is_graded)
    left_out = np.array([299 * (effect([]) - effect([place])) for place in range(300)])
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert np.corrcoef(found, left_out)[0, 1] > 0.9999
    assert found.std() == pytest.approx(left_out.std(), rel=0.01)


@pytest.mark.parametrize("is_graded", [False, True])
def test_shifted_effects_are_those_of_shifted_labels(is_graded: bool) -> None:
    """Against labels that are really shifted, each part of the text by its own length; degrees have the ranks of the
    whole text, which is here sampled whole."""
    random = np.random.default_rng(7)
    label = np.repeat(random.integers(0, 2 + 5 * is_graded, 61), 10)[:601].astype(np.float64)
    values, places = random.standard_normal(601), np.arange(601)
    found = Shifts(places, 601, np.random.default_rng(8), 40).effects(values, label, is_graded=is_graded)
    lengths = np.random.default_rng(8).integers(30, 601 - 30, (2, 40))
    for one, other, effect in zip(*lengths, found, strict=True):
        turned = label[(places + np.where(2 * places // 601 == 0, one, other)) % 601]
        ranked = ranks(label)[(places + np.where(2 * places // 601 == 0, one, other)) % 601]
        expected = np.corrcoef(ranks(values), ranked)[0, 1] if is_graded else 2 * roc_auc_score(turned, values) - 1
        assert effect == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("memory", [1, 10])
def test_of_slow_pairs_without_relation_few_are_discoveries_and_of_planted_ones_nearly_all(memory: float) -> None:
    """200 units and labels that change slowly and have nothing to do with each other, a quarter of them degrees: alone
    one in twenty is significant, and none is a discovery; beside 200 in which the unit wanders with the label, no more
    than one in twenty of the discoveries is false. (20 of 200 is what three in a thousand such trials reach.)"""
    places, p_values = np.arange(2500), []
    shifts = Shifts(places, 2500, np.random.default_rng(10), 20_000)
    for number in range(400):
        random = np.random.default_rng([11, number])
        hidden, unit = wander(random, memory, 2500), wander(random, memory, 2500)
        unit += hidden if number >= 200 else 0
        is_graded = number % 4 == 0
        label = np.rint(30 * hidden) if is_graded else (hidden > 0.4).astype(np.float64)
        sure = sureness(unit, label, is_graded=is_graded)
        (effect,) = effects(unit[None], label[None], np.array([is_graded]))[0]
        null = shifts.effects(unit, label, is_graded=is_graded)
        p_values.append(shifted_p_value(float(effect), null, sure.degrees) if sure.is_known else 1.0)
    assert (np.array(p_values[:200]) <= 0.05).sum() < 20
    assert not discoveries(p_values[:200]).any()
    found = discoveries(p_values)
    assert found[:200].sum() <= 0.05 * found.sum()
    assert found[200:].mean() >= 0.95


def test_what_is_too_slow_is_not_told() -> None:
    """Two lines that drift have an effect and no interval; of a label that turns often enough there is one."""
    random = np.random.default_rng(9)
    drift = np.cumsum(random.standard_normal((2, 4000)), axis=1)
    slow = sureness(drift[0], (drift[1] > np.median(drift[1])).astype(np.float32), is_graded=False)
    assert not slow.is_known
    assert slow.stretches < 16
    assert interval(drift[0], drift[1], is_graded=True) is None
    assert mean_interval(drift[0]) is None
    fast = (random.random(4000) < 0.5).astype(np.float32)
    assert sureness(random.standard_normal(4000), fast, is_graded=False).is_known


def test_the_interval_of_a_mean_is_the_normal_one_where_samples_are_independent() -> None:
    """Two standard errors to each side, however often each is repeated; none where all alike are together; a constant
    has no width."""
    values = (np.random.default_rng(5).random(4000) < 0.3).astype(np.float64)
    ends, alone = mean_interval(values), mean_interval_of_independent(values)
    together = mean_interval(np.repeat(values, 16))
    assert ends is not None
    assert together is not None
    assert ends[0] < values.mean() < ends[1]
    assert alone[1] - alone[0] == pytest.approx(2 * 1.96 * values.std() / 4000**0.5, rel=0.01)
    assert ends[1] - ends[0] == pytest.approx(alone[1] - alone[0], rel=0.25)
    assert together[1] - together[0] == pytest.approx(ends[1] - ends[0], rel=0.25)
    assert mean_interval(np.sort(values)) is None
    assert mean_interval(np.ones(7)) == (1.0, 1.0)


def test_two_values_without_relation_have_an_interval_and_one_has_no_ends() -> None:
    """Student's t with one degree of freedom is wide; nothing at all is known of the spread of a single value."""
    low, high = mean_interval_of_independent(np.array([1.0, 3.0]))
    assert (low, high) == (pytest.approx(2 - 12.706, abs=1e-3), pytest.approx(2 + 12.706, abs=1e-3))
    assert mean_interval_of_independent(np.array([5.0])) == (-np.inf, np.inf)
    assert mean_interval_of_independent(np.ones(7)) == (1.0, 1.0)


@pytest.mark.parametrize("memory", [0.0, 0.99, 0.999])
def test_a_long_series_of_a_prime_length_is_summed_first(memory: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is transformed is a power of two, however long the series is: a prime length takes many times the time
    and the memory. The waves are those of the plain transform, and the error is all but its own."""
    N = 300_007
    terms = np.random.default_rng(6).standard_normal(N)
    terms = lfilter([1.0], [1.0, -memory], terms)
    transform, lengths = np.fft.rfft, []
    monkeypatch.setattr(np.fft, "rfft", lambda values: lengths.append(len(values)) or transform(values))
    found = spread_of_mean(terms)
    assert lengths == [1 << 18]
    monkeypatch.setattr(autocorrelated, "_MOST_TERMS", N)
    plain = spread_of_mean(terms)
    assert lengths[1:] == [2 * N]
    assert found.waves == plain.waves
    assert found.error == pytest.approx(plain.error, rel=1e-4)


def test_flipped_p_values_are_those_of_all_signs() -> None:
    """Against every one of 2^9; what always has one sign cannot be surer than 2 of them; no difference is no news."""
    differences = np.random.default_rng(5).normal(0.4, 1, 9)
    means = np.array([abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=9)])
    exact = float((means >= abs(differences.sum()) - 1e-12).mean())
    assert 0.02 < exact < 0.9
    assert flipped_p_value(differences, draws=40_000) == pytest.approx(exact, abs=0.01)
    assert flipped_p_value(np.full(4, 2.5), draws=40_000) == pytest.approx(2 / 16, abs=0.01)
    assert flipped_p_value(np.zeros(30)) == 1
