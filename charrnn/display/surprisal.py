"""Colours text by surprisal: by how little the model expected each character.

The background runs from none (expected) over white to orange (a surprisal of eight bits or more).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.color import Color
from rich.style import Style
from rich.text import Text

from charrnn.display.palette import diverging, is_dark
from charrnn.display.safe import visible

_MOST_BITS = 8.0


def style(bits: float) -> Style:
    """Returns how a character looks whose surprisal, -log2 of its probability, is `bits`.

    Below one bit (an even bet) it has no background.
    """
    if bits < 1:
        return Style()
    colour = diverging(0.5 + min(bits, _MOST_BITS) / _MOST_BITS / 2)
    return Style(color="white" if is_dark(colour) else "black", bgcolor=Color.from_rgb(*colour))


def coloured(characters: Iterable[tuple[str, float]]) -> Text:
    """Returns characters, given with their log-probabilities (nats), as text that is safe on a terminal."""
    text = Text()
    for character, log_probability in characters:
        text.append(visible(character), style(-log_probability / math.log(2)))
    return text
