"""`charrnn help`: topics, pages on a terminal and on a pipe, mistakes, and the pages that are installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from charrnn.cli.help import FOLDER, topics
from tests.kit.command import Command

ROOT = Path(__file__).parents[2]
if os.name == "posix":
    from tests.kit.window import in_window, plain
terminal = pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")


def test_without_a_topic_it_lists_them(command: Command) -> None:
    """Each topic with a line of its own, in the order of the index."""
    status, out, err = command("help")
    assert (status, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("- ")]
    assert lines == [f"- [{topic}]({topic}.md): {line}" for topic, line in topics().items()]
    assert {"start", "train", "sample", "eval", "inspect", "cells", "corpora", "resume", "gpu", "python"} <= set(
        topics()
    )
    assert {"units-and-bits", "results", "experiments"} <= set(topics())


@pytest.mark.parametrize("topic", ["train", "Units-and-Bits"])
def test_a_pipe_gets_the_markdown_as_it_stands(command: Command, topic: str) -> None:
    """Nothing is drawn, and nothing is broken into lines anew; the topic may be written in capitals."""
    assert command("help", topic) == (0, (FOLDER / f"{topic.lower()}.md").read_text("utf-8"), "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian", "train"), ("resme", "resume"), ("exper", "experiments"), ("units", "units-and-bits"), ("zzz", None)],
)
def test_an_unknown_topic_is_a_mistake_with_the_nearest_one(command: Command, typed: str, meant: str | None) -> None:
    """It ends with the status of a usage error, on stderr."""
    status, out, err = command("help", typed)
    assert (status, out) == (2, "")
    assert f"error: there is no topic '{typed}'\n" in err
    assert f" hint: {f'did you mean charrnn help {meant}? ' if meant else ''}charrnn help lists the topics\n" in err


def test_a_word_that_is_no_topic_is_looked_for_in_the_pages(command: Command) -> None:
    """Those that speak of it most are named."""
    err = command("help", "temperature").err
    assert re.search(r"^ hint: these pages speak of it: sample, [\w-]+, [\w-]+; charrnn help lists", err, re.MULTILINE)


@pytest.mark.parametrize("words", ["help", "help train", "help trian"])
def test_it_starts_at_once(words: str) -> None:
    """A pipe needs neither torch nor numpy, nor a library that draws."""
    code = (
        "import sys\n"
        "from charrnn.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'rich.markdown'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@terminal
def test_the_list_of_topics_fits_a_window(tmp_path: Path) -> None:
    """Of 80 columns and 32 lines: a line for each topic, and room for the prompt; no pager takes it away."""
    paged = tmp_path / "paged"
    shown = plain(in_window("help", lines=32, PAGER=f"tee {paged}")).splitlines()
    assert not paged.exists()
    assert len(shown) < 32
    assert max(map(len, shown)) <= 80
    assert [line.split()[0] for line in shown[1:]] == list(topics())


@terminal
def test_a_page_that_is_longer_than_the_window_goes_through_the_pager(tmp_path: Path) -> None:
    """A page that fits does not, and a pipe never does."""
    paged = tmp_path / "paged"
    shown = in_window("help", "python", lines=24, PAGER=f"tee {paged}")
    assert paged.read_text("utf-8") == shown
    assert "\x1b[1m" in shown
    paged.unlink()
    assert plain(in_window("help", "python", lines=400, PAGER=f"tee {paged}")) == plain(shown)
    assert not paged.exists()
    subprocess.run(
        [sys.executable, "-m", "charrnn", "help", "train"],
        env={**os.environ, "PAGER": f"tee {paged}"}, capture_output=True, check=True,
    )  # fmt: skip
    assert not paged.exists()


@terminal
@pytest.mark.parametrize("environment", [{"PAGER": "no-such-pager"}, {"PAGER": ""}, {"TERM": "dumb", "PAGER": "false"}])
def test_without_a_pager_the_page_is_printed(environment: dict[str, str]) -> None:
    """Where the pager is missing or turned off, or the terminal can do nothing."""
    assert "From the installation" not in (shown := plain(in_window("help", "start", lines=10, **environment)))
    assert shown.startswith("Start\n")
    assert "Where to go from here" in shown


@terminal
def test_no_colour_where_none_is_wanted() -> None:
    """NO_COLOR leaves bold letters and takes the colours away."""
    shown = in_window("help", "python", PAGER="", NO_COLOR="1")
    assert "\x1b[36m" not in shown
    assert "\x1b[36m" in in_window("help", "python", PAGER="")


def test_the_shell_completes_topics() -> None:
    """As Typer's completion asks for them."""
    code = "import sys; sys.argv = ['charrnn']; from charrnn.cli.app import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ, "_CHARRNN_COMPLETE": "complete_bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
            "COMP_WORDS": "charrnn help res", "COMP_CWORD": "2",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = [topic for topic in topics() if topic.startswith("res")]
    assert result.stdout.split() == expected, result.stderr


def test_the_pages_are_installed_with_the_package() -> None:
    """The patterns of the package's data take each page."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["charrnn"]
    assert "guide/*" in patterns
    assert FOLDER == ROOT / "charrnn/guide"
    assert len(list(FOLDER.glob("*.md"))) == len(topics()) + 1
