"""Products by matrix tiles, to the bit: against the arithmetic of Intel's manual, emulated and by the processor."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.native.loader import load
from charrnn.native.product import STEM, TILES, TILES_EMULATED, VERSION, find_library
from tests.native.test_product import narrowed, numbers, times, widened

library = find_library()
pytestmark = pytest.mark.skipif(library is None, reason="the library was not compiled here")
HAS_TILES = library is not None and library.best_way == TILES
by_kind = pytest.mark.parametrize(
    "is_real",
    [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_TILES, reason="this CPU has no AMX"))],
    ids=["emulated", "amx"],
)
SMALLEST = float(np.finfo(np.float32).tiny)
Array = NDArray[Any]


def _flushed(x: Array) -> Array:
    """Denormal numbers are 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = x.astype(np.float32)
    return np.where(np.abs(near) < SMALLEST, np.copysign(np.float32(0), near), near)


def _chain(a: Array, b: Array) -> Array:
    """Fused multiply-adds in the order of K from 0. Products of bfloat16 numbers and a sum are exact in long double but
    where they are far apart, as they are not here."""
    sums = np.zeros((len(a), b.shape[1]), np.float32)
    a, b = _flushed(a).astype(np.longdouble), _flushed(b).astype(np.longdouble)
    for k in range(a.shape[1]):
        sums = _flushed(a[:, k, None] * b[k] + sums)
    return sums


def by_tiles(sums: Array, a: Array, b: Array) -> Array:
    """What TDPBF16PS adds to sums (float32) for each 32 along K of a and b, which hold bfloat16 numbers."""
    with np.errstate(invalid="ignore"):
        for k in range(0, a.shape[1], 32):
            first, second = a[:, k : k + 32], b[k : k + 32]
            even, odd = _chain(first[:, ::2], second[::2]), _chain(first[:, 1::2], second[1::2])
            sums = _flushed(_flushed(sums) + _flushed(even + odd))
    return sums


def _multiply(sums: Array, a: Array, b: Array, *, is_real: bool) -> Array:
    """The same by tiles_multiply, from rows with a gap between them."""
    (lanes, K), width = a.shape, b.shape[1]
    found = load(STEM, "charrnn_product_version", VERSION)
    assert found is not None
    x = np.full((lanes, K + 24), 0x7FFF, np.uint16)
    x[:, :K] = narrowed(a)
    panel = np.ascontiguousarray(narrowed(b).reshape(K // 2, 2, width).swapaxes(1, 2))
    memory = np.empty(lanes * width + 16, np.float32)
    offset = -memory.ctypes.data % 64 // 4
    room = memory[offset : offset + lanes * width].reshape(lanes, width)
    room[:] = sums
    found.charrnn_tiles_multiply(
        ctypes.c_void_p(room.ctypes.data), ctypes.c_void_p(panel.ctypes.data), ctypes.c_void_p(x.ctypes.data),
        ctypes.c_int64(K + 24), K, width // 16, lanes, is_real,
    )  # fmt: skip
    return room.copy()


def _near(*shape: int, seed: int) -> Array:
    """Standard normal numbers that are bfloat16 numbers."""
    return widened(narrowed(numbers(*shape, seed=seed)))


@by_kind
@pytest.mark.parametrize("K", [2, 16, 32, 48, 128, 144])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
def test_the_product_of_the_recurrence_is_that_of_the_manual(K: int, vectors: int, is_real: bool) -> None:
    """Of up to sixteen lanes, whatever is left of K beyond whole tiles."""
    for lanes in (1, 5, 16):
        sums = numbers(lanes, vectors * 16, seed=1)
        a, b = _near(lanes, K, seed=2), _near(K, vectors * 16, seed=3)
        np.testing.assert_array_equal(_multiply(sums, a, b, is_real=is_real), by_tiles(sums, a, b))


@by_kind
def test_denormal_numbers_are_zero(is_real: bool) -> None:
    """Of factors, of sums before, of products that are that small, and of what comes out."""
    a, b, sums = np.zeros((4, 32)), np.zeros((32, 16)), np.zeros((4, 16), np.float32)
    a[0, 0], b[0, 0] = 2.0**-130, 2.0**20  # a denormal factor
    sums[1, 1] = 2.0**-130  # a denormal sum
    a[2, 3], b[3, 4] = 2.0**-70, 2.0**-60  # a denormal product
    a[3, 4], b[4, 5], sums[3, 5] = 2.0**-63, -(2.0**-63) * 1.5, 2.0**-126  # a denormal result: -2^-127
    a[3, 6], b[6, 7] = 2.0**-60, 2.0**-66  # the smallest normal number
    found = _multiply(sums, a, b, is_real=is_real)
    np.testing.assert_array_equal(found, by_tiles(sums, a, b))
    expected = np.zeros((4, 16))
    expected[3, 7] = 2.0**-126
    np.testing.assert_array_equal(found, expected)


@by_kind
def test_a_sum_is_rounded_once_and_not_in_the_order_of_a_single_chain(is_real: bool) -> None:
    """Odd numbers along K are summed by themselves; a fused multiply-add rounds to nearest, ties to even."""
    a, b = np.zeros((1, 32)), np.zeros((32, 16))
    a[0, 0], b[0, :] = 2.0**24, 1
    a[0, 1], b[1, :] = 1, 1
    a[0, 3], b[3, :] = 1, 1
    found = _multiply(np.zeros((1, 16), np.float32), a, b, is_real=is_real)
    assert (found == 2.0**24 + 2).all()  # one chain would lose each 1 by itself
    a[0, 1], a[0, 3], a[0, 2], b[2, :] = 0, 0, 1, 1
    assert (_multiply(np.zeros((1, 16), np.float32), a, b, is_real=is_real) == 2.0**24).all()


@by_kind
@pytest.mark.parametrize(
    "size", [(32, 32, 64), (16, 64, 32), (5, 70, 45), (70, 33, 130), (33, 17, 1), (64, 40, 700)], ids=str
)
def test_products_are_those_of_the_manual(size: tuple[int, int, int], is_real: bool) -> None:
    """In whole tiles and beyond, read where they are or packed, with what is added and scaled, in parts along K."""
    rows, columns, depth = size
    way = TILES if is_real else TILES_EMULATED
    a, b, added = _near(rows, depth, seed=1), _near(depth, columns, seed=2), numbers(rows, columns, seed=3)
    more = -depth % 32
    wide_a, wide_b = np.pad(a, ((0, 0), (0, more))), np.pad(b, ((0, more), (0, 0)))
    plain, start = by_tiles(np.zeros_like(added), wide_a, wide_b), by_tiles(added * np.float32(4), wide_a, wide_b)
    row = by_tiles(np.repeat(added[:1], rows, 0), wide_a, wide_b)
    a, b = narrowed(a), narrowed(b)
    np.testing.assert_array_equal(times(a, b, is_narrow=True, way=way), plain)
    np.testing.assert_array_equal(times(np.asfortranarray(a), np.asfortranarray(b), is_narrow=True, way=way), plain)
    np.testing.assert_array_equal(times(a, b, added=added[0], is_narrow=True, way=way), row)
    np.testing.assert_array_equal(
        times(a, b, added=added, alpha=0.5, beta=2, is_narrow=True, way=way), start * np.float32(0.5)
    )
