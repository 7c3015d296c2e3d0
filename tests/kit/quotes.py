"""Texts with quotations, and lstms built by hand that know when they are inside one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from charrnn.neurons.untrained import untrained_arrays
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


H, PLANTED = 20, 17
INSIDE = "inside “quotes”"
QUOTE_RATE = 0.15


def letters_and_quotes(characters: int, seed: int = 0) -> str:
    """Letters at random; an opening quote now and then, and then, as often, a closing one."""
    random, inside, pieces = np.random.default_rng(seed), False, []
    for letter, chance in zip(random.choice(list("abcde "), characters), random.random(characters), strict=True):
        if chance < QUOTE_RATE:
            pieces.append("”" if inside else "“")
            inside = not inside
        else:
            pieces.append(letter)
    return "".join(pieces)


TEXT = letters_and_quotes(6000)
VOCABULARY = Vocabulary.of(TEXT)
V = len(VOCABULARY)
IDS = VOCABULARY.encode(TEXT)
CONFIG = ModelConfig(cell="lstm", num_layers=1, hidden_size=H, embedding_size=V)
OPENING, CLOSING = (int(VOCABULARY.encode(quote)[0]) for quote in "“”")


def planted_arrays(*, is_read: bool = True) -> dict[str, npt.NDArray[np.float32]]:
    """An lstm whose unit 17 is inside quotes (1) or not (-1); only the guess of closing quotes reads it, or nothing."""
    arrays = quote_cell(CONFIG, VOCABULARY, PLANTED)
    decoder, bias = np.zeros((V, H), np.float32), np.full(V, math.log((1 - QUOTE_RATE) / (V - 2)), np.float32)
    bias[OPENING], bias[CLOSING] = math.log(QUOTE_RATE), math.log(QUOTE_RATE) - 4
    if is_read:
        decoder[CLOSING, PLANTED] = 4 / math.tanh(1)  # what h becomes inside
    arrays["decoder.weight"], arrays["decoder.bias"] = decoder, bias
    return arrays
