"""Logistic regression with an L1 penalty: the few features that tell a yes from a no.

    minimise over w, b   C sum_n log(1 + exp(-s_n (x_n w + b))) + |w|_1        s_n = 1 for yes, -1 for no

This is the objective of scikit-learn's LogisticRegression with an l1 penalty and an intercept that is not penalised. It
is convex, and (w, b) is its minimum if and only if, with g the gradient of the first term,

    g_j = -sign(w_j) where w_j is not 0,    |g_j| <= 1 where it is,    and g_b = 0

so the largest violation of these conditions (`violation`) says how good a solution is, however it was found. The method
is Newton's on an active set: each step takes the features with a weight and those that violate the conditions most,
minimises the objective's quadratic model with its penalty exactly, and goes so far that the objective falls (Yuan, Ho &
Lin 2012, JMLR 13: newGLMNET; coordinate descent for the model: Friedman, Hastie & Tibshirani 2010, J. Stat. Software
33(1)). For more than two classes the caller fits one against the rest.

Shape letters: N samples, D features, S the features of a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.neurons.statistics import Doubles

Truths = npt.NDArray[np.bool_]

TOLERANCE = 1e-8
"""The largest violation of the conditions that a solution may have, in units of the penalty's slope, which is 1."""
_STEPS = 200
_SWEEPS = 60
_MORE = 100  # features that may join in a step, if more than twice as many would
_RIDGE = 1e-12
_HALVINGS = 40
_DECREASE = 1e-4
_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class Fit:
    """A minimum of the objective: `x @ weights + intercept` is above 0 where yes is the likelier answer."""

    weights: Doubles
    """The weights of the features, (D,), most of them 0."""
    intercept: float
    violation: float
    """The largest violation of the conditions: `TOLERANCE` or less, unless rounding of large numbers prevents it."""

    def decide(self, x: Doubles) -> Doubles:
        """Returns the log-odds of a yes: (..., D) -> (...)."""
        decided: Doubles = x @ self.weights + self.intercept
        return decided


def fit(x: Doubles, y: Truths, C: float, start: Fit | None = None) -> Fit:
    """Returns the minimum for samples x (N, D) and answers y (N,), among which there must be both a yes and a no.

    The search begins at `start`, for which the solution for another C is a good choice.
    """
    assert 0 < y.sum() < len(y), "with one answer only the intercept has no end"
    w = np.zeros(x.shape[1]) if start is None else start.weights.copy()
    share = y.mean()
    b = float(np.log(share / (1 - share))) if start is None else start.intercept
    signs, z = np.where(y, 1.0, -1.0), x @ w + b
    value = _loss(signs, z, C) + np.abs(w).sum()
    best = Fit(w, b, np.inf)
    for _ in range(_STEPS):
        chances = _sigmoid(z)
        slopes, slope = _slopes(x, y, chances, C)
        found = _violation(w, slopes, slope)
        if found < best.violation:
            best = Fit(w, b, found)
        if found <= TOLERANCE:
            break
        chosen = _chosen(w, slopes)
        columns = np.column_stack([x[:, chosen], np.ones(len(x))])  # the intercept comes last
        hessian = (columns * (C * chances * (1 - chances))[:, None]).T @ columns
        penalties = np.append(np.ones(len(chosen)), 0.0)
        here = np.append(w[chosen], b)
        gradient = np.append(slopes[chosen], slope)
        step = _quadratic(hessian, gradient, here, penalties) - here
        expected = gradient @ step + penalties @ (np.abs(here + step) - np.abs(here))
        moved, rest = columns @ step, np.abs(w).sum() - np.abs(here) @ penalties
        length = 1.0
        for _ in range(_HALVINGS):
            there = here + length * step
            reached = _loss(signs, z + length * moved, C) + rest + np.abs(there) @ penalties
            if reached - value <= _DECREASE * length * expected + _ROUNDING * abs(value):
                break
            length /= 2
        else:
            break  # rounding hides any further decrease
        w = w.copy()
        w[chosen], b = there[:-1], float(there[-1])
        z, value = x @ w + b, reached
    return best


def _loss(signs: Doubles, z: Doubles, C: float) -> float:
    return float(C * np.logaddexp(0.0, -signs * z).sum())


def _sigmoid(z: Doubles) -> Doubles:
    small = np.exp(-np.abs(z))
    chances: Doubles = np.where(z >= 0, 1.0, small) / (1 + small)
    return chances


def _slopes(x: Doubles, y: Truths, chances: Doubles, C: float) -> tuple[Doubles, float]:
    errors = chances - y
    return C * (errors @ x), float(C * errors.sum())


def _violation(w: Doubles, slopes: Doubles, slope: float) -> float:
    beyond = np.where(w == 0, np.maximum(np.abs(slopes) - 1, 0), np.abs(slopes + np.sign(w)))
    return max(abs(slope), float(beyond.max(initial=0.0)))


def _chosen(w: Doubles, slopes: Doubles) -> npt.NDArray[np.int64]:
    """Returns the features of a step: those with a weight, and those with the steepest slopes that should have one."""
    has_weight = w != 0
    wanting = np.flatnonzero(~has_weight & (np.abs(slopes) > 1))
    most = max(_MORE, int(has_weight.sum()))
    if len(wanting) > 2 * most:
        wanting = wanting[np.argsort(-np.abs(slopes[wanting]), kind="stable")[:most]]
    return np.union1d(np.flatnonzero(has_weight), wanting)


def _quadratic(hessian: Doubles, gradient: Doubles, here: Doubles, penalties: Doubles) -> Doubles:
    """Returns the u that minimises gradient (u - here) + (u - here) hessian (u - here) / 2 + penalties |u|, all (S,).

    Rounds of coordinate descent find the signs of u; given the signs, the minimum solves linear equations, and the
    search moves towards that solution as far as no sign changes.
    """
    hessian = hessian.copy()
    diagonal = np.diagonal(hessian) + _RIDGE * max(float(np.diagonal(hessian).max()), 1e-300)
    np.fill_diagonal(hessian, diagonal)
    u, slopes = here.copy(), gradient.copy()
    for _ in range(_SWEEPS):
        for j, curve in enumerate(diagonal.tolist()):
            old = u[j]
            aim = old - slopes[j] / curve
            least = penalties[j] / curve
            new = aim - least if aim > least else aim + least if aim < -least else 0.0
            if new != old:
                u[j] = new
                slopes += (new - old) * hessian[j]
        free = (u != 0) | (penalties == 0)
        signs = np.sign(u) * penalties
        try:
            change = np.linalg.solve(hessian[np.ix_(free, free)], -(slopes + signs)[free])
        except np.linalg.LinAlgError:
            continue
        kept = u[free]
        turns = penalties[free] * np.sign(kept) * (kept + change) < 0
        reach = np.divide(-kept, change, out=np.full(len(kept), np.inf), where=turns)
        furthest = min(1.0, float(reach.min(initial=1.0)))
        u[free] = np.where(reach <= furthest, 0.0, kept + furthest * change)
        slopes = gradient + hessian @ (u - here)
        if furthest == 1 and np.all(np.abs(slopes[~free]) <= penalties[~free] + TOLERANCE / 10):
            break
    return u
