"""Lines are broken between words only."""

from __future__ import annotations

import shlex
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.wrap import cells, columns, shell_lines, wrapped
from tests.kit.nasty import NASTY

_WORDS = st.lists(st.text("ab1-,.\u4e2d", min_size=1, max_size=12), min_size=1, max_size=20)


@given(_WORDS, st.integers(20, 60))
def test_no_word_is_torn_and_no_line_is_too_wide(words: list[str], width: int) -> None:
    """A character that takes two cells counts twice; without a width there is one line."""
    lines = wrapped(" ".join(words), width, hanging="  ")
    assert [word for line in lines for word in line.split()] == words
    assert all(cells(line) <= width or len(line.split()) == 1 for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    assert wrapped(" ".join(words), None) == [" ".join(words)]


def test_a_line_by_hand() -> None:
    """The name of an option stays whole, and so does a number; a line that just fits is not broken."""
    text = "use --learning-rate 0.00012 for 1,234,567 steps"
    assert wrapped(text, 27, hanging="  ") == ["use --learning-rate 0.00012", "  for 1,234,567 steps"]
    assert wrapped(text, 26, hanging="  ") == ["use --learning-rate", "  0.00012 for 1,234,567", "  steps"]
    assert wrapped("    an indented line", 14) == ["    an", "indented line"]
    assert wrapped("a " + "x" * 9, 5) == ["a", "x" * 9]
    assert wrapped("a " + "x" * 9, 5, is_torn=True) == ["a", "xxxxx", "xxxx"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), max_size=9), min_size=1))
def test_a_command_reads_the_same_in_a_shell(words: list[str]) -> None:
    """However it is broken, and whatever its words hold; a shell takes a backslash and the line's end for nothing."""
    for width in (None, 20, 80):
        assert shlex.split("\n".join(shell_lines(words, width)).replace("\\\n", "")) == words


def test_a_long_command_goes_on_in_the_next_line() -> None:
    """As shells have it, with a backslash at the end."""
    words = ["charrnn", "sample", "-c", "checkpoints/a b", "--prime", NASTY[:2]]
    assert shell_lines(words[:4], 80) == ["  charrnn sample -c 'checkpoints/a b'"]
    assert shell_lines(words[:4], 30) == ["  charrnn sample -c \\", "    'checkpoints/a b'"]


def test_the_width_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As COLUMNS says, else 80 where it cannot be asked; none where there is no terminal, or it is closed."""
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    assert columns(StringIO()) is None
    assert columns(terminal) == 80
    monkeypatch.setenv("COLUMNS", "50")
    assert columns(terminal) == 50
    monkeypatch.setenv("COLUMNS", "many")
    assert columns(terminal) == 80
    closed = StringIO()
    closed.close()
    assert columns(closed) is None


@pytest.mark.parametrize("spaces", [0, 5, 17, 18, 19, 20, 21, 39, 40, 41])
def test_a_deep_indentation_does_not_make_a_line_too_wide(spaces: int) -> None:
    """As in a sample of source code, which a model may indent as it likes."""
    lines = wrapped(" " * spaces + "word another", 20, is_torn=True)
    assert max(map(len, lines)) <= 20
    assert " ".join(lines).split() == ["word", "another"]
