"""How parts of a text compare with all of it, in figures that go with what a model will need for them.

For each part: the mean cost of its characters under counts of the text, given none, one, two and three characters
before. A network that is trained on the text needs much for what costs much here, so that parts whose figures are those
of the whole text are about as hard as it is.

Shape letters: N characters, P parts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.text.vocabulary import Ids

ORDERS = 4
_MOST_BITS = 22  # of the tables that count contexts, and contexts with what follows
_ROOM = 4  # bits that they have more than there are characters, so that hardly two share a place
_PRIOR = 0.01
_PIECE = 1 << 22
_ONE, _OTHER = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77)

Doubles = npt.NDArray[np.float64]


def costs(ids: Ids, starts: npt.NDArray[np.int64]) -> Doubles:
    """Returns the nats of the characters of each part, in all, for each length of the context: (P, ORDERS).

    The parts follow each other in `ids` (N,), and `starts` (P,) are the places of their first characters, ascending
    from 0. None may be empty.
    """
    different, size = int(ids.max()) + 1, len(ids)
    bits = min(_MOST_BITS, size.bit_length() + _ROOM)
    found = np.empty((len(starts), ORDERS))
    context = np.zeros(size, np.uint32)
    for order in range(ORDERS):
        if order:
            context[order:] = context[order:] * _ONE + ids[:-order] + np.uint32(1)
        before = _mixed(context) >> np.uint32(32 - bits)
        pair = _mixed(context * _OTHER + ids) >> np.uint32(32 - bits)
        nats = np.log(_counted(before, bits)[before] + np.float32(_PRIOR * different))
        nats -= np.log(_counted(pair, bits)[pair] + np.float32(_PRIOR))
        found[:, order] = np.add.reduceat(nats, starts, dtype=np.float64)
    return found


def _counted(numbers: npt.NDArray[np.uint32], bits: int) -> npt.NDArray[np.float32]:
    """Returns how often each number of so many bits occurs; in pieces, since numpy makes eight bytes of each."""
    counts = np.zeros(1 << bits, np.int64)
    for start in range(0, len(numbers), _PIECE):
        counts += np.bincount(numbers[start : start + _PIECE], minlength=1 << bits)
    return counts.astype(np.float32)


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Returns numbers whose highest bits depend on all bits of others (Steele, Lea & Flood 2014)."""
    mixed = (values ^ (values >> np.uint32(16))) * _ONE
    return (mixed ^ (mixed >> np.uint32(13))) * _OTHER
