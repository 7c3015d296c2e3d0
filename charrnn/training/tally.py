"""Sums over training steps, kept where the numbers arise.

Adding is a few operations on the device and never waits for it; reading the means waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.training.distributed import ALONE, World

_TALLY = "tally"


class StepSums:
    """Sums of loss, gradient norm, clipped and skipped steps since it was cleared."""

    def __init__(self, device: torch.device) -> None:
        # float64 so that a sum saved and resumed stays the sum; Apple's GPUs have none.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(4, dtype=dtype, device=device)
        self.steps = 0
        self.windows = 0.0

    def add(self, report: torch.Tensor, window: float = 1.0) -> None:
        """Counts one step: loss, gradient norm (0 where it was skipped), whether clipped, whether skipped.

        `window` is its length as a share of the usual one: the mean loss is that of a character, not of a step.
        """
        if window == 1.0:
            self.add_report(report)
        else:
            self._sums[0].add_(report[0], alpha=window)
            self._sums[1:] += report[1:]
        self.count(window)

    def add_report(self, report: torch.Tensor) -> None:
        """The part of adding a step with a window of the usual length that happens on the device: one kernel."""
        self._sums += report

    def count(self, window: float = 1.0) -> None:
        """The part of adding a step that happens on the host."""
        self.steps += 1
        self.windows += window

    def tensors(self) -> list[torch.Tensor]:
        """The tensors that `add_report` changes."""
        return [self._sums]

    def clear(self) -> None:
        """Sets all sums and counts to zero."""
        self._sums.zero_()
        self.steps, self.windows = 0, 0.0

    def means(self, world: World = ALONE) -> dict[str, float]:
        """Returns nats (a character), gradient_norm and clip_rate (a step), and the number of skipped steps.

        This waits for the device, and for all ranks. The mean norm is that of the steps that were not skipped.
        """
        nats, norm, clipped, skipped = self._over(world)
        made = max(self.steps - skipped, 1)
        steps = max(self.steps, 1)
        return {
            "nats": nats / (self.windows or 1.0),
            "gradient_norm": norm / made,
            "clip_rate": clipped / steps,
            "skipped": skipped,
        }

    def _over(self, world: World) -> list[float]:
        """Returns the sums: that of the loss over all ranks, each of which has a part; on the others all agree."""
        sums: list[float] = self._sums.tolist()
        return [float(world.total(self._sums[:1])[0]), *sums[1:]]

    def to_numpy(self, world: World = ALONE) -> npt.NDArray[np.float64]:
        """Returns the four sums, the number of steps and that of windows of the usual length, (6,)."""
        return np.array([*self._over(world), self.steps, self.windows], np.float64)

    def load(self, saved: npt.NDArray[Any], world: World = ALONE) -> None:
        """The inverse of `to_numpy`. Raises RuntimeError where there are more numbers, or fewer."""
        *sums, steps, windows = saved.tolist()
        if not world.is_first:
            sums[0] = 0.0
        self._sums.copy_(torch.tensor(sums, dtype=torch.float64).view_as(self._sums))
        self.steps, self.windows = int(steps), windows


class Recent:
    """The mean loss since it was last asked for, for showing only."""

    def __init__(self, tally: StepSums) -> None:
        self._tally = tally
        self._nats = self._windows = 0.0
        self._unshown: float | None = None

    def mean(self, world: World = ALONE) -> float | None:
        """Returns the nats of a character; None where no step was made. This waits for the device, and all ranks."""
        nats, windows = self._tally.means(world)["nats"] * self._tally.windows, self._tally.windows
        mean = (nats - self._nats) / (windows - self._windows) if windows > self._windows else self._unshown
        self._nats, self._windows, self._unshown = nats, windows, None
        return mean

    def forget(self, unshown: float | None = None) -> None:
        """Begins anew with sums that are cleared now. A mean that nobody was shown is told to who asks before the next
        step."""
        self._nats = self._windows = 0.0
        self._unshown = unshown


def tally_arrays(tallies: Sequence[StepSums], world: World) -> dict[str, npt.NDArray[np.float64]]:
    """Returns the sums as a checkpoint keeps them; every rank has to call this."""
    return {_TALLY: np.stack([tally.to_numpy(world) for tally in tallies])}


def load_tallies(tallies: Sequence[StepSums], saved: Mapping[str, npt.NDArray[Any]], world: World) -> None:
    """The inverse of `tally_arrays`. Raises KeyError, ValueError or RuntimeError where arrays do not fit."""
    for tally, sums in zip(tallies, saved[_TALLY], strict=True):
        tally.load(sums, world)
