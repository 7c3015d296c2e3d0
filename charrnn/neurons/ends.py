"""Which parts of a text are read, in lanes, for the loss at the characters that end a label.

Lanes are spread evenly over the text, and of each as much is read as holds the ends that are wanted if they are spread
evenly too. Where they stand so close together that such lanes hold fewer than half as many, the wanted number of ends
is drawn from all (every second, say), and the lanes are the shortest that hold those.

Shape letters: N characters of the text, T time, B lanes.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextError
from charrnn.neurons.subnetwork import Mask
from charrnn.wording import count

Places = npt.NDArray[np.intp]

FEWEST = 20
"""The smallest number of ends in each half."""
WARM_UP = 400
"""The number of characters of a lane that are read before the first one that counts; a quarter of a short half."""
_LANES = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """Characters in lanes, and which of them count."""

    ids: npt.NDArray[Any]
    """The ids (T, B), read from the zero state."""
    scored: Mask
    """The characters that end the label (T, B), without those of the warm-up."""

    @property
    def ends(self) -> int:
        """The number of characters that count."""
        return int(self.scored.sum())


def read_ends(ids: npt.NDArray[Any], ends: Mask, most: int, label: str, which: str) -> Reading:
    """Returns lanes that hold about `most` of the `ends` (N,) of a half of the text, or all of them.

    Raises TextError where the half has fewer than 20 ends; `which` names it.
    """
    warm_up = min(WARM_UP, len(ids) // 4)
    lanes = max(1, min(_LANES, (len(ids) - warm_up) // max(1, warm_up)))
    span = (len(ids) - warm_up) // lanes
    there = np.flatnonzero(ends[warm_up : warm_up + lanes * span])
    if len(there) < FEWEST:
        raise TextError(
            f"{label} ends {count(len(there), 'time')} in the {which} half of the text, too few to find a circuit for",
            f"give a text, or a --length, in which it ends {FEWEST} times or more in each half; 500 say much",
        )
    wanted = min(most, len(there))
    reading = _read(ids, ends, np.arange(lanes) * span, warm_up, min(span, -(-span * most // len(there))))
    if reading.ends >= max(FEWEST, wanted / 2):
        return reading
    return _read(ids, ends, *_shortest(there[np.arange(wanted) * len(there) // wanted], warm_up, lanes, span))


def _read(ids: npt.NDArray[Any], ends: Mask, begins: Places, warm_up: int, length: int) -> Reading:
    """Returns a lane from each of `begins` on, of `length` characters that count and the warm-up before them."""
    places = begins + np.arange(warm_up + length)[:, None]
    is_there = places < len(ids)
    places = np.minimum(places, len(ids) - 1)  # nothing counts behind the last character
    scored = ends[places] & is_there
    scored[:warm_up] = False
    return Reading(ids[places], scored)


def _shortest(chosen: Places, warm_up: int, lanes: int, span: int) -> tuple[Places, int, int]:
    """Returns where lanes begin that hold all `chosen` ends, the warm-up, and the smallest length that allows it.

    Ascending `chosen` are counted from the warm-up on; so many lanes of length `span` hold all of them.
    """

    def cover(length: int) -> list[int]:
        begins, place = list[int](), 0
        while place < len(chosen) and len(begins) <= lanes:
            begins.append(int(chosen[place]))
            place = int(np.searchsorted(chosen, begins[-1] + length))
        return begins

    length = 1 + bisect_left(range(1, span), True, key=lambda length: len(cover(length)) <= lanes)
    return np.array(cover(length)), warm_up, length
