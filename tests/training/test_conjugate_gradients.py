"""Conjugate gradients against numpy's solution of the same equations, and their rules by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.training.kept_steps import kept_steps
from charrnn.training.optimizers import conjugate_gradients
from charrnn.training.optimizers.conjugate_gradients import minimise

N = 13


def _definite(seed: int, spread: float) -> Tensor:
    """A matrix whose eigenvalues are spread evenly on a scale of logarithms, from 1 to `spread`."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(N, N)))
    return torch.from_numpy(turned @ np.diag(np.geomspace(1.0, spread, N)) @ turned.T)


def _vector(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=N))


@pytest.fixture
def to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not end early."""
    monkeypatch.setattr(conjugate_gradients, "GAIN", 0.0)


@pytest.mark.usefixtures("to_the_end")
@pytest.mark.parametrize("has_start", [False, True])
@pytest.mark.parametrize("is_preconditioned", [False, True])
def test_the_end_is_numpys_solution(has_start: bool, is_preconditioned: bool) -> None:
    """From zero and from elsewhere; each iterate's phi is that of its x, and they get less."""
    A, b = _definite(1, 300.0), _vector(2)
    start = _vector(3) if has_start else torch.zeros_like(b)
    preconditioner = torch.diagonal(A) ** 0.75 if is_preconditioned else torch.ones_like(b)
    found = minimise(lambda v: A @ v, b, start, preconditioner, 4 * N)
    np.testing.assert_allclose(found[-1].x.numpy(), np.linalg.solve(A.numpy(), b.numpy()), rtol=1e-9)
    assert found[0].steps == 0
    assert torch.equal(found[0].x, start)
    for iterate in found:
        assert iterate.phi == pytest.approx(float(0.5 * iterate.x @ A @ iterate.x - b @ iterate.x), rel=1e-9)
    assert all(after.phi <= before.phi + 1e-12 for before, after in zip(found, found[1:], strict=False))


@pytest.mark.usefixtures("to_the_end")
def test_a_preconditioner_that_is_the_matrix_needs_one_step() -> None:
    scales = torch.linspace(1.0, 900.0, N, dtype=torch.float64)
    b = _vector(4)
    found = minimise(lambda v: scales * v, b, torch.zeros_like(b), scales, 1)
    torch.testing.assert_close(found[-1].x, b / scales)
    plain = minimise(lambda v: scales * v, b, torch.zeros_like(b), torch.ones_like(b), 1)
    assert plain[-1].phi > 0.9 * found[-1].phi


def test_what_is_kept_by_hand() -> None:
    assert kept_steps(1) == [1]
    assert kept_steps(10) == [1, 2, 3, 4, 5, 7, 9, 10]
    assert all(later <= 1.3 * sooner + 1 for sooner, later in zip(kept_steps(300), kept_steps(300)[1:], strict=False))


def test_it_ends_where_little_is_gained() -> None:
    """By the paper's rule, from the values of phi of a search that goes on."""
    A, b = _definite(5, 1e6), _vector(6)
    zero, ones = torch.zeros_like(b), torch.ones_like(b)
    found = minimise(lambda v: A @ v, b, zero, ones, 500)
    phi = [0.0] + [minimise(lambda v: A @ v, b, zero, ones, most)[-1].phi for most in range(1, found[-1].steps + 1)]

    def ends(i: int) -> bool:
        k = max(10, math.ceil(0.1 * i))
        return i > k and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < k * 0.0005

    assert 10 < found[-1].steps < 500
    assert [ends(i) for i in range(1, found[-1].steps + 1)] == [False] * (found[-1].steps - 1) + [True]


def test_what_is_no_curvature_ends_it_and_stays_finite() -> None:
    """A matrix with a negative eigenvalue, products that are not finite at once or later, and a start that is not."""
    b = _vector(7)
    ones = torch.ones_like(b)
    signs = ones.clone()
    signs[3] = -1.0
    for product in (
        lambda v: signs * v * 50.0,
        lambda v: v * math.nan,
        lambda v: v * math.inf,
        lambda v: v if float(v @ v) == 0.0 else v * math.inf,
    ):
        found = minimise(product, b, torch.zeros_like(b), ones, 30)
        assert len(found) >= 1
        assert all(bool(torch.isfinite(each.x).all()) and math.isfinite(each.phi) for each in found)
    found = minimise(lambda v: v, b, b * math.inf, ones, 30)
    torch.testing.assert_close(found[-1].x, b)
    for start in (b * math.inf, b * math.nan):  # phi of the first one is minus infinity
        (only,) = minimise(lambda v: -v, b, start, ones, 30)
        assert not only.x.any()


def test_a_start_is_taken_though_it_is_worse_than_zeros() -> None:
    A, b = _definite(8, 300.0), _vector(9)
    start = 2.5 * torch.linalg.solve(A, b)
    first, *_ = minimise(lambda v: A @ v, b, start, torch.ones_like(b), 6)
    assert torch.equal(first.x, start)
    assert first.phi > 0.0


def test_where_nothing_is_asked_nothing_is_done() -> None:
    found = minimise(lambda v: v, torch.zeros(N), torch.zeros(N), torch.ones(N), 30)
    assert [each.steps for each in found] == [0]


def test_a_step_beyond_all_numbers_ends_it_and_is_not_kept() -> None:
    """The first product is small and positive, so that the step it asks for is larger than any number."""
    b = torch.full((N,), 1e300, dtype=torch.float64)
    found = minimise(lambda v: 1e-300 * v, b, torch.zeros_like(b), torch.ones_like(b), 5)
    assert all(math.isfinite(iterate.phi) and bool(iterate.x.isfinite().all()) for iterate in found)
