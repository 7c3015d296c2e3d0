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

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from charrnn.settings.config import TrainingConfig
from charrnn.text.corpus import Parts
from charrnn.text.documents import Documents
from charrnn.text.stored import TextIds
from charrnn.training.lanes import Reading, Ring, TextWindow
from charrnn.training.schedule import spare_characters

Places = npt.NDArray[np.int64]


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
    _orders: dict[int, tuple[Places, Places]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def characters_per_step(self) -> int:
        """Characters that all lanes read in one step, B * T."""
        return self.lanes * self.window

    @property
    def pairs(self) -> int:
        """The characters of all documents and their ends, M."""
        documents = self.documents
        return int((documents.ends - documents.begins).sum()) + len(documents.begins)

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
        begins = np.array([lane * self.pairs // self.lanes for lane in range(self.lanes)[lanes]], np.int64)
        places = np.empty((T, len(begins)), np.int64)
        starts = np.zeros((T, len(begins)), np.bool_)
        done = 0
        while done < T:
            epoch, offset = divmod(position + done, self.lane_length)
            count = min(T - done, self.lane_length - offset)
            places[done : done + count] = self._places(epoch, begins + offset + np.arange(count)[:, None])
            starts[done] = offset == 0
            done += count
        read = self.ids[places.ravel()].astype(np.int64).reshape(places.shape)
        starts |= read == int(self.ids[0])  # the end symbol
        following = self.ids[places.ravel() + 1].astype(np.int64).reshape(places.shape)
        return read, following, starts

    def at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> TextWindow:
        """The window at `position`: inputs (T, B), their successors (T, B) and starts (T, B) of these lanes."""
        inputs, targets, starts = map(torch.from_numpy, self.window_at(position, lanes, length))
        return TextWindow(inputs, targets, starts)

    def _places(self, epoch: int, offsets: Places) -> Places:
        """Returns where in `ids` the pairs at these places of the epoch's stream are read."""
        order, ends = self._order(epoch)
        offsets = offsets % self.pairs
        number = np.searchsorted(ends, offsets, side="right")
        document = order[number]
        places: Places = self.documents.ends[document] - (ends[number] - offsets)
        return places

    def _order(self, epoch: int) -> tuple[Places, Places]:
        """Returns the documents in the order of an epoch, and where each ends in its stream: (N,) each."""
        if epoch not in self._orders:
            for past in [kept for kept in self._orders if kept < epoch - 1 or kept > epoch]:
                del self._orders[past]
            key = np.array([self.seed, epoch], np.uint64)
            drawn = np.random.Philox(key=key).random_raw(len(self.documents.begins))
            order = np.argsort(drawn, kind="stable").astype(np.int64)
            lengths = self.documents.ends - self.documents.begins + 1
            self._orders[epoch] = order, np.cumsum(lengths[order])
        return self._orders[epoch]


def reading_of(parts: Parts, training: TrainingConfig) -> Reading:
    """Returns the order in which a run reads its training text: along it, or document by document."""
    lanes, window, spare = training.batch_size, training.bptt, spare_characters(training)
    if parts.documents is None:
        return Ring(parts.train, lanes, window, spare)
    return DocumentRing(parts.train, parts.documents, training.seed, lanes, window, spare)
