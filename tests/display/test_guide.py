"""Pages of the manual drawn for windows of several widths."""

from __future__ import annotations

import io
import re
import shlex

import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cli.help import INDEX, read, topics
from charrnn.display.guide import STYLES, drawn, linked, wrapped_command

WIDTHS = (40, 80, 120)


def draw(page: str, columns: int, colour: str | None = None) -> str:
    """The page without colours, unless a system of them is named."""
    console = Console(
        file=io.StringIO(), width=columns, theme=STYLES, highlight=False, color_system=colour,  # type: ignore[arg-type]
        force_terminal=colour is not None,
    )  # fmt: skip
    return drawn(page, console)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("topic", [INDEX, *topics()])
def test_a_page_fits_the_window(topic: str, columns: int) -> None:
    """No line is wider than the window, nothing of the Markdown is left, and every word of the page is there."""
    page = read(topic)
    shown = draw(page, columns)
    for line in shown.splitlines():
        assert cell_len(line) <= columns
        assert line == line.rstrip()
    for markup in ("```", "<!-- options", "](", "**", "| ---", "\x1b"):
        assert markup not in shown
    letters = re.sub(r"<!-- .*? -->|\]\([^)]*\)|&lt;|[^a-z]", "", page.lower())
    there = re.sub(r"[^a-z]", "", shown.lower())
    assert len(there) >= 0.97 * len(letters)


def test_a_link_between_pages_becomes_the_command_that_shows_the_page() -> None:
    """Whether or not it names the topic; other links keep their address."""
    assert linked("[train](train.md) and [bits](units-and-bits.md#gates)") == (
        "`charrnn help train` and bits (`charrnn help units-and-bits`)"
    )
    assert linked("[a](https://x.org/y.md)") == "[a](https://x.org/y.md)"


@pytest.mark.parametrize("width", [20, 38, 60, 200])
def test_a_long_command_can_be_copied_from_a_narrow_window(width: int) -> None:
    """The shell reads the lines as the same words, quotes and all."""
    line = """charrnn inspect text.txt --label 'late in the line=(?<=^.{30}).+' --probe "late in the line" -n 3"""
    lines = wrapped_command(line, width)
    assert (len(lines) > 1) == (width < len(line))
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(line)
    for each in lines:
        assert len(each) <= width or len(shlex.split(each.removesuffix("\\"))) <= 2
    assert all(line.count("-n") == line.count("-n 3") for line in lines)


TABLE = """# t

| option | what it does | number |
| --- | --- | ---: |
| `--a` | short | 1 |
| `--b` | a long sentence that fills the line of a narrow window | 22 |
"""


def test_a_table_that_fits_is_a_table() -> None:
    """Numbers are aligned to the right, and long cells are wrapped."""
    assert draw(TABLE, 80).splitlines()[3:] == [
        "option  what it does                                            number",
        "--a     short                                                        1",
        "--b     a long sentence that fills the line of a narrow window      22",
    ]


def test_a_table_that_does_not_fit_becomes_a_list() -> None:
    """One paragraph a row, with the names of the columns."""
    assert draw(TABLE, 40).splitlines()[3:] == [
        "--a",
        "  what it does: short",
        "  number: 1",
        "",
        "--b",
        "  what it does: a long sentence that",
        "  fills the line of a narrow window",
        "  number: 22",
    ]


def test_commands_stand_out_from_what_they_print() -> None:
    """In a block of a console; a comment of the page's source is not shown."""
    page = "# t\n\n<!-- a note -->\n```console\n$ charrnn eval x\n2.03 bits\n```\n"
    assert draw(page, 40).splitlines()[2:] == ["", "  $ charrnn eval x", "  2.03 bits"]
    assert "\x1b[1;36m  $ charrnn eval x\x1b[0m\n  2.03 bits\n" in draw(page, 40, "standard")


def test_control_characters_of_a_page_are_shown() -> None:
    """A page drives no terminal."""
    assert draw("# t\n\na\x1b[31mb\n", 40).splitlines()[-1] == "a␛[31mb"
