"""Nouns and articles agree with what they stand beside."""

from __future__ import annotations

import pytest

from charrnn.wording import ago, an, count


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


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3.0, "just now"),
        (0.9, "just now"),
        (1.0, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60.0, "1 minute ago"),
        (3599.0, "59 minutes ago"),
        (7300.0, "2 hours ago"),
        (86_400.0, "1 day ago"),
        (1e8, "1,157 days ago"),
    ],
)
def test_how_long_ago_is_said_in_whole_units(seconds: float, said: str) -> None:
    assert ago(seconds) == said
