"""Products of matrices in compiled code, on plain addresses; product.h says what they give, and to which bit.

They are part of the library `_recurrence`. The crew's threads share the work; no bit depends on how many there are.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from ctypes import byref, c_double, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.native.loader import fields, load, permitted_set

VERSION = 1
STEM = Path(__file__).with_name("_recurrence")
WIDENED, DOT, TILES, TILES_EMULATED = range(4)
"""How factors in bfloat16 are multiplied: as float32, by AVX512-BF16, by AMX, and as AMX would, to the bit."""


WAYS = ("float32", "AVX512-BF16", "AMX", "AMX emulated")
"""Their names: between ways the roundings of sums differ."""


class Product(ctypes.Structure):
    """C = alpha A B + beta D; product.h says what each field holds."""

    _fields_ = [
        *fields(c_int64, "rows columns depth batch"),
        *fields(c_void_p, "a b added c"),
        *fields(c_int64, "a_row a_column a_batch b_row b_column b_batch added_row added_batch c_row c_batch"),
        *fields(c_double, "alpha beta"),
        ("room", c_void_p),
        *fields(c_int32, "is_double is_narrow is_a_narrow is_b_narrow is_added_narrow is_c_narrow"),
        *fields(c_int32, "set way most_threads"),
    ]


class Library(NamedTuple):
    """The compiled products, and what is best on this machine."""

    multiply: Any
    room: Any
    best_set: int
    best_way: int


@functools.cache
def find_library() -> Library | None:
    """Returns the compiled products; None where they were not built, cannot run here, or are turned off."""
    found = load(STEM, "charrnn_product_version", VERSION)
    if found is None:
        return None
    best = int(found.charrnn_best_recurrence())
    permitted = permitted_set(best)
    found.charrnn_product.restype = None
    found.charrnn_product_room.restype = c_int64
    return Library(
        found.charrnn_product,
        found.charrnn_product_room,
        permitted,
        int(found.charrnn_best_way()) if permitted == best else WIDENED,
    )


class _Room(threading.local):
    """Memory of a thread that is used again from product to product: fresh pages cost as much as the work on them."""

    size = 0
    address = 0
    memory: Any = None

    def of(self, size: int) -> int:
        """Returns the address of so many bytes, uninitialised; the next call takes them back."""
        if size > self.size:
            self.size = max(size, 2 * self.size)
            self.memory = (ctypes.c_char * self.size)()
            self.address = ctypes.addressof(self.memory)
        return self.address


_room = _Room()


def multiply(library: Library, product: Product) -> None:
    """Computes a product whose fields are set, but for its room."""
    given = byref(product)
    product.room = _room.of(library.room(given))
    library.multiply(given)
