"""Colours text by surprisal: by how little the model expected each character.

The background runs from none (expected) over white to orange (a surprisal of eight bits or more).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.style import Style
from rich.text import Text

from charrnn.display.background import style_on
from charrnn.display.palette import SAFE
from charrnn.display.safe import visible

MOST_BITS = 8.0


def style(console: Console, bits: float) -> Style:
    """Returns how a character looks on a console whose surprisal, -log2 of its probability, is `bits`.

    Below one bit (an even bet) it has no background.
    """
    return Style() if bits < 1 else style_on(console, SAFE.guesses, bits / MOST_BITS)


def coloured(characters: Iterable[tuple[str, float]], console: Console) -> Text:
    """Returns characters, given with their log-probabilities (nats), as text that is safe on a terminal."""
    text = Text()
    for character, log_probability in characters:
        text.append(visible(character), style(console, -log_probability / math.log(2)))
    return text
