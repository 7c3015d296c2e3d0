"""Texts made up for the tests."""

from __future__ import annotations

import random
import re


def with_line_ends(texts: list[str]) -> str:
    """Returns files as one text: behind each but the last stands a line end, where it has none, of the kind that comes
    first in it."""
    whole = ""
    for place, text in enumerate(texts):
        kinds = re.findall(r"\r\n|\r|\n", text)
        is_ended = not text or text[-1] in "\r\n"
        whole += text if is_ended or place == len(texts) - 1 else text + (kinds[0] if kinds else "\n")
    return whole


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
