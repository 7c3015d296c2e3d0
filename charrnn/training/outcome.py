"""How a step of training came out.

Knows numbers on a device. Refuses to know how they came about.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class NotFinite(Exception):
    """Loss or gradient is not a finite number; the weights have not been touched."""

    def __init__(self, loss: float, gradient_norm: float) -> None:
        super().__init__(loss, gradient_norm)
        self.loss = loss
        self.gradient_norm = gradient_norm


class Outcome(NamedTuple):
    """What a step has to report, on the device; reading it waits for that."""

    report: Tensor
    """(4,): loss, gradient norm, whether clipped, whether skipped."""

    @property
    def loss(self) -> Tensor:
        """Nats per character of the window; of this process's lanes alone, as a part of the mean over all lanes."""
        return self.report[0]

    @property
    def gradient_norm(self) -> Tensor:
        """Global norm before clipping; 0 where the step was skipped."""
        return self.report[1]

    @property
    def is_clipped(self) -> Tensor:
        """1 where the norm was above the threshold."""
        return self.report[2]

    @property
    def is_skipped(self) -> Tensor:
        """1 where the gradient overflowed the range of fp16, so that the weights stay as they were."""
        return self.report[3]
