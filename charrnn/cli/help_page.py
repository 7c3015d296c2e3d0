"""The help page of a command, made of its parameters: the everyday ones, or all of them by topic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from charrnn.settings.fields import Level
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.command import Arrange
    from charrnn.display.help_page import Page, Row, Section

_VALUES = {"int": "N", "int range": "N", "float": "X", "float range": "X", "choice": "NAME", "str": "TEXT"}
"""How the help calls the value of an option, by the kind of its parameter, where the option says nothing else."""
_OTHERS = "Help"
_KEPT_TOGETHER = 24
"""A default of at most so many characters is not broken over two lines."""


def page_of(ctx: Any, levels: Mapping[str, Level], arrange: Arrange | None = None, *, is_whole: bool) -> Page:
    """Returns the page of the context's command; `levels` are those of its parameters, by name.

    A parameter without a level is shown on both pages. `arrange` makes the sections where the command says how.
    """
    from charrnn.display.help_page import Page

    command = ctx.command
    about, _, examples = (command.help or "").partition("\b\n")
    options = {each.name: each for each in command.get_params(ctx) if each.param_type_name == "option"}
    helps = {"help", "help_all"}
    shown = [
        each
        for name, each in options.items()
        if is_whole or (name not in helps and levels.get(name, "everyday") == "everyday")
    ]
    return Page(
        usage=f"{ctx.command_path} [OPTIONS] {' '.join(_arguments(ctx))}".rstrip(),
        about=" ".join(about.split()),
        examples=[example(line) for line in examples.splitlines() if line.strip()],
        sections=[*_argument_section(ctx), *(arrange(options, is_whole) if arrange else sections_of(shown))],
        last=[] if is_whole else _last(ctx, len(options.keys() - helps) - len(shown)),
    )


def _last(ctx: Any, left_out: int) -> list[str]:
    """Returns the sentences that say where more is to be found."""
    more = f"{ctx.command_path} --help-all shows {count(left_out, 'further option')}, by topic."
    manual = f"charrnn help {ctx.command.name} shows the manual's page."
    return [more, manual] if left_out else [manual]


def _arguments(ctx: Any) -> list[str]:
    return [each.metavar or each.name.upper() for each in ctx.command.params if each.param_type_name == "argument"]


def _argument_section(ctx: Any) -> list[Section]:
    from charrnn.display.help_page import Row, Section

    arguments = [each for each in ctx.command.params if each.param_type_name == "argument" and each.help]
    rows = [Row(each.metavar or each.name.upper(), each.help) for each in arguments]
    return [Section("Texts", rows)] if rows else []


def example(line: str) -> tuple[str, str]:
    """Returns an example's command and, after two spaces or more, what it does."""
    typed, _, what = line.strip().partition("  ")
    return typed, what.strip()


def sections_of(options: Iterable[Any]) -> list[Section]:
    """Returns a section for each panel of the options, in their order, with those of no panel last."""
    from charrnn.display.help_page import Section

    rows: dict[str, list[Row]] = {}
    for each in options:
        rows.setdefault(each.rich_help_panel or _OTHERS, []).append(row_of(each))
    last = rows.pop(_OTHERS, None)
    return [Section(title, of) for title, of in [*rows.items(), *([(_OTHERS, last)] if last else [])]]


def row_of(option: Any) -> Row:
    """Returns an option's names with what its value is called, and its help with its default."""
    from charrnn.display.help_page import Row

    default = default_of(option)
    if len(default) <= _KEPT_TOGETHER:
        default = default.replace(" ", "\N{NO-BREAK SPACE}")
    return Row(spelled(option), " ".join(filter(None, (option.help, _words(option), default))))


def _words(option: Any) -> str:
    """Returns a sentence with the words to choose from, where the option's help does not name them all."""
    if option.type.name != "choice":
        return ""
    words = [str(getattr(word, "value", word)) for word in option.type.choices]
    is_told = all(re.search(rf"\b{re.escape(word)}\b", option.help) for word in words)
    return "" if is_told else f"It is one of {', '.join(words)}."


def spelled(option: Any) -> str:
    """Returns an option's names as they are typed, the short one first, with what its value is called."""
    names = sorted(option.opts, key=len)
    said = ", ".join(names) + (f" / {option.secondary_opts[0]}" if option.secondary_opts else "")
    if option.is_flag:
        return said
    return f"{said} {option.metavar or _VALUES.get(option.type.name, 'VALUE')}"


def default_of(option: Any) -> str:
    """Returns what holds where the option is not given, in brackets; nothing where there is nothing to tell."""
    if isinstance(option.show_default, str):
        return f"[default: {option.show_default}]" if option.show_default else ""
    if option.show_default and option.default not in (None, False, [], ()):
        return f"[default: {option.default}]"
    return ""
