"""Nouns and articles agree with what they stand beside."""

from __future__ import annotations

import pytest

from charrnn.wording import an, count


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("step",), "0 steps"),
        (1, ("thread",), "1 thread"),
        (2, ("thread",), "2 threads"),
        (12345, ("character",), "12,345 characters"),
        (1, ("pass", "passes"), "1 pass"),
        (3, ("pass", "passes"), "3 passes"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, nouns: tuple[str, ...], said: str) -> None:
    assert count(number, *nouns) == said


@pytest.mark.parametrize("said", ["an lstm", "a gru", "an rnn", "a urnn", "an embedding", "a unit", "an mlstm"])
def test_an_article_goes_with_the_sound_of_a_name(said: str) -> None:
    assert an(said.split()[1]) == said
