"""Two parts of a text as one: the ids of the second come after those of the first."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from charrnn.text.stored import StoredIds, TextIds, part_of


def joined(first: TextIds, second: TextIds) -> TextIds:
    """Returns the ids of two parts of one text; those that lie in a file stay there."""
    if not len(second):
        return first
    if not isinstance(first, StoredIds) and not isinstance(second, StoredIds):
        return np.concatenate([first, second])
    return JoinedIds(first, second)


class JoinedIds(StoredIds):
    """The ids of two parts, at least one of which lies in a file."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: TextIds, second: TextIds) -> None:
        self._first, self._second = first, second

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return self._first.dtype

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def part(self, start: int, stop: int) -> StoredIds:
        """Returns the ids from `start` to `stop`, which are not read yet."""
        start, stop, _ = slice(start, stop).indices(len(self))
        seam = len(self._first)
        return JoinedIds(
            part_of(self._first, start, stop), part_of(self._second, max(0, start - seam), max(0, stop - seam))
        )

    def __getitem__(self, places: Any) -> Any:
        """Returns one id, those of a slice, or those at an array of places in the shape of that."""
        seam = len(self._first)
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            own = [self._first[start:stop], self._second[max(0, start - seam) : max(0, stop - seam)]]
            return np.concatenate([cast(Any, each) for each in own])
        wanted = np.asarray(places)
        if wanted.dtype.kind not in "iu":
            raise IndexError("only whole numbers, arrays of them and slices are places in a text")
        if wanted.size and (int(wanted.min()) < -len(self) or int(wanted.max()) >= len(self)):
            raise IndexError(f"a place is outside of a text of {len(self):,} ids")
        wanted = np.atleast_1d(np.where(wanted < 0, wanted.astype(np.int64) + len(self), wanted.astype(np.int64)))
        taken, is_late = np.empty(wanted.shape, self.dtype), wanted >= seam
        taken[~is_late] = self._first[wanted[~is_late]]
        taken[is_late] = self._second[wanted[is_late] - seam]
        return taken if np.ndim(places) else taken[0]
