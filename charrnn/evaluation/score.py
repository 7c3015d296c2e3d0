"""The one number of language modelling: nats summed over characters, divided once.

Knows a sum and a count. Refuses to know how they came about, and does not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextScore:
    """Nats summed over the scored characters, and how many these are."""

    nats: float
    characters: int

    @property
    def nats_per_character(self) -> float:
        """Mean loss."""
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        """bpc."""
        return self.nats / (self.characters * math.log(2))
