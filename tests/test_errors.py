"""Errors: their text holds the hint, and the command line prints message and hint on two lines as before."""

from __future__ import annotations

from charrnn.errors import CharrnnError, UsageError, WeightsTooLarge
from tests.kit.command import Command


def test_the_text_of_an_error_says_what_to_do() -> None:
    """On the line after what is wrong; without a hint there is one line."""
    assert str(UsageError("--lr is 0", "it must be above 0")) == "--lr is 0\nit must be above 0"
    assert str(CharrnnError("it is so")) == "it is so"
    assert str(WeightsTooLarge("the state is")) == (
        "the state is not finite: the weights are too large to compute with\ntrain again"
    )


def test_the_command_line_prints_message_and_hint_once(command: Command) -> None:
    """Each on its line, with the names of options."""
    result = command("sample", "--top-p", "0")
    assert result.status == 2
    assert result.err == "error: --top-p is 0.0\n hint: it must be a number above 0 and at most 1\n"
