"""Compiled products of matrices: against float64, and to the bit over threads, instruction sets and layouts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.native import product as products
from charrnn.native.product import TILES_EMULATED, WIDENED, Product, find_library

library = find_library()
pytestmark = pytest.mark.skipif(library is None, reason="the library was not compiled here")
SETS = range(1 + (library.best_set if library else 0))
by_set = pytest.mark.parametrize("chosen", SETS, ids=lambda n: ("portable", "avx2", "avx512")[n])
WAYS = [*range(1 + (library.best_way if library else 0)), TILES_EMULATED]
by_way = pytest.mark.parametrize("way", WAYS, ids=lambda n: ("widened", "dot", "tiles", "emulated")[n])
# rows, columns, depth: what fills tiles, what does not, and what has several parts along K
SIZES = [(1, 1, 1), (8, 48, 16), (7, 33, 65), (65, 7, 33), (33, 100, 1), (3, 17, 700), (130, 70, 301), (64, 96, 512)]
by_size = pytest.mark.parametrize("size", SIZES, ids=str)
Array = NDArray[Any]


def narrowed(x: Array) -> Array:
    """To the nearest bfloat16 number, ties to even, as uint16; finite numbers."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x: Array) -> Array:
    """The float32 numbers that bfloat16 numbers are."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def times(
    a: Array,
    b: Array,
    *,
    c: Array | None = None,
    added: Array | None = None,
    alpha: float = 1,
    beta: float = 1,
    is_narrow: bool = False,
    **others: int,
) -> Array:
    """alpha a b + beta added, of arrays with any strides; uint16 holds bfloat16 numbers."""
    assert library is not None
    shape = (*a.shape[:-1], b.shape[-1])
    kind = np.float64 if a.dtype == np.float64 else np.float32
    c = np.full(shape, np.nan, kind) if c is None else c
    product = Product(
        rows=shape[-2], columns=shape[-1], depth=a.shape[-1], batch=shape[0] if len(shape) == 3 else 1,
        a=a.ctypes.data, b=b.ctypes.data, c=c.ctypes.data, added=None if added is None else added.ctypes.data,
        alpha=alpha, beta=beta, is_double=kind == np.float64, is_narrow=is_narrow,
        is_a_narrow=a.dtype == np.uint16, is_b_narrow=b.dtype == np.uint16, is_c_narrow=c.dtype == np.uint16,
        is_added_narrow=added is not None and added.dtype == np.uint16,
        **{"set": library.best_set, "way": library.best_way, "most_threads": 1} | others,
    )  # fmt: skip
    for name, array in {"a": a, "b": b, "c": c, "added": added}.items():
        if array is not None:
            strides = [stride // array.itemsize for stride in array.strides]
            setattr(product, f"{name}_batch", strides[0] if array.ndim == 3 else 0)
            setattr(product, f"{name}_row", strides[-2] if array.ndim > 1 else 0)
            if name in "ab":
                setattr(product, f"{name}_column", strides[-1])
    products.multiply(library, product)
    return c


def numbers(*shape: int, seed: int = 0, kind: Any = np.float32) -> Array:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(kind)


def few_bits(*shape: int, seed: int = 0) -> Array:
    """Numbers of so few bits that products are exact: then it makes no difference whether a multiply-add is fused."""
    return np.round(numbers(*shape, seed=seed) * 256).astype(np.float32) / 256


def chain(a: Array, b: Array, start: Array | None = None) -> Array:
    """The chain of multiply-adds in the order of K, for factors whose products are exact in float32."""
    sums = np.zeros((len(a), b.shape[1]), np.float32) if start is None else start
    for k in range(a.shape[1]):
        sums = sums + a[:, k, None] * b[k]
    return sums


@by_set
@by_size
def test_each_number_is_one_chain_in_the_order_of_depth(size: tuple[int, int, int], chosen: int) -> None:
    """Bit for bit as numpy adds the products up one by one, in every instruction set."""
    rows, columns, depth = size
    a, b, start = few_bits(rows, depth), few_bits(depth, columns, seed=1), numbers(rows, columns, seed=2)
    np.testing.assert_array_equal(times(a, b, set=chosen), chain(a, b))
    np.testing.assert_array_equal(times(a, b, added=start, set=chosen), chain(a, b, start))
    np.testing.assert_array_equal(times(a, b, added=start[0], set=chosen), chain(a, b, start[:1]))


@by_size
def test_sets_with_fused_multiply_adds_give_the_same_bits(size: tuple[int, int, int]) -> None:
    """AVX2 and AVX-512; and both differ from rounding the products, so that it is known to be tested."""
    rows, columns, depth = size
    a, b = numbers(rows, depth), numbers(depth, columns, seed=1)
    found = [times(a, b, set=chosen) for chosen in SETS[1:]]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    if len(found) > 1 and depth > 1 and rows * columns * depth > 1000:
        assert (found[0] != chain(a, b)).any()


@by_set
@by_size
def test_float32_is_as_near_as_its_rounding(size: tuple[int, int, int], chosen: int) -> None:
    """To K units in the last place of the sum of magnitudes; with alpha and beta."""
    rows, columns, depth = size
    a, b, added = numbers(rows, depth), numbers(depth, columns, seed=1), numbers(rows, columns, seed=2)
    exact = -1.5 * (a.astype(float) @ b.astype(float)) + 0.3 * added.astype(float)
    bound = 1.5 * np.abs(a).astype(float) @ np.abs(b).astype(float) + np.abs(added)
    found = times(a, b, added=added, alpha=-1.5, beta=0.3, set=chosen)
    assert (np.abs(found - exact) <= (depth + 4) * 2.0**-24 * bound).all()


@by_size
def test_double_is_as_near_as_its_rounding(size: tuple[int, int, int]) -> None:
    """For checking gradients."""
    rows, columns, depth = size
    a, b = numbers(rows, depth, kind=np.float64), numbers(depth, columns, seed=1, kind=np.float64)
    added = numbers(rows, columns, seed=2, kind=np.float64)
    found = times(a, b, added=added, alpha=2, beta=0.5)
    np.testing.assert_allclose(found, 2 * a @ b + 0.5 * added, rtol=0, atol=1e-14 * depth + 1e-14)


@by_set
def test_threads_change_no_bit(chosen: int) -> None:
    """1, 2 and 5 of them, with several pieces of work each."""
    a, b, added = numbers(3, 300, 500), numbers(3, 500, 200, seed=1), numbers(3, 300, 200, seed=2)
    one, *others = [times(a, b, added=added, set=chosen, most_threads=threads) for threads in (1, 2, 5)]
    assert np.isfinite(one).all()
    for other in others:
        np.testing.assert_array_equal(other, one)


@by_way
def test_threads_change_no_bit_of_narrow_products(way: int) -> None:
    """The same for factors in bfloat16."""
    a, b = narrowed(numbers(3, 300, 500)), narrowed(numbers(3, 500, 200, seed=1))
    one, *others = [times(a, b, is_narrow=True, way=way, most_threads=threads) for threads in (1, 2, 5)]
    assert np.isfinite(one).all()
    for other in others:
        np.testing.assert_array_equal(other, one)


def _layouts(x: Array) -> list[Array]:
    """The same matrix: as it is, transposed in memory, with longer rows, both, and with gaps between numbers."""
    *many, rows, columns = x.shape
    wide = np.full((*many, rows, columns + 5), np.nan if x.dtype != np.uint16 else 0x7FFF, x.dtype)
    tall = np.full((*many, columns, rows + 3), wide[..., 0, 0].flat[0], x.dtype)
    loose = np.full((*many, rows, columns, 2), wide[..., 0, 0].flat[0], x.dtype)
    wide[..., :columns], tall[..., :rows], loose[..., 0] = x, x.swapaxes(-1, -2), x
    return [
        x, np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2),
        wide[..., :columns], tall[..., :rows].swapaxes(-1, -2), loose[..., 0],
    ]  # fmt: skip


@by_size
def test_layouts_in_memory_change_no_bit(size: tuple[int, int, int]) -> None:
    """Of float32 and of bfloat16 numbers in each way; what lies between rows is not read, nor written."""
    rows, columns, depth = size
    a, b = numbers(2, rows, depth), numbers(2, depth, columns, seed=1)
    for kind, way in [(None, WIDENED), *[(narrowed, way) for way in WAYS]]:
        first, second = (kind(a), kind(b)) if kind else (a, b)
        expected = times(first, second, is_narrow=kind is not None, way=way)
        for one, other in itertools.product(_layouts(first), _layouts(second)):
            room = np.full((2, rows + 1, columns + 3), 7, np.float32)
            times(one, other, c=room[:, :rows, :columns], is_narrow=kind is not None, way=way)
            np.testing.assert_array_equal(room[:, :rows, :columns], expected)
            room[:, :rows, :columns] = 7
            assert (room == 7).all()


@by_way
def test_products_of_a_batch_are_those_of_each(way: int) -> None:
    """Also where there are more than are packed at a time, and a result and what is added are bfloat16."""
    a, b, added = narrowed(numbers(40, 70, 512)), narrowed(numbers(40, 512, 65, seed=1)), narrowed(numbers(40, 70, 65))
    found = times(a, b, c=np.empty((40, 70, 65), np.uint16), added=added, beta=2, is_narrow=True, way=way)
    for n in (0, 17, 39):
        one = times(a[n], b[n], c=np.empty((70, 65), np.uint16), added=added[n], beta=2, is_narrow=True, way=way)
        np.testing.assert_array_equal(found[n], one)


def test_what_is_added_may_be_the_result() -> None:
    """Where there are several parts along K, too; and none is read where nothing is added."""
    a, b, added = numbers(50, 600), numbers(600, 90, seed=1), numbers(50, 90, seed=2)
    expected = times(a, b, added=added, alpha=0.5, beta=3)
    in_place = added.copy()
    np.testing.assert_array_equal(times(a, b, c=in_place, added=in_place, alpha=0.5, beta=3), expected)


def test_nothing_to_sum_leaves_what_is_added() -> None:
    """K = 0; and without rows or columns nothing happens."""
    added = numbers(9, 50)
    np.testing.assert_array_equal(times(numbers(9, 0), numbers(0, 50), added=added, alpha=2, beta=4), 4 * added)
    assert times(numbers(0, 3), numbers(3, 50)).shape == (0, 50)
    assert times(numbers(3, 3), numbers(3, 0)).shape == (3, 0)


@by_set
def test_what_is_not_finite_passes_through(chosen: int) -> None:
    """To the numbers that depend on it and no others: what fills up tiles does not get in."""
    a, b = np.abs(numbers(9, 70)), np.abs(numbers(70, 50, seed=1))
    a[2, 3], a[4, 69], b[5, 49] = np.nan, np.inf, np.inf
    found = times(a, b, set=chosen)
    with np.errstate(invalid="ignore"):
        expected = a.astype(float) @ b.astype(float)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@by_way
def test_what_is_not_finite_passes_through_narrow_products(way: int) -> None:
    """Also where it is rounded to bfloat16, whatever the bits of a not-a-number."""
    a, b = np.abs(numbers(9, 70)), np.abs(numbers(70, 50, seed=1))
    a[2, 3], a[4, 69], b[5, 49] = np.nan, np.inf, np.inf
    a.view(np.uint32)[6, 6] = 0x7FFFFFFF
    found = times(a, b, is_narrow=True, way=way)
    with np.errstate(invalid="ignore"):
        expected = a.astype(float) @ b.astype(float)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    out = times(a, b, c=np.empty((9, 50), np.uint16), is_narrow=True, way=way)
    np.testing.assert_array_equal(np.isnan(widened(out)), np.isnan(expected))


@by_way
@by_size
def test_narrow_products_are_as_near_as_the_rounding_of_their_sums(size: tuple[int, int, int], way: int) -> None:
    """Against exact sums of the same bfloat16 numbers; float32 factors are rounded first, to the same."""
    rows, columns, depth = size
    a, b, added = numbers(rows, depth), numbers(depth, columns, seed=1), numbers(rows, columns, seed=2)
    near_a, near_b = widened(narrowed(a)).astype(float), widened(narrowed(b)).astype(float)
    bound = np.abs(near_a) @ np.abs(near_b) + np.abs(added)
    found = times(a, b, added=added, is_narrow=True, way=way)
    assert (np.abs(found - (near_a @ near_b + added)) <= (depth + 4) * 2.0**-23 * bound).all()
    for one, other in itertools.product((a, narrowed(a)), (b, narrowed(b))):
        np.testing.assert_array_equal(times(one, other, added=added, is_narrow=True, way=way), found)


@by_way
def test_a_narrow_result_is_the_rounded_one(way: int) -> None:
    """And what is added may be narrow."""
    a, b, added = narrowed(numbers(33, 300)), narrowed(numbers(300, 65, seed=1)), narrowed(numbers(65, seed=2))
    c = np.empty((33, 65), np.uint16)
    # one part along K, as sums between parts are float32 either way
    found = times(a, b, c=c, added=added, is_narrow=True, way=way)
    np.testing.assert_array_equal(found, narrowed(times(a, b, added=widened(added), is_narrow=True, way=way)))
