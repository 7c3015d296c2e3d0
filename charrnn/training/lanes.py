"""The training text as a ring that B lanes read in windows of T characters.

    text    a b c d e f g h i j k l        (12 characters, B = 3 lanes, T = 2)

    lane 0  a b | c d | e f ...            each lane starts a B-th of the ring further on,
    lane 1  e f | g h | i j ...            reads without end, and goes round at the end of the text
    lane 2  i j | k l | a b ...

A lane's window follows its window before, so the recurrent state is carried from step to step and never thrown away.
After n / B characters lane 0 has come to where lane 1 began: one epoch, every character read once, none dropped,
every step of the same shape. The single seam, from the last character of the text to its first, is all this costs.

Shape letters: T window, B lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from charrnn.text.stored import TextIds


class TextWindow(NamedTuple):
    """What lanes read in a step: inputs and their successors, (T, B) each, as int64."""

    inputs: torch.Tensor
    targets: torch.Tensor
    starts: torch.Tensor | None = None
    """Where a lane's state is zero before it reads, (T, B), as bool, on the host; None where each goes on."""


class Reading(Protocol):
    """The order in which the lanes of a training run read their text."""

    @property
    def lanes(self) -> int:
        """B."""

    @property
    def window(self) -> int:
        """T of most windows."""

    @property
    def characters_per_step(self) -> int:
        """Characters that all lanes read in one step, B * T."""

    def epoch(self, position: int) -> float:
        """Passes over the text when each lane has read `position` characters."""

    def steps(self, epochs: float) -> int:
        """Windows needed to read the text `epochs` times: the last may reach a little further."""

    def at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> TextWindow:
        """The window at `position` of these lanes; T is `length` or `window`."""

    def places_at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> npt.NDArray[np.int64]:
        """Where in the text each character of the window at `position` stands, (T, lanes)."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The lanes over `ids`. A position is the number of characters each lane has read."""

    ids: TextIds
    lanes: int
    window: int
    spare: int = 0
    """A window may be longer than `window` by this many characters."""

    @property
    def characters_per_step(self) -> int:
        """Characters that all lanes read in one step, B * T."""
        return self.lanes * self.window

    def epoch(self, position: int) -> float:
        """Passes over the text when each lane has read `position` characters."""
        return position * self.lanes / len(self.ids)

    def steps(self, epochs: float) -> int:
        """Windows needed to read the text `epochs` times: the last may reach a little further."""
        return max(1, -(-round(epochs * len(self.ids)) // self.characters_per_step))

    @property
    def starts(self) -> list[int]:
        """The place in `ids` where each lane begins."""
        return [lane * len(self.ids) // self.lanes for lane in range(self.lanes)]

    def window_at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> npt.NDArray[np.int64]:
        """What these lanes read at `position`, and one more character: (T + 1, lanes); T is `length` or `window`."""
        T = self.window if length is None else length
        ids = self.ids
        size = len(ids)
        starts = self.starts[lanes]
        window = np.empty((T + 1, len(starts)), np.int64)
        for lane, begin in enumerate(starts):
            start = (begin + position) % size
            stop = start + T + 1
            if stop <= size:
                window[:, lane] = ids[start:stop]
            else:  # over the seam, for a tiny text more than once
                window[:, lane] = ids[np.arange(start, stop) % size]
        return window

    def places_at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> npt.NDArray[np.int64]:
        """Where in `ids` each character of the window at `position` stands, (T, lanes)."""
        steps = np.arange(position, position + (self.window if length is None else length))
        places: npt.NDArray[np.int64] = (steps[:, None] + np.array(self.starts[lanes])) % len(self.ids)
        return places

    def at(self, position: int, lanes: slice = slice(None), length: int | None = None) -> TextWindow:
        """The window at `position`: inputs (T, B) and their successors (T, B) of these lanes, as int64."""
        tensor = torch.from_numpy(self.window_at(position, lanes, length))
        return TextWindow(tensor[:-1], tensor[1:])
