"""The score of a text: nats summed over characters, divided once. This module imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.wording import count


@dataclass(frozen=True, slots=True, repr=False)
class TextScore:
    """Nats summed over the scored characters, and how many these are."""

    nats: float
    characters: int

    @property
    def nats_per_character(self) -> float:
        """The mean loss in nats."""
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        """The mean loss in bits, known as bpc."""
        return self.nats / (self.characters * math.log(2))

    def __repr__(self) -> str:
        return f"<score of {count(self.characters, 'character')}: {self.bits_per_character:.4f} bits per character>"
