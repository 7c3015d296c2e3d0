"""Where lanes of a window begin anew: before such a step a lane's state is the zero state, whatever it was.

A loop over the steps chooses between both before each step. A kernel of cuDNN takes a whole window and knows nothing of
this, so that for it each lane is cut where it begins anew. All pieces then run side by side, the longest first, as one
packed sequence: the first of a lane from the state that was carried, the others from zeros.

Shape letters: T window, B lanes, N pieces, H hidden size.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cells.cell import State

Indices = npt.NDArray[np.int64]


class Cut(NamedTuple):
    """The pieces of all lanes, the longest first, and how to get from a window (T, B) to them and back."""

    sizes: Indices
    """The number of pieces that have a first step, a second one, and so on."""
    places: Indices
    """(T B): the place in the window of each step of the pieces: first all first steps, then all second ones."""
    inverse: Indices
    """(T B): where each place of the window went."""
    sources: Indices
    """(N,): the lane whose carried state a piece begins with, or B for zeros."""
    last: Indices
    """(B,): the piece that each lane ends with."""


def cut(mask: npt.NDArray[np.bool_]) -> Cut:
    """Returns the pieces of a window whose lanes begin anew where `mask` (T, B) says."""
    T, B = mask.shape
    begins = mask.copy()
    begins[0] = True
    lane, start = np.nonzero(begins.T)
    is_last = np.append(lane[1:] != lane[:-1], True)
    length = np.where(is_last, T, np.append(start[1:], T)) - start
    order = np.argsort(-length, kind="stable")
    lane, start, length, is_last = lane[order], start[order], length[order], is_last[order]
    sizes = len(order) - np.cumsum(np.bincount(length))[:-1]
    step = np.repeat(np.arange(len(sizes)), sizes)
    piece = np.arange(T * B) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = (start[piece] + step) * B + lane[piece]
    inverse, last = np.empty_like(places), np.empty(B, np.int64)
    inverse[places] = np.arange(T * B)
    last[lane[is_last]] = np.flatnonzero(is_last)
    sources = np.where((start == 0) & ~mask[0, lane], lane, B)
    return Cut(sizes, places, inverse, sources, last)


class Packed:
    """A cut window on a device: takes a window there and back."""

    def __init__(self, made: Cut, device: torch.device) -> None:
        self.sizes = torch.from_numpy(made.sizes)  # on the host, where torch reads them
        joined = _sent(torch.from_numpy(np.concatenate(made[1:])), device)
        parts = torch.split(joined, [len(part) for part in made[1:]])
        self._places, self._inverse, self._sources, self._last = parts

    def rows(self, window: Tensor) -> Tensor:
        """Returns the steps (T B, ...) of all pieces from a window (T, B, ...)."""
        return window.flatten(0, 1).index_select(0, self._places)

    def window(self, rows: Tensor) -> Tensor:
        """Returns the window (T, B, ...) from the steps of all pieces."""
        return rows.index_select(0, self._inverse).view(-1, len(self._last), *rows.shape[1:])

    def before(self, array: Tensor) -> Tensor:
        """Returns what each piece begins with (N, H), from a state's array (B, H)."""
        return torch.cat((array, torch.zeros_like(array[:1]))).index_select(0, self._sources)

    def after(self, array: Tensor) -> Tensor:
        """Returns what each lane ends with (B, H), from what each piece does (N, H)."""
        return array.index_select(0, self._last)


class Starts:
    """Before which steps lanes begin anew: a mask (T, B), on the device that computes or on the host."""

    def __init__(self, mask: Tensor, device: torch.device) -> None:
        self._mask, self._device = mask, device

    def __len__(self) -> int:
        return len(self._mask)

    @cached_property
    def mask(self) -> Tensor:
        """The mask on the device."""
        return _sent(self._mask, self._device)

    @cached_property
    def packed(self) -> Packed | None:
        """The window in pieces; None where no lane begins anew inside it. Where the mask lies on the device, this waits
        for it."""
        mask = self._mask.cpu().numpy()
        return Packed(cut(mask), self._device) if mask[1:].any() else None


def _sent(array: Tensor, device: torch.device) -> Tensor:
    """Returns the array on the device, without waiting for it."""
    if array.device == device or device.type != "cuda":
        return array.to(device)
    pinned = torch.empty(array.shape, dtype=array.dtype, pin_memory=True)
    return pinned.copy_(array).to(device, non_blocking=True)


def zeroed(state: State, begun: Tensor, zero: State) -> State:
    """Returns the state before a step: `zero` in the lanes that begin anew, `begun` (B,), and `state` in the others."""
    chosen = begun.unsqueeze(1)
    return tuple(torch.where(chosen, nought.to(array.dtype), array) for nought, array in zip(zero, state, strict=True))


def find_starts(ids: Tensor, starts: Tensor | None, end: int | None) -> Starts | None:
    """Returns where lanes of a window of ids (T, B) begin anew: where `starts` (T, B) says, and before each `end`.

    `starts` on the host beside ids on a GPU is taken as it is and has to name the ends, too: nothing then waits for the
    device. Returns None where no lane can begin anew.
    """
    if starts is not None and starts.device != ids.device:
        return Starts(starts, ids.device)
    if end is None:
        return None if starts is None else Starts(starts, ids.device)
    ends = ids == end
    return Starts(ends if starts is None else starts | ends, ids.device)
