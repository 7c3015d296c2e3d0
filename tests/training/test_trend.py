"""Whether more training would help, told from made-up histories."""

from __future__ import annotations

import math

import pytest

from charrnn.events import Trend
from charrnn.training.trend import trend_of

_BIT = math.log(2)


def _history(values: dict[int, float | None]) -> list[list[float | None]]:
    """One list for each validation, of bits by step."""
    return [[step, None, None if bits is None else bits * _BIT] for step, bits in values.items()]


def test_a_fall_by_hand() -> None:
    """The last quarter begins at step 75: halfway, in logarithms, from 3 bits at 72 to 2 at 78.125; 1.75 is best."""
    trend = trend_of(_history({10: 5.0, 72: 3.0, 78.125: 2.0, 100: 1.75}))  # type: ignore[dict-item]
    assert trend is not None
    assert (trend.kind, trend.best_step) == ("falling", 100)
    assert trend.fall_nats == pytest.approx(0.75 * _BIT)


def test_a_loss_that_falls_with_the_logarithm_is_read_exactly() -> None:
    """Of 2 - ln(step) / 10, the last quarter brings ln(4/3) / 10, however rare the validations are."""
    for steps in ([1, 100], [7, 40, 100], range(1, 101)):
        trend = trend_of([[step, 1.0, 2.0 - math.log(step) / 10] for step in steps])
        assert trend is not None
        assert trend.kind == "falling"
        assert trend.fall_nats == pytest.approx(math.log(4 / 3) / 10)


@pytest.mark.parametrize(("bits", "kind"), [(0.0099, "flat"), (0.0101, "falling"), (0.0, "flat")])
def test_a_hundredth_of_a_bit_is_the_border(bits: float, kind: str) -> None:
    """What validation falls by from step 75 to step 100."""
    trend = trend_of(_history({25: 2.0, 75: 2.0, 100: 2.0 - bits}))
    assert trend is not None
    assert trend.kind == kind


def test_a_best_that_is_long_past_has_stopped() -> None:
    """Two validations of the last quarter must have missed it, since one can be chance."""
    assert trend_of(_history({20: 2.5, 40: 2.0, 80: 2.1, 100: 2.2})) == Trend("stopped", pytest.approx(
        (2.0 + 0.1 * math.log(75 / 40) / math.log(2) - 2.1) * _BIT), 40
    )  # fmt: skip
    one = trend_of(_history({20: 2.5, 40: 2.0, 60: 2.1, 100: 2.2}))
    assert one is not None
    assert one.kind == "flat"
    late = trend_of(_history({20: 2.5, 70: 2.05, 80: 2.0, 90: 2.1, 100: 2.2}))
    assert late is not None
    assert (late.kind, late.best_step) == ("falling", 80)


@pytest.mark.parametrize(
    "values", [{}, {10: 2.0}, {10: None, 20: None}, {0: 5.0, 10: 2.0}, {80: 2.5, 90: 2.25, 100: 2.0}]
)
def test_too_little_tells_nothing(values: dict[int, float | None]) -> None:
    """One validation, none with a number, none before the last quarter."""
    assert trend_of(_history(values)) is None
