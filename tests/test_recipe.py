"""Defaults: pure, within bounds, and moving the way the experiments point."""

from __future__ import annotations

import pytest

from charrnn.config import Budget, ModelConfig, TrainingConfig
from charrnn.recipe import REFERENCE_SPEED, choose, expected_characters, operations


@pytest.mark.parametrize("characters", [180, 100_000, 1_000_000, 3_000_000, 100_000_000])
@pytest.mark.parametrize("minutes", [0.05, 1, 3, 10, 60, 600])
def test_every_choice_is_within_bounds_and_the_same_again(characters: int, minutes: float) -> None:
    """Whole cache lines of units; a rate of dropout that leaves something."""
    recipe = choose(characters, Budget(minutes=minutes), "cpu", REFERENCE_SPEED)
    assert recipe == choose(characters, Budget(minutes=minutes), "cpu", REFERENCE_SPEED)
    assert 64 <= recipe.model.hidden_size <= 1024
    assert recipe.model.hidden_size % 64 == 0
    assert 0.0 <= recipe.model.dropout <= 0.6


def test_more_time_and_a_faster_machine_take_a_larger_model() -> None:
    """The same work, by either, takes the same one."""
    widths = [choose(10**7, Budget(minutes=m), "cpu", REFERENCE_SPEED).model.hidden_size for m in (1, 3, 10, 60)]
    assert widths == sorted(set(widths))
    assert choose(10**7, Budget(minutes=6), "cpu", REFERENCE_SPEED / 2).model.hidden_size == widths[1]


def test_text_that_is_read_again_takes_dropout() -> None:
    """None where most of it is new; a budget in epochs says it outright."""
    rates = [choose(n, Budget(minutes=3), "cpu", REFERENCE_SPEED).model.dropout for n in (10**8, 10**7, 10**6, 10**5)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert rates[-1] > 0.3
    assert choose(10**6, Budget(epochs=1), "cpu", REFERENCE_SPEED).model.dropout == 0.0
    assert choose(10**6, Budget(epochs=50), "cpu", REFERENCE_SPEED).model.dropout > 0.4


def test_what_the_user_chose_stays_and_the_rest_goes_with_it() -> None:
    """A small model sees more text in the same time, so it reads a small text more often."""
    asked = choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED, {"hidden_size": 100, "cell": "gru"}).model
    assert (asked.hidden_size, asked.cell) == (100, "gru")
    assert asked.dropout > choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED).model.dropout
    assert choose(10**6, Budget(minutes=3), "cpu", REFERENCE_SPEED, {"dropout": 0.07}).model.dropout == 0.07
    assert choose(10**6, Budget(minutes=3), "cuda", 0.0, {"num_layers": 3}).model.num_layers == 3


def test_operations_are_those_of_the_products() -> None:
    """By hand: 2 layers of 3 units, 5 characters; the first layer's input is not multiplied."""
    lstm = ModelConfig(num_layers=2, hidden_size=3, embedding_size=9)
    assert operations(lstm, 5) == 3 * 2 * (4 * 3 * 3 + 4 * 3 * 6 + 3 * 5)
    assert operations(ModelConfig(cell="gru", num_layers=1, hidden_size=3), 5) == 3 * 2 * (3 * 3 * 3 + 3 * 5)
    assert expected_characters(lstm, 5, 2e9, 10) == pytest.approx(2 * expected_characters(lstm, 5, 1e9, 10))


def test_defaults_are_valid() -> None:
    """A configuration checks itself."""
    assert TrainingConfig.from_dict(TrainingConfig().to_dict()) == TrainingConfig()
