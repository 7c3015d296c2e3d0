"""Products of tensors: as torch's, whatever views they are, compiled or not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from charrnn.native import crew
from charrnn.native.product import find_library
from charrnn.network import products
from charrnn.network.products import multiply

KINDS = [torch.float32, torch.float64, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 0.2}


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With compiled code, and where there is none."""
    if request.param == "torch":
        monkeypatch.setattr(products, "find_library", lambda: None)
    elif find_library() is None:
        pytest.skip("the library was not compiled here")
    return str(request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    """Leaves the number of threads as it was."""
    before = list(crew._chosen)
    yield
    crew._chosen[:] = before


def numbers(*shape: int, seed: int = 0, kind: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(kind)


def assert_near(found: Tensor, exact: Tensor, kind: torch.dtype) -> None:
    """To the rounding of the type."""
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=TOLERANCE[kind])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_views_are_multiplied_as_they_are(kind: torch.dtype) -> None:
    """Transposed, sliced, of one row that is spread, and in batches."""
    a, b = numbers(33, 20, kind=kind), numbers(20, 50, seed=1, kind=kind)
    first, second = a.t().contiguous().t(), b.t().contiguous().t()
    exact = a.double() @ b.double()
    for one in (a, first, torch.cat((a, a), 1)[:, :20]):
        for other in (b, second, torch.cat((b, b), 1)[:, 50:]):
            found = multiply(one, other)
            assert found.dtype == kind
            assert_near(found, exact, kind)
    many = numbers(4, 6, 20, seed=2, kind=kind)
    assert_near(multiply(many, many.mT), many.double() @ many.double().mT, kind)
    assert_near(multiply(many, b.expand(4, -1, -1)), many.double() @ b.double(), kind)
    assert_near(multiply(a[:1].expand(5, -1), b), (a.double() @ b.double())[:1].expand(5, -1), kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_added(kind: torch.dtype) -> None:
    """A bias, a matrix times beta, the result itself; into a part of a wider matrix."""
    a, b, c = numbers(33, 20, kind=kind), numbers(20, 50, seed=1, kind=kind), numbers(33, 50, seed=2, kind=kind)
    exact = a.double() @ b.double()
    assert_near(multiply(a, b, bias=c[0]), exact + c[0].double(), kind)
    assert_near(multiply(a, b, added=c, alpha=0.5, beta=-2), 0.5 * exact - 2 * c.double(), kind)
    wide = torch.zeros(33, 70, dtype=kind)
    wide[:, :50] = c
    found = multiply(a, b, out=wide[:, :50], added=wide[:, :50], beta=3)
    assert found.data_ptr() == wide.data_ptr()
    assert_near(wide[:, :50], exact + 3 * c.double(), kind)
    assert not wide[:, 50:].any()
    assert_near(multiply(a, b, added=c * torch.nan, beta=0), exact, kind)  # which is not read
    with pytest.raises(ValueError, match="both given"):
        multiply(a, b, bias=c[0], added=c)


def test_narrow_products_round_their_factors() -> None:
    """Of float32 numbers, to bfloat16; sums and result stay float32, unless the result is given otherwise."""
    a, b = numbers(33, 200), numbers(200, 50, seed=1)
    exact = a.bfloat16().double() @ b.bfloat16().double()
    found = multiply(a, b, is_narrow=True)
    assert found.dtype == torch.float32
    assert_near(found, exact, torch.bfloat16)
    assert_near(multiply(a.bfloat16(), b, out=torch.empty(33, 50), is_narrow=True), exact, torch.bfloat16)
    if products.find_library() is not None:  # torch rounds its sums to bfloat16
        assert_near(found, exact, torch.float32)
        assert_near(multiply(a.bfloat16(), b.bfloat16(), out=torch.empty(33, 50)), exact, torch.float32)
        assert (found.double() - a.double() @ b.double()).abs().max() > 0.01


def test_a_result_whose_rows_are_not_contiguous() -> None:
    """Is filled as well."""
    a, b, out = numbers(7, 20), numbers(20, 9, seed=1), torch.empty(9, 7).t()
    assert multiply(a, b, out=out) is out
    assert_near(out, a.double() @ b.double(), torch.float32)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Before anything is read or written."""
    for a, b in [((2, 3), (4, 5)), ((2, 3, 4), (3, 4, 5)), ((2, 3), (2, 3, 4))]:
        with pytest.raises((ValueError, RuntimeError)):
            multiply(torch.ones(a), torch.ones(b), out=torch.empty(7, 7))
    for more in ({"bias": torch.ones(4)}, {"added": torch.ones(3, 5)}, {"out": torch.ones(2, 4)}):
        with pytest.raises((ValueError, RuntimeError)):
            multiply(torch.ones(2, 3), torch.ones(3, 5), **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_no_bit(library: str) -> None:
    """Of compiled products; torch's have no such promise."""
    if library == "torch":
        pytest.skip("not promised")
    a, b = numbers(400, 300), numbers(300, 200, seed=1)
    found = []
    for count in (1, 2, 5):
        crew.set_most_threads(count)
        found.append(multiply(a, b))
    assert all(torch.equal(each, found[0]) for each in found)
