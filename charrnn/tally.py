"""Sums over training steps, kept where the numbers arise.

Adding is a few operations on the device and never waits for it; reading the means does. Knows sums. Refuses to know
what they are used for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Tally:
    """Sums of loss, gradient norm and clipped steps since it was cleared."""

    def __init__(self, device: torch.device) -> None:
        # float64 so that a sum saved and resumed stays the sum; Apple's GPUs have none.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(3, dtype=dtype, device=device)
        self.steps = 0

    def add(self, loss: torch.Tensor, norm: torch.Tensor, is_clipped: torch.Tensor) -> None:
        """Counts one step."""
        self._sums += torch.stack((loss, norm, is_clipped.to(loss.dtype)))
        self.steps += 1

    def clear(self) -> None:
        """Begins anew."""
        self._sums.zero_()
        self.steps = 0

    def means(self) -> dict[str, float]:
        """nats, gradient_norm and clip_rate a step; this waits for the device."""
        nats, norm, clipped = (self._sums / max(self.steps, 1)).tolist()
        return {"nats": nats, "gradient_norm": norm, "clip_rate": clipped}

    def to_numpy(self) -> npt.NDArray[np.float64]:
        """The sums and the number of steps, (4,)."""
        return np.array([*self._sums.tolist(), self.steps], np.float64)

    def load(self, saved: npt.NDArray[Any]) -> None:
        """The inverse of `to_numpy`."""
        self._sums.copy_(torch.from_numpy(np.array(saved[:3])))
        self.steps = int(saved[3])
