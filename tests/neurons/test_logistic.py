"""L1 logistic regression: against scikit-learn, by the rules of a minimum, and where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from charrnn.neurons import logistic
from charrnn.neurons.logistic import fit

Doubles = npt.NDArray[np.float64]
_IS_NEW = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
_L1: dict[str, Any] = {"l1_ratio": 1.0} if _IS_NEW else {"penalty": "l1"}


def objective(x: Doubles, y: npt.NDArray[np.bool_], weights: Doubles, intercept: float, C: float) -> float:
    """What is minimised, by its formula."""
    margins = np.where(y, 1.0, -1.0) * (x @ weights + intercept)
    return float(C * np.logaddexp(0.0, -margins).sum() + np.abs(weights).sum())


def violation(x: Doubles, y: npt.NDArray[np.bool_], weights: Doubles, intercept: float, C: float) -> float:
    """How far the rules of a minimum fail: the largest element of the smallest subgradient."""
    errors = C * (expit(x @ weights + intercept) - y)
    slopes = errors @ x
    beyond = np.where(weights == 0, np.maximum(np.abs(slopes) - 1, 0), np.abs(slopes + np.sign(weights)))
    return max(abs(float(errors.sum())), float(beyond.max()))


def _samples(N: int, D: int, noise: float, seed: int = 0) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Correlated features, of which the first three tell the answer as far as `noise` lets them."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(N, 4))
    x = causes @ random.normal(size=(4, D)) + random.normal(size=(N, D))
    x = (x - x.mean(0)) / x.std(0)
    return x, x[:, :3].sum(1) + noise * random.normal(size=N) > 0.7


@pytest.mark.parametrize("C", [0.1, 0.4, 5.0])
def test_as_low_as_scikit_learn_and_at_the_same_place(C: float) -> None:
    """The objective is no higher than saga's, and the weights are its weights."""
    x, y = _samples(83, 7, 1.5)
    theirs = LogisticRegression(**_L1, C=C, solver="saga", tol=1e-12, max_iter=200_000, random_state=0)
    theirs.fit(x, y)
    weights, intercept = theirs.coef_[0], float(theirs.intercept_[0])
    ours = fit(x, y, C)
    reached = objective(x, y, ours.weights, ours.intercept, C)
    assert reached <= objective(x, y, weights, intercept, C) * (1 + 1e-9)
    np.testing.assert_allclose(ours.weights, weights, atol=2e-6)
    assert ours.intercept == pytest.approx(intercept, abs=2e-6)
    np.testing.assert_allclose(ours.decide(x), theirs.decision_function(x), atol=2e-5)


def test_as_low_as_liblinear_with_more_features_than_samples() -> None:
    """liblinear penalises its intercept: with none, on answers that need none, both have the same objective."""
    x, _ = _samples(40, 61, 1.0)
    x = np.concatenate([x, -x])
    y = np.concatenate([x[:40, 0] > 0, x[:40, 0] <= 0])  # as many yes as no, mirrored: the intercept is 0
    for C in (0.1, 2.0):
        theirs = LogisticRegression(
            **_L1, C=C, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=100_000, random_state=0
        ).fit(x, y)
        ours = fit(x, y, C)
        assert ours.intercept == pytest.approx(0.0, abs=1e-9)
        reached = objective(x, y, ours.weights, ours.intercept, C)
        assert reached <= objective(x, y, theirs.coef_[0], 0.0, C) * (1 + 1e-9)


@pytest.mark.parametrize(("N", "D", "noise"), [(211, 19, 1.0), (97, 130, 0.0), (60, 230, 5.0)])
def test_the_rules_of_a_minimum_hold(N: int, D: int, noise: float) -> None:
    """Along a path, from one answer to the next and from nothing; what the fit says of itself is so."""
    x, y = _samples(N, D, noise, seed=N)
    x[:, 5] = x[:, 4]  # twins
    x[:, 6] = 0.0
    before = None
    for power in range(-8, 5, 2):
        C = 2.0**power
        before = fit(x, y, C, before)
        assert violation(x, y, before.weights, before.intercept, C) <= 1e-6
        assert before.violation <= logistic.TOLERANCE
        assert before.weights[6] == 0
        alone = fit(x, y, C)
        one, two = (objective(x, y, each.weights, each.intercept, C) for each in (before, alone))
        assert one == pytest.approx(two, rel=1e-10)


def test_a_violation_is_seen() -> None:
    """Of weights that are none, and of an answer that is off by a little."""
    x, y = _samples(120, 9, 1.0)
    assert violation(x, y, np.zeros(9), 0.0, 1.0) > 1
    found = fit(x, y, 1.0)
    assert violation(x, y, found.weights, found.intercept + 1e-3, 1.0) > 1e-3


def test_a_huge_penalty_leaves_no_weight() -> None:
    """Up to C = 1 / max |x' (y - mean y)|, and not beyond; the intercept is the log-odds."""
    x, y = _samples(75, 11, 1.0)
    edge = 1 / np.abs((y - y.mean()) @ x).max()
    for C in (1e-9, 0.999 * edge):
        found = fit(x, y, C)
        assert not found.weights.any()
        assert found.intercept == pytest.approx(np.log(y.mean() / (1 - y.mean())))
    assert np.count_nonzero(fit(x, y, 1.001 * edge).weights) == 1


def test_one_feature_of_two_values_has_a_closed_form() -> None:
    """x = 1 or -1 as often as each other: of n samples a agree with it, and sigmoid(w) = (a - 1 / C) / n."""
    x = np.array([1.0] * 30 + [-1.0] * 30)
    y = x > 0
    y[[0, 1, 2, 3, 4, 30, 31, 32, 33, 34]] ^= True
    C = 0.25
    p = (50 - 1 / C) / 60
    found = fit(x[:, None], y, C)
    assert found.weights[0] == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    assert found.intercept == pytest.approx(0.0, abs=1e-9)


def test_answers_that_a_feature_tells_apart_have_finite_weights() -> None:
    """The penalty holds them where no likelihood does; extreme scales and few samples of one kind do no harm."""
    x = np.linspace(-1, 1, 50)[:, None] * np.array([1.0, 1e3, 1e-4])
    for y in (x[:, 0] > 0, x[:, 0] > 0.95):
        for C in (0.01, 1.0, 100.0):
            found = fit(x, y, C)
            assert violation(x, y, found.weights, found.intercept, C) <= 1e-6
