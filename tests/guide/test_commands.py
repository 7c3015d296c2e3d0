"""Every command of the manual and of the README is run, in small, in the order in which a reader meets them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.command import Command
from tests.kit.guide_commands import Shown, in_small, named_runs, play, run_of, shown_commands, write_documents
from tests.kit.guide_options import commands, pages

README = Path(__file__).parents[2] / "README.md"
DOCUMENTS = {**pages(), README: README.read_text("utf-8")}
SHOWN = {file: shown_commands(page) for file, page in DOCUMENTS.items()}
WITH_COMMANDS = [file for file, found in SHOWN.items() if found]
EVERY = [(file, one) for file, found in SHOWN.items() for one in found]
WITH_PROGRAMS = [file for file, page in DOCUMENTS.items() if "\n```python\n" in page and file.stem != "python"]
"""The page about Python is one program, which has a test of its own."""
TEXTS = ("text", "emma", "held_out", "corpus", "tinyshakespeare", "warandpeace", "stdlib", "samples")


Prepare = Callable[[list[Shown]], None]


@pytest.fixture
def prepare(command: Command, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Makes what a page's commands need: texts, also as corpora known by name, and the runs that it does not train."""

    def make(shown: list[Shown]) -> None:
        for name in TEXTS:
            Path(f"{name}.txt").write_text(play(), "utf-8")
        write_documents()
        monkeypatch.setenv("CHARRNN_CORPORA", str(Path.cwd()))
        made = {run for one in shown if (run := run_of(one.words))}
        for run in sorted({"checkpoints/tinyshakespeare", *named_runs(shown)} - made):
            small = in_small(["train", "text.txt", "--quiet", "--layers", "2"])
            assert command(*small, "--out", run).status == 0

    return make


@pytest.mark.parametrize("file", WITH_COMMANDS, ids=lambda file: file.stem)
def test_the_commands_of_a_page_run(file: Path, prepare: Prepare, command: Command) -> None:
    """One after the other, as they stand but for tiny settings; those that are marked so are refused."""
    prepare(SHOWN[file])
    for settings in re.findall(r"^```toml\n(.*?)^```", DOCUMENTS[file], re.MULTILINE | re.DOTALL):
        Path("my.toml").write_text(settings, "utf-8")
    for shown in SHOWN[file]:
        if shown.mark == "shown, not run":
            continue
        words = in_small(shown.words)
        piped = subprocess.run(shown.before, shell=True, capture_output=True, check=False).stdout
        result = command(*words, stdin=piped)
        if shown.mark == "refused":
            assert result.status in (2, 3, 4), (shown.line, result)
            assert "error: " in result.err
        else:
            assert result.status == 0, (shown.line, words, result.err)
            assert result.out + result.err, shown.line


@pytest.mark.parametrize(("file", "shown"), EVERY, ids=lambda each: getattr(each, "stem", None))
def test_a_command_has_the_options_that_it_names(file: Path, shown: Shown) -> None:
    """Also the commands that are not run: each option exists, and its value is of its kind."""
    name, *arguments = shown.words
    if name not in commands():
        assert name in ("--version", "--help", "--help-all", "--install-completion"), (file, shown.line)
        return
    commands()[name].make_context(name, arguments)


def test_few_commands_are_not_run() -> None:
    """And each for a reason that it gives: it wants the keys of a terminal."""
    skipped = [shown.line for _, shown in EVERY if shown.mark == "shown, not run"]
    assert all("--interactive" in line or "--browse" in line for line in skipped), skipped
    assert len(skipped) <= 4
    assert len(EVERY) > 60


@pytest.mark.parametrize("file", WITH_PROGRAMS, ids=lambda file: file.stem)
def test_the_programs_of_a_page_run(file: Path, prepare: Prepare, command: Command) -> None:
    """The blocks of Python, after the commands that stand before them on the page."""
    prepare(SHOWN[file])
    for shown in SHOWN[file]:
        if shown.mark != "shown, not run" and "--npz" in shown.words:
            assert command(*in_small(shown.words)).status == 0
    for program in re.findall(r"^```python\n(.*?)^```", DOCUMENTS[file], re.MULTILINE | re.DOTALL):
        small = program.replace("minutes=2", "steps=3, hidden_size=6")
        subprocess.run([sys.executable, "-c", small], check=True, timeout=120)
