"""The manual and the README as documents: their sizes, their links, and what must be found in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from charrnn.cli.help import INDEX, topics
from charrnn.text.catalogue import names
from tests.kit.guide_options import commands, options_list, pages, with_lists

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = pages()
DOCUMENTS = {**PAGES, README: README.read_text("utf-8"), ROOT / "corpora/README.md": ""}
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """The Markdown without its blocks of code."""
    return _FENCE.sub("", page)


def anchors(page: str) -> set[str]:
    """The fragments under which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_is_short_and_says_what_it_is_about(file: Path) -> None:
    """A page has less than 300 lines, its topic as its heading, and lines of prose that fit an editor."""
    page = PAGES[file]
    assert len(page.splitlines()) < 300
    heading = {INDEX: "The manual", "start": "Start"}.get(file.stem, file.stem)
    assert page.startswith(f"# {heading}\n\n")
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    assert len(re.findall("^# ", prose(page), re.MULTILINE)) == 1
    for line in prose(page).splitlines():
        assert line == line.rstrip()
        # A table's row and a command are not broken.
        assert len(line) <= 120 or line.startswith("|") or re.search(r"`[^`]{60,}`", line), line


def test_every_page_is_in_the_index() -> None:
    """Each has a line of its own there, which fits a line of a terminal beside the longest name."""
    assert set(topics()) == {file.stem for file in PAGES} - {INDEX}
    for topic, line in topics().items():
        assert line.endswith(".")
        assert len(max(topics(), key=len)) + 2 + len(line) <= 80, topic


def test_the_readme_is_short() -> None:
    """It fits a few screens, and its first command stands near its top."""
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    assert len(text.split()) <= 1800
    assert "charrnn train" in " ".join(text.split()[:100])


@pytest.mark.parametrize("heading", ["Quick start", "Tests"])
def test_the_first_block_below_these_headings_is_one_command(heading: str) -> None:
    """A program runs these blocks as they are, in a new virtual environment."""
    section = README.read_text("utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[1].count("\n") == 1
    assert block[1].startswith("pip install ")
    assert not block[1].startswith("$")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem)
def test_links_lead_somewhere(file: Path) -> None:
    """A link leads to a file of the project, and to a heading in it where it names one."""
    text = prose(file.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        link = "".join(target)
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        other = (file.parent / name) if name else file
        assert other.is_file(), link
        if fragment:
            assert fragment in anchors(other.read_text("utf-8")), link


def test_the_pictures_are_small_and_load_nothing() -> None:
    """The first is drawn by the command that stands in the README; the other one shows a page in a browser."""
    text = README.read_text("utf-8")
    name, page = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert (ROOT / page).read_bytes().startswith(b"\x89PNG")
    assert (ROOT / page).stat().st_size < 150_000
    svg = (ROOT / name).read_text("utf-8")
    assert len(svg) < 100_000
    assert set(re.findall(r"https?://[^\"]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in svg
    assert f"--svg {Path(name).name}`" in text


def test_the_readme_leads_to_the_manual() -> None:
    """Its links name pages of the manual, the table of cells among them."""
    links = re.findall(r"\]\(charrnn/guide/([\w-]+)\.md", README.read_text("utf-8"))
    assert {"start", "train", "cells", "neurons", "results"} <= set(links)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_the_lists_of_options_are_the_command_lines(file: Path) -> None:
    """They are what the command line itself says, word for word."""
    assert with_lists(PAGES[file]) == PAGES[file], "run: python -m tests.kit.guide_options"


def test_every_option_is_in_the_manual() -> None:
    """Each command with options has its list on one page, and each option an entry in it."""
    marks = re.findall(r"<!-- options (\w+) -->", "".join(PAGES.values()))
    options = dict(_options_by_command())
    assert sorted(marks) == sorted(name for name, flags in options.items() if flags)
    for command, flags in options.items():
        for flag in flags:
            assert f"`{flag}`" in options_list(command)


def _options_by_command() -> list[tuple[str, list[str]]]:
    return [
        (
            name,
            [
                flag
                for each in command.params
                if each.param_type_name == "option"
                for flag in (*each.opts, *each.secondary_opts)
                if flag not in ("--help", "-h", "--help-all")
            ],
        )
        for name, command in commands().items()
    ]


@pytest.mark.parametrize("file", [README, *PAGES], ids=lambda file: file.stem)
def test_no_option_is_mentioned_that_is_gone(file: Path) -> None:
    """Outside the lists too, and not counting other programs' options and those of the benchmarks."""
    known = {flag for _, flags in _options_by_command() for flag in flags}
    known |= {"--help", "--help-all", "--version", "--install-completion"}
    known |= {"--nproc-per-node", "--nnodes", "--rdzv-endpoint", "--rdzv-backend"}  # torchrun's
    ours = re.sub(r"`python -m tests\.benchmarks[^`]*`", "", file.read_text("utf-8"))
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", ours))
    assert mentioned <= known, mentioned - known


def test_the_corpora_known_by_name_are_in_the_manual() -> None:
    """A corpus that can be had by name can be found by reading."""
    page = next(page for file, page in PAGES.items() if file.stem == "corpora")
    for name in names():
        assert f"| `{name}` |" in page
