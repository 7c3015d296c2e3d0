"""The documents of a training text as streams that B lanes read in windows of T characters, in a new order each epoch.

    text      # a b # c d e # f g #        three documents; # is the end symbol, which stands before each and after it
    epoch     c d e f g a b                 their order, drawn anew for each epoch
    pairs     #c cd de e# #f fg g# #a ab b#  what is read, and what is to be predicted: the stream of the epoch
    lane 0    #c cd de e# #f                each of B = 2 lanes reads a B-th of the stream,
    lane 1    fg g# #a ab b#                then its part of the next epoch's

A lane that reads the end symbol does so from the zero state, so nothing leaks from one document to the next. Where its
part begins inside a document it starts from the zero state as well, once in an epoch and lane: `starts` says both. The
order is a function of the seed and the number of the epoch alone (raw numbers of Philox, Salmon et al. 2011), so that a
position is all that is needed to go on exactly.

Shape letters: T window, B lanes, N documents, M pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from charrnn.settings.config import TrainingConfig
from charrnn.text.corpus import Parts
from charrnn.text.documents import Documents
from charrnn.text.stored import TextIds
from charrnn.text.vocabulary import Ids
from charrnn.training.lanes import Reading, Ring, TextWindow
from charrnn.training.schedule import spare_characters

Places = npt.NDArray[np.int64]
Numbers = TypeVar("Numbers", bound=npt.NDArray[Any])
_BLOCK = 1 << 15  # ids of a stream that are put together at once: each window by itself would take a tenth of a step


@dataclass(frozen=True, slots=True)
class DocumentRing:
    """The lanes over the documents of `ids`. A position is the number of pairs that each lane has read."""

    ids: TextIds
    documents: Documents
    seed: int
    lanes: int
    window: int
    spare: int = 0
    """A window may be longer than `window` by this many characters."""
    pairs: int = field(init=False)
    """The characters of all documents and their ends, M."""
    _lengths: Places = field(init=False, repr=False, compare=False)
    _orders: dict[int, tuple[Places, Places]] = field(default_factory=dict, repr=False, compare=False)
    _blocks: dict[tuple[int, int], Ids] = field(default_factory=dict, repr=False, compare=False)
    _places: dict[tuple[int, int], Places] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", self.documents.pairs)
        object.__setattr__(self, "_lengths", self.documents.lengths)

    @property
    def characters_per_step(self) -> int:
        """Characters that all lanes read in one step, B * T."""
        return self.lanes * self.window

    @property
    def lane_length(self) -> int:
        """Pairs that a lane reads in an epoch."""
        return -(-self.pairs // self.lanes)

    def epoch(self, position: int) -> float:
        """Passes over the documents when each lane has read `position` pairs."""
        return position / self.lane_length

    def steps(self, epochs: float) -> int:
        """Windows needed to read the documents `epochs` times: the last may reach a little further."""
        return max(1, -(-round(epochs * self.lane_length) // self.window))

    def window_at(
        self, position: int, lanes: slice = slice(None), length: int | None = None
    ) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
        """What these lanes read at `position`, what follows each, and where a lane starts from zero: (T, lanes) each.

        T is `length` or `window`.
        """
        T = self.window if length is None else length
        begins = self._begins[lanes]
        read, following = np.empty((2, T, len(begins)), np.int64)
        is_first = np.zeros((T, 1), np.bool_)
        for steps, epoch, offset in self._turns(position, T):
            count = steps.stop - steps.start
            for lane, begin in enumerate(begins):
                ids = self._read(self._block, epoch, begin + offset, count + 1)
                read[steps, lane], following[steps, lane] = ids[:-1], ids[1:]
            is_first[steps.start] = offset == 0
        return read, following, (read == self._end) | is_first

    def places_at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> Places:
        """Where in `ids` each character of the window at `position` stands, (T, lanes)."""
        T = self.window if length is None else length
        begins = self._begins[lanes]
        places = np.empty((T, len(begins)), np.int64)
        for steps, epoch, offset in self._turns(position, T):
            for lane, begin in enumerate(begins):
                count = steps.stop - steps.start
                places[steps, lane] = self._read(self._places_of_block, epoch, begin + offset, count)
        return places

    def at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> TextWindow:
        """The window at `position`: inputs (T, B), their successors (T, B) and starts (T, B) of these lanes."""
        inputs, targets, starts = map(torch.from_numpy, self.window_at(position, lanes, length))
        return TextWindow(inputs, targets, starts)

    @property
    def _end(self) -> int:
        """The id of the end symbol."""
        return int(self.ids[0])

    @property
    def _begins(self) -> list[int]:
        """The place in an epoch's stream where each lane begins."""
        return [lane * self.pairs // self.lanes for lane in range(self.lanes)]

    def _turns(self, position: int, T: int) -> Iterator[tuple[slice, int, int]]:
        """Yields the parts of a window that lie in one epoch each: its steps, the epoch, how far lanes are in it."""
        done = 0
        while done < T:
            epoch, offset = divmod(position + done, self.lane_length)
            count = min(T - done, self.lane_length - offset)
            yield slice(done, done + count), epoch, offset
            done += count

    def _read(self, block: Callable[[int, int], Numbers], epoch: int, start: int, count: int) -> Numbers:
        """Returns so many numbers of an epoch's stream, which goes on at its beginning, out of its blocks."""
        parts = []
        while count:
            start %= self.pairs
            number, place = divmod(start, _BLOCK)
            parts.append(block(epoch, number)[place : place + count])
            count -= len(parts[-1])
            start += len(parts[-1])
        return cast(Numbers, parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _block(self, epoch: int, number: int) -> Ids:
        """Returns the ids of one block of an epoch's stream; those that were read last are kept."""
        return _kept(
            self._blocks,
            (epoch, number),
            2 * self.lanes,
            lambda: cast(Ids, self.ids[self._look_up(epoch, number * _BLOCK)]),
        )

    def _places_of_block(self, epoch: int, number: int) -> Places:
        """Returns where one block of an epoch's stream is read, likewise."""
        return _kept(self._places, (epoch, number), 2 * self.lanes, partial(self._look_up, epoch, number * _BLOCK))

    def _look_up(self, epoch: int, start: int) -> Places:
        """Returns where in `ids` the block that begins at `start` in the epoch's stream is read."""
        order, ends = self._order(epoch)
        stop = min(start + _BLOCK, self.pairs)
        first, last = np.searchsorted(ends, (start, stop - 1), side="right")
        document, ends = order[first : last + 1], ends[first : last + 1]
        begins = ends - self._lengths[document] - 1
        lengths = np.minimum(ends, stop) - np.maximum(begins, start)
        places: Places = np.repeat(self.documents.begins[document] - 1 - begins, lengths) + np.arange(start, stop)
        return places

    def _order(self, epoch: int) -> tuple[Places, Places]:
        """Returns the documents in the order of an epoch, and where each ends in its stream: (N,) each."""
        if epoch not in self._orders:
            for past in [kept for kept in self._orders if kept < epoch - 1 or kept > epoch]:
                del self._orders[past]
            key = np.array([self.seed, epoch], np.uint64)
            drawn = np.random.Philox(key=key).random_raw(len(self.documents.begins))
            order = np.argsort(drawn, kind="stable").astype(np.int64)
            self._orders[epoch] = order, np.cumsum(self._lengths[order] + 1)
        return self._orders[epoch]


def _kept(
    kept: dict[tuple[int, int], Numbers], key: tuple[int, int], most: int, make: Callable[[], Numbers]
) -> Numbers:
    """Returns what is kept under a key, which is made where it is not; the first ones go where there are many."""
    if key not in kept:
        while len(kept) > most:
            del kept[next(iter(kept))]
        kept[key] = make()
    return kept[key]


def reading_of(parts: Parts, training: TrainingConfig) -> Reading:
    """Returns the order in which a run reads its training text: along it, or document by document."""
    lanes, window, spare = training.batch_size, training.bptt, spare_characters(training)
    if parts.documents is None:
        return Ring(parts.train, lanes, window, spare)
    return DocumentRing(parts.train, parts.documents, training.seed, lanes, window, spare)
