"""Rows of figures stand under their heading, and samples under them."""

from __future__ import annotations

import math

import pytest

from charrnn.display.blocks import heading, row, sample_lines, shortened
from charrnn.display.status import figures, summary
from charrnn.display.wrap import cells
from charrnn.events import Finished, Progress

_BIT = math.log(2)


def test_rows_by_hand() -> None:
    """At 80 columns and in a file; a dash for what was not measured."""
    rows = [
        heading(80),
        row(80, 14, 14_336, 5.5 * _BIT, None),
        row(80, 12_345, 12_641_280, 2.25 * _BIT, 2.125 * _BIT, is_best=True),
        row(80, 999_999_999, 1, None, 12.5 * _BIT),
    ]
    assert rows == [
        "     step     characters  train bpc  validation bpc",
        "       14         14,336      5.500               -",
        "   12,345     12,641,280      2.250           2.125  best",
        "999,999,999              1          -          12.500",
    ]
    assert [heading(None), row(None, 14, 14_336, 5.5 * _BIT, None)] == rows[:2]


@pytest.mark.parametrize("width", [40, 80, None])
@pytest.mark.parametrize("bpc", [999.999, 999.9996, 1000.0, 5.4e18, math.inf])
def test_columns_stay_apart_where_a_run_explodes(width: int | None, bpc: float) -> None:
    """However many digits a loss has, it stands under its name, and not in the column before."""
    shown = row(width, 2, 2_048, bpc * _BIT, bpc * _BIT)
    assert len(shown) == len(heading(width))
    loss = shown.split()[-1]
    assert shown.split()[-2:] == [loss, loss]
    assert float(loss) == pytest.approx(bpc, rel=0.05)


@pytest.mark.parametrize("width", [40, 59])
def test_a_narrow_terminal_has_no_column_of_characters(width: int) -> None:
    """Forty cells are enough for what is left."""
    assert heading(width) == "     step   train  validation bpc"
    longest = row(width, 1_234_567, 10**9, 2.25 * _BIT, 2.125 * _BIT, is_best=True)
    assert longest == "1,234,567   2.250           2.125  best"
    assert len(longest) <= 40


def test_a_sample_grows_with_the_run() -> None:
    """Eighty written characters at first, all of them from a quarter of the budget on, cut between words if it can."""
    text = "prime" + "abcd " * 60
    lengths = [len(shortened(text, share, primed=5).removesuffix(" ...")) for share in (0.0, 0.05, 0.125, 0.25, 1.0)]
    assert lengths == [84, 124, 194, 305, 305]
    assert shortened(text, 0.0, primed=5) == "prime" + ("abcd " * 16).rstrip() + " ..."
    assert shortened("x" * 300, 0.0, primed=0) == "x" * 80 + " ..."
    assert shortened("x" * 80, 0.0, primed=0) == "x" * 80
    assert shortened("p" * 200 + "x" * 100, 0.0, primed=200) == "p" * 200 + "x" * 80 + " ..."


def test_a_sample_fits_its_terminal() -> None:
    """Broken between words, torn where a word is too wide; a tab is spaces; in a file nothing is changed."""
    text = "to be or not\n\tto be\n\n" + "x" * 25 + "\n"
    assert sample_lines(text, 14) == [
        "  | to be or", "  | not", "  |     to be", "  | ", "  | xxxxxxxxxx", "  | xxxxxxxxxx", "  | xxxxx",
    ]  # fmt: skip
    assert sample_lines(text, None) == ["  | to be or not", "  | \tto be", "  | ", "  | " + "x" * 25]
    assert all(cells(line) <= 20 for line in sample_lines("\u4e2d\u6587" * 30, 20))


def test_progress_says_the_most_important_first() -> None:
    """What is left of the time, then the loss, the speed, the learning rate without an exponent, the gradient."""
    event = Progress(
        step=50, epoch=0.5, characters=100, fraction=0.25, seconds=10.0, seconds_left=344.0, train_nats=3 * _BIT,
        learning_rate=0.00005, gradient_norm=0.5, characters_per_second=12345.6,
    )  # fmt: skip
    parts = ["12,346 characters/s", "train 3.000 bpc", "learning rate 0.00005", "gradient 0.50", "5 min 44 s left"]
    whole = " \u00b7 ".join(parts)
    assert figures(event, None) == figures(event, len(whole)) == whole
    assert figures(event, 66) == "12,346 characters/s \u00b7 train 3.000 bpc \u00b7 5 min 44 s left"
    assert figures(event, 40) == "train 3.000 bpc \u00b7 5 min 44 s left"
    assert figures(event, 20) == "5 min 44 s left"
    assert figures(event, 10) == ""


def test_the_end_in_words() -> None:
    """One step is no steps; a signal has a name; a skipped step is told."""
    ended = Finished("signal", 1, 1, 1.0, None, None, 0, skipped=1, signal=2)
    assert (
        summary(ended)
        == "stopped by Ctrl-C and saved after 1 step, 1 character and 1 s, with 1 step skipped for overflow"
    )
    assert summary(Finished("signal", 2, 9, 1.0, None, None, 0, signal=15)).startswith("stopped by SIGTERM and saved")
    assert summary(Finished("signal", 2, 9, 1.0, None, None, 0, signal=99)).startswith("stopped by signal 99 and")
