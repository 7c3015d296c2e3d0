"""Nouns and articles agree with what they stand beside."""

from __future__ import annotations

import math

import pytest

from charrnn.wording import ago, an, count, epochs, figure, rounded


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


@pytest.mark.parametrize(
    ("number", "digits", "said"),
    [
        (5e-05, 2, "0.00005"), (0.27, 2, "0.27"), (1.0, 2, "1"), (13.4, 2, "13"), (1234.5, 2, "1,200"),
        (0.0996, 2, "0.1"), (99.6, 2, "100"), (0.0, 2, "0"), (1e6, 15, "1,000,000"), (0.3, 15, "0.3"),
        (1234567, 15, "1,234,567"), (math.inf, 2, "inf"), (math.nan, 2, "nan"), (-0.25, 2, "-0.25"),
    ],
)  # fmt: skip
def test_a_figure_has_no_exponent(number: float, digits: int, said: str) -> None:
    assert figure(number, digits) == said


def test_large_numbers_and_epochs_in_words() -> None:
    assert [rounded(number) for number in (1234567, 99.7e6, 31000, 800, 2.5e9)] == [
        "1.2 million", "100 million", "31,000", "800", "2.5 billion",
    ]  # fmt: skip
    assert [epochs(number) for number in (1.0, 1.04, 0.27, 13.4, 5e-05)] == [
        "1 epoch", "1 epoch", "0.27 epochs", "13 epochs", "less than 0.01 epochs",
    ]  # fmt: skip
