"""What a line means that is typed while writing with a model: commands stand out, all else is text."""

from __future__ import annotations

import doctest

import pytest

from charrnn.cli import typed
from charrnn.cli.typed import Typed, is_near_command, joint, understood


def test_the_examples() -> None:
    """In the documentation."""
    results = doctest.testmod(typed)
    assert results.attempted == 3
    assert results.failed == 0


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("", "", ""),
        ("  ", "", ""),
        ("q", "q", ""),
        (" u ", "u", ""),
        ("u 3", "u", "3"),
        ("r 2", "r", "2"),
        ("g  200", "g", "200"),
        ("g", "g", ""),
        ("t .5", "t", ".5"),
        ("t -1", "t", "-1"),
        ("p 0.9", "p", "0.9"),
        ("s my story.txt", "s", "my story.txt"),
        ("s! story", "s!", "story"),
        ("12", "pick", "12"),
        ("c3 ", "pick", "c3"),
        ("+q", "exact", "q"),
        ("+ q ", "exact", " q "),
    ],
)
def test_commands(line: str, name: str, argument: str) -> None:
    """A letter alone, or with what it takes."""
    assert understood(line) == Typed(name, argument)


@pytest.mark.parametrize(
    "line",
    [
        "u and me", "g ten", "t hot", "p. 9", "l 3", "m?", "quit", "q q", "help", "2 men", "1234567890", "c", "c3po",
        "I", "a", "story", "'s", "  said he",
    ],
)  # fmt: skip
def test_text(line: str) -> None:
    """Whatever could not be a command is text, exactly as it was typed."""
    assert understood(line) == Typed("text", line)


@pytest.mark.parametrize("line", ["u\nand me", "s a\nb", "q\n", "\n", "+a\n\\n"])
def test_what_was_pasted(line: str) -> None:
    """Is a line with line ends in it: never a command."""
    assert understood(line) == Typed("paste", line)


@pytest.mark.parametrize(
    "line",
    [
        "quit", "exit", "Undo", "redo", "help", "save my.txt", "save", "t 0,5", "l 3", "G 20", "g -5", "g ten", "Q",
        "q now", "t0.5", "g200", "S my.txt", "undo that please",
    ],
)  # fmt: skip
def test_near_commands(line: str) -> None:
    """Lines that are text, though a command may have been meant."""
    assert understood(line).name == "text"
    assert is_near_command(line)


@pytest.mark.parametrize(
    "line",
    [
        "q", "u 3", "", "s my.txt", "+quit", "+g ten", "12", "u and me", "help came from the sea", "quiet", "I",
        "A man", "story", "Exit, with a bear", "two men", "quit\n",
    ],
)  # fmt: skip
def test_commands_and_other_text_are_no_near_commands(line: str) -> None:
    """Nor is what was written with a + or pasted."""
    assert not is_near_command(line)


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        ("", "a", ""),
        ("a", "", ""),
        ("the", "king", " "),
        ("the ", "king", ""),
        ("the\n", "king", ""),
        ("the", " king", ""),
        ("king", ", he", ""),
        ("king", "'s", ""),
        ("king,", "he", " "),
        ("end.", "He", " "),
        ("end.", "(He", " "),
        ("(", "he", ""),
        ("said “", "no", ""),
        ("no”", "said", " "),
        ('said "', "no", ""),
        ('"no"', "said", " "),
        ('"no."', "said", " "),
        ("soldi", '"Wait," she', " "),
        ("soldi", "\u201cWait", " "),
        ("soldi", "\u201eWarte", " "),
        ("soldi", "\u00bbWarte", " "),
        ("soldi", '"', ""),
        ("soldi", '" she', ""),
        ("soldi", '," she', ""),
        ("soldi ", '"Wait', ""),
        ("(", '"Wait', ""),
        ("soldi", "'s", ""),
        ("well-", "known", ""),
        ("well -", "known", " "),
        ("page", "12", " "),
        ("天地", "玄黄", ""),
        ("안녕", "하세요", " "),
    ],
)
def test_words_are_joined_by_a_space(before: str, text: str, expected: str) -> None:
    """And by nothing where a writer would type none."""
    assert joint(before, text) == expected
