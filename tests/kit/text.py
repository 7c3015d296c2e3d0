"""Texts made up for the tests."""

from __future__ import annotations

import random


def make_text(characters: int, seed: int = 0) -> str:
    """Text with structure to learn: words of a small lexicon in sentences, quotes and lines, `characters` long."""
    pick = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    lexicon = ["".join(pick.choice(letters) for _ in range(pick.randint(1, 7))) for _ in range(60)]
    pieces: list[str] = []
    length = 0
    while length < characters:
        words = [pick.choice(lexicon) for _ in range(pick.randint(3, 9))]
        sentence = " ".join(words).capitalize() + pick.choice(".!?") + pick.choice(" \n")
        if pick.random() < 0.3:
            sentence = f'"{sentence.strip()}" '
        pieces.append(sentence)
        length += len(sentence)
    return "".join(pieces)[:characters]
