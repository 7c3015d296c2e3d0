"""The manual's commands for the points of the lectures: every one of them does what it says on a small text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "charrnn/guide/cells.md").read_text("utf-8")
SECTION = PAGE.split("\n## The lectures", 1)[1].split("\n## ", 1)[0]
COMMANDS = re.findall(r"\| `charrnn ([^`]+)` \|$", SECTION, re.MULTILINE)
TRAINED = [command for command in COMMANDS if command.startswith("train ")]
OTHERS = [command for command in COMMANDS if not command.startswith("train ")]
SHORT = {
    "sample": "--length 20",
    "inspect text.txt --horizon": "--distance 20 --lanes 9 --read 600",
    "inspect text.txt --find": "--length 900",
    "inspect text.txt --predictions": "--length 30",
}


@pytest.fixture
def text(text_file: Callable[..., Path]) -> Path:
    """A small text, under the name that the manual gives it."""
    Path("text.txt").write_bytes(text_file(3000).read_bytes())
    return Path("text.txt")


def test_every_line_of_the_table_is_one_command() -> None:
    """Nothing in the table is left out here."""
    rows = [line for line in SECTION.splitlines() if line.startswith("| ")]
    assert len(COMMANDS) == len(rows) - 2 > 25  # less the head and the line below it
    assert len(set(COMMANDS)) == len(COMMANDS)


@pytest.mark.parametrize("line", TRAINED)
@pytest.mark.usefixtures("text")
def test_it_trains(command: Callable[..., tuple[int, str, str]], line: str) -> None:
    """In small; from the first save to the last validation."""
    small = "--hidden 6 --steps 3 --batch 4 --threads 1 --out run"
    status, _, errors = command(*shlex.split(line), *small.split())
    assert status == 0, errors
    assert "finished after 3 steps" in errors


@pytest.mark.usefixtures("text")
def test_the_others_look_at_what_was_trained(command: Callable[..., tuple[int, str, str]]) -> None:
    """One model for all of them; writing together is left at once."""
    small = "train text.txt --hidden 6 --steps 3 --batch 4 --bptt 20 --threads 1 --quiet"
    assert command(*small.split())[0] == 0
    for line in OTHERS:
        more = next((words for start, words in SHORT.items() if line.startswith(start)), "")
        if "--interactive" in line:
            continue  # it wants a terminal's keys: tests/sampling/test_interactive.py
        status, out, errors = command(*shlex.split(line), *more.split())
        assert status == 0, (line, errors)
        assert out.strip(), line
