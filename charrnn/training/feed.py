"""Provides the windows of text that training steps read, on the device that they run on.

On a CPU they are cut on request. A GPU holds the whole text in its memory as ids, where there is room, and gathers
windows there; a text that is too large is sent window by window through two buffers of pinned memory, of which one is
filled while the other may still be in transfer. Nothing here waits for the device, except for a buffer that is needed
again while still in transfer.

Shape letters: T window, B lanes (of this process), N characters.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from charrnn.text.stored import pieces
from charrnn.training.lanes import Reading, Ring, TextWindow

_MOST_OF_FREE = 0.25
_PIECE = 1 << 24
_TENSORS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


class Feed(Protocol):
    """A source of the windows of a ring, on a device."""

    def at(self, position: int, length: int | None = None) -> TextWindow:
        """Returns the window at `position`: inputs (T, B) and their successors (T, B), int64.

        A window may lie in the computer's memory, whatever the device. T is `length`, at most the ring's
        `window + spare`; its `window` where none is given.
        """

    def places(self, position: int, length: int | None = None) -> torch.Tensor:
        """Returns where in the text each input of the window at `position` stands, (T, B), int64, likewise."""


def make_feed(ring: Reading, lanes: slice, device: torch.device) -> Feed:
    """Returns the feed that suits the device, the size of the text and the order in which it is read."""
    if device.type != "cuda" or not isinstance(ring, Ring):
        return HostFeed(ring, lanes)
    free, _ = torch.cuda.mem_get_info(device)
    return (
        ResidentFeed(ring, lanes, device)
        if ring.ids.nbytes <= _MOST_OF_FREE * free
        else PinnedFeed(ring, lanes, device)
    )


class HostFeed:
    """Cuts windows from the text in the computer's memory."""

    def __init__(self, ring: Reading, lanes: slice) -> None:
        self._ring, self._lanes = ring, lanes

    def at(self, position: int, length: int | None = None) -> TextWindow:
        """Returns the window at `position`, as `Feed.at` describes."""
        return self._ring.at(position, self._lanes, length)

    def places(self, position: int, length: int | None = None) -> torch.Tensor:
        """Returns where each input of the window at `position` stands, as `Feed.places` describes."""
        return torch.from_numpy(self._ring.places_at(position, self._lanes, length))


class ResidentFeed:
    """Gathers windows from the text in the device's memory."""

    def __init__(self, ring: Ring, lanes: slice, device: torch.device) -> None:
        ids = ring.ids
        # torch does little with unsigned numbers of two and four bytes; no vocabulary reaches the sign of the latter.
        signed = {2: np.int16, 4: np.int32}.get(ids.itemsize)
        self._ids = torch.empty(len(ids), dtype=_TENSORS[ids.itemsize], device=device)
        start = 0
        for piece in pieces(ids, _PIECE):  # so that a large text is never in the computer's memory as a whole
            own = np.array(piece)  # since torch warns of an array that cannot be written to
            self._ids[start : start + len(own)] = torch.from_numpy(own if signed is None else own.view(signed))
            start += len(own)
        self._mask = (1 << 8 * ids.itemsize) - 1
        starts = torch.tensor(ring.starts[lanes], dtype=torch.int64)
        most = torch.arange(ring.window + ring.spare + 1)
        self._ahead = (starts[None, :] + most[:, None]).to(device)  # (T + 1, B) of the longest window
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._window = ring.window

    def at(self, position: int, length: int | None = None) -> TextWindow:
        """Returns the window at `position`, as `Feed.at` describes."""
        self.seek(position)
        return self.gather(length)

    def seek(self, position: int) -> None:
        """Sets where the next window begins, with one kernel: this is the part that the host decides."""
        self._position.fill_(position)

    def gather(self, length: int | None = None) -> TextWindow:
        """Returns the window that begins where `seek` said; a CUDA graph may record this."""
        T = self._window if length is None else length
        window = self._ids[self._gathered(T + 1)].long()
        if self._ids.dtype != torch.uint8:
            window &= self._mask
        return TextWindow(window[:-1], window[1:])

    def places(self, position: int, length: int | None = None) -> torch.Tensor:
        """Returns where each input of the window at `position` stands, as `Feed.places` describes."""
        self.seek(position)
        return self.gather_places(length)

    def gather_places(self, length: int | None = None) -> torch.Tensor:
        """Returns where the inputs of the window stand that begins where `seek` said; a graph may record this."""
        return self._gathered(self._window if length is None else length)

    def _gathered(self, count: int) -> torch.Tensor:
        return (self._ahead[:count] + self._position) % len(self._ids)


class PinnedFeed:
    """Sends windows to the device through two buffers of pinned memory."""

    def __init__(self, ring: Ring, lanes: slice, device: torch.device) -> None:
        self._ring, self._lanes, self._device = ring, lanes, device
        shape = (ring.window + ring.spare + 1, lanes.stop - lanes.start)
        self._pieces = [torch.empty(shape, dtype=torch.int64, pin_memory=True) for _ in range(2)]
        self._sent = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
        self._turn = 0

    def at(self, position: int, length: int | None = None) -> TextWindow:
        """Returns the window at `position`, as `Feed.at` describes."""
        self._turn = 1 - self._turn
        piece, sent = self._pieces[self._turn], self._sent[self._turn]
        sent.synchronize()  # of two windows ago: it has long been
        cut = self._ring.window_at(position, self._lanes, length)
        piece = piece[: len(cut)]
        piece.copy_(torch.from_numpy(cut))
        window = piece.to(self._device, non_blocking=True)
        sent.record()
        return TextWindow(window[:-1], window[1:])

    def places(self, position: int, length: int | None = None) -> torch.Tensor:
        """Returns where each input of the window at `position` stands, as `Feed.places` describes, on the host."""
        return torch.from_numpy(self._ring.places_at(position, self._lanes, length))
