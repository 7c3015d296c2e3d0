"""The help pages as a user sees them: at every width, nothing cut, the everyday page short, everything on the other."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from charrnn.display.help_page import Page, Row, Section, lines
from charrnn.settings.fields import settings_of
from tests.kit.command import Command, commands

PAGES = [(name, option) for name in commands() for option in ("--help", "--help-all")]


def _options(name: str) -> list[str]:
    """The names of a command's options, each as its page should show it."""
    return [flag for each in commands()[name].params for flag in each.opts if flag.startswith("--")]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(("name", "option"), [("", "--help"), *PAGES])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, option: str, width: int
) -> None:
    """The words of a page are the same at every width: what is cut or broken would be another word."""
    arguments = [*([name] if name else []), option]
    monkeypatch.setenv("COLUMNS", "300")
    whole = command(*arguments).out.split()
    monkeypatch.setenv("COLUMNS", str(width))
    page = command(*arguments).out
    assert page.split() == whole
    assert max(map(len, page.splitlines())) <= width
    assert "\u2026" not in page


def test_the_first_page_fits_a_small_window(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 rows, of which one is the next prompt's."""
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["--help"]):
        assert len(command(*words).out.splitlines()) < 24


@pytest.mark.parametrize("name", list(commands()))
def test_the_everyday_page_fits_sixty_lines(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert len(command(name, "--help").out.splitlines()) <= 60


@pytest.mark.parametrize("name", list(commands()))
def test_the_whole_page_has_every_option_and_the_other_says_how_many_it_lacks(command: Command, name: str) -> None:
    whole, everyday = command(name, "--help-all").out, command(name, "--help").out
    assert all(re.search(rf"^  (-\w, )?{flag}\b", whole, re.MULTILINE) for flag in _options(name))
    shown = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", everyday, re.MULTILINE)
    if told := re.search(r"shows (\d+) further options?", everyday):
        own = set(_options(name)) - {"--help", "--help-all"}
        assert int(told[1]) == len(own) - len(shown)
    assert set(shown) <= set(_options(name))


def test_train_shows_about_twenty_options(command: Command) -> None:
    shown = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", command("train", "--help").out, re.MULTILINE)
    assert 15 <= len(shown) <= 25
    assert {"--cell", "--layers", "--hidden", "--minutes", "--lr", "--out", "--seed", "--device"} <= set(shown)


@pytest.mark.parametrize("name", ["sample", "eval", "inspect", "train"])
def test_a_settings_level_decides_which_page_shows_it(command: Command, name: str) -> None:
    everyday = command(name, "--help").out
    for each in commands()[name].params:
        if each.name in commands()[name].levels and name != "inspect":
            is_shown = re.search(rf"^  (-\w, )?{each.opts[0]}\b", everyday, re.MULTILINE) is not None
            assert is_shown == (commands()[name].levels[each.name] == "everyday"), each.name


def test_the_views_of_inspect_come_before_its_other_options(command: Command) -> None:
    """Each with the names of its own options."""
    from charrnn.cli.inspect import VIEWS

    for option in ("--help", "--help-all"):
        page = " ".join(command("inspect", option).out.split())
        shown = [view for view in VIEWS if view.flag and (view.shows or option == "--help-all")]
        last = max(page.index(f" {view.flag.flag}") for view in shown)
        assert last < page.index("--checkpoint")
    page = " ".join(command("inspect", "--help").out.split())
    for view in VIEWS:
        names = [option.flag for option in view.options]
        if names and view.shows:
            assert f"with {', '.join(names)}" in page


def test_a_default_is_shown_once_and_not_broken(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = command("sample", "--help").out
    assert "[default: 1000]" in page
    assert "[default: 0.8]" in page
    assert "\N{NO-BREAK SPACE}" not in page


def test_a_page_is_drawn_as_it_was_drawn_by_hand() -> None:
    page = Page(
        "it [OPTIONS]",
        "It does something that takes more than one line to tell.",
        [("it --so", "as is usual"), ("it --otherwise", "")],
        [
            Section(
                "One", [Row("--so N", "So many of them, as one says."), Row("--in-another-way-altogether X", "Not so.")]
            )
        ],
        ["That is all."],
    )
    assert [line.plain for line in lines(page, 60)] == [
        "Usage: it [OPTIONS]",
        "",
        "It does something that takes more than one line to tell.",
        "",
        "  it --so          as is usual",
        "  it --otherwise",
        "",
        "One",
        "  --so N  So many of them, as one says.",
        "  --in-another-way-altogether X",
        "          Not so.",
        "",
        "That is all.",
    ]


def test_what_belongs_to_an_option_stands_behind_it_where_it_fits() -> None:
    row = Row("--find", "What is known.", "with --label, --ablate")
    wide, narrow = (
        [line.plain for line in lines(Page("x", "", sections=[Section("V", [row])]), width)] for width in (60, 40)
    )
    assert wide[-1] == "  --find  What is known. with --label, --ablate"
    assert narrow[-2:] == ["      What is known.", "      with --label, --ablate"]


def test_every_setting_has_one_sentence_of_help() -> None:
    for name, command in commands().items():
        for each in command.params:
            if each.param_type_name == "option" and not each.is_flag:
                assert each.help, (name, each.name)
                assert each.help.rstrip()[-1] in ".)", (name, each.help)


def test_levels_are_those_of_the_settings() -> None:
    from charrnn.settings.config import ModelConfig

    levels = commands()["train"].levels
    assert {name: levels[name] for name in settings_of(ModelConfig)} == {
        name: declared.level for name, declared in settings_of(ModelConfig).items()
    }


def test_lines_of_two_widths_differ_in_breaks_only() -> None:
    """A word is never lost where a page is drawn ever narrower, down to one that no word fits."""
    page = Page(
        "x", "Some words that are wrapped.", sections=[Section("S", [Row("--an-option VALUE", "It is so. " * 9)])]
    )
    words = [" ".join(line.plain for line in lines(page, width)).split() for width in (20, 33, 57, 80, 200)]
    assert all(one == other for one, other in pairwise(words))
