"""Several parts of a text as one: the ids of each come after those of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from charrnn.text.stored import StoredIds, TextIds, part_of
from charrnn.text.vocabulary import Ids


def joined(parts: Sequence[TextIds]) -> TextIds:
    """Returns the ids of parts of one text, of which there is at least one; those that lie in a file stay there."""
    some = [part for part in parts if len(part)] or [parts[0]]
    if len(some) == 1:
        return some[0]
    if any(isinstance(part, StoredIds) for part in some):
        return JoinedIds(some)
    whole = np.concatenate(some)
    whole.flags.writeable = False
    return cast(Ids, whole)


class JoinedIds(StoredIds):
    """The ids of several parts, at least one of which lies in a file."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[TextIds]) -> None:
        self._parts = [*parts]
        self._ends = np.cumsum([len(part) for part in parts])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return self._parts[0].dtype

    def __len__(self) -> int:
        return int(self._ends[-1])

    def part(self, start: int, stop: int) -> StoredIds:
        """Returns the ids from `start` to `stop`, which are not read yet."""
        return JoinedIds(self._within(start, stop))

    def _within(self, start: int, stop: int) -> list[TextIds]:
        """Returns what of the parts lies from `start` to `stop`; one that is empty where nothing does."""
        start, stop, _ = slice(start, stop).indices(len(self))
        found = []
        first = int(np.searchsorted(self._ends, start, side="right"))
        for part, end in zip(self._parts[first:], self._ends[first:].tolist(), strict=True):
            begin = end - len(part)
            if begin >= stop:
                break
            found.append(part_of(part, max(0, start - begin), min(len(part), stop - begin)))
        return found or [part_of(self._parts[0], 0, 0)]

    def __getitem__(self, places: Any) -> Any:
        """Returns one id, those of a slice, or those at an array of places in the shape of that."""
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            return np.concatenate([cast(Any, each[:]) for each in self._within(start, stop)])
        wanted = np.asarray(places)
        if wanted.dtype.kind not in "iu":
            raise IndexError("only whole numbers, arrays of them and slices are places in a text")
        if wanted.size and (int(wanted.min()) < -len(self) or int(wanted.max()) >= len(self)):
            raise IndexError(f"a place is outside of a text of {len(self):,} ids")
        wanted = np.atleast_1d(np.where(wanted < 0, wanted.astype(np.int64) + len(self), wanted.astype(np.int64)))
        taken, which = np.empty(wanted.shape, self.dtype), np.searchsorted(self._ends, wanted, side="right")
        for one in np.unique(which).tolist():
            is_here, part = which == one, self._parts[one]
            taken[is_here] = part[wanted[is_here] - (self._ends[one] - len(part))]
        return taken if np.ndim(places) else taken[0]
