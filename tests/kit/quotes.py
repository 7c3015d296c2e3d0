"""A text with quotations, and an lstm built by hand that knows when it is inside one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.neurons.find import untrained_arrays
from charrnn.settings.config import ModelConfig
from charrnn.text.vocabulary import Vocabulary


def quoted_words(characters: int, seed: int = 0) -> str:
    """Words in lines, some of them between typographic quotes of very different lengths."""
    random = np.random.default_rng(seed)
    pieces, inside = [], False
    while sum(map(len, pieces)) < characters:
        word = "".join(random.choice(list("abcdefgh"), random.integers(1, 8)))
        if random.random() < 0.15:
            word = word + "”" if inside else "“" + word
            inside = not inside
        pieces.append(word + ("\n" if random.random() < 0.1 else " "))
    return "".join(pieces)[:characters]


def quote_cell(
    config: ModelConfig, vocabulary: Vocabulary, unit: int, *, inside: float = 1.0, outside: float = -1.0
) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of chance, but for one cell of the only layer: its c is `inside` (1, 0 or -1) after an opening quote,
    `outside` after a closing one, and stays so in between."""
    V, H = len(vocabulary), config.hidden_size
    arrays = untrained_arrays(config, V, seed=3)
    arrays["embedding"] = np.eye(V, dtype=np.float32)
    quotes = [int(vocabulary.encode(quote)[0]) for quote in "“”"]
    for place, (at_rest, at_quotes) in enumerate(((-20, 40), (20, -40), (0, 0), (20, 0))):  # i f g o
        row = unit + place * H
        arrays["layers.1.weight_ih"][row] = 0
        arrays["layers.1.weight_hh"][row] = 0
        arrays["layers.1.bias"][row] = at_rest
        arrays["layers.1.weight_ih"][row, quotes] = at_quotes
    arrays["layers.1.bias"][unit + 2 * H] = 0
    arrays["layers.1.weight_ih"][unit + 2 * H, quotes] = 20 * inside, 20 * outside
    return arrays
