"""What a command left behind."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Result(NamedTuple):
    """Its exit status, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]
"""Called with the command's words, and maybe `stdin`, bytes; see the fixture `command`."""


@functools.cache
def commands() -> dict[str, Any]:
    """Every command by its name, with its parameters."""
    import typer.main

    from charrnn.cli.app import make_app

    group: Any = typer.main.get_command(make_app())
    return {name: group.get_command(None, name) for name in group.list_commands(None)}


@functools.cache
def flags() -> dict[str, set[str]]:
    """The names of every command's options, by the command's name."""
    return {
        name: {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
        for name, command in commands().items()
    }


def check_hints(result: Result, command: str) -> None:
    """Asserts that hints name only options that the command has, or, after another command's name, that one has."""
    if command not in flags():
        return
    for hint in re.findall(r"^ hint: (.*)$", result.err, re.MULTILINE):
        of = command
        for word in re.findall(r"charrnn [a-z]+|--[a-z][a-z0-9-]*", hint):
            if word.startswith("charrnn "):
                of = word.split()[1] if word.split()[1] in flags() else of
            else:
                assert word in flags()[of], f"charrnn {of} has no {word}, which its hint names: {hint}"


def overriding(words: Sequence[str], more: Sequence[str]) -> list[str]:
    """The words of a command with `more` at their end, where an option there takes the place of one among the words.

    An option that is given twice is refused. In `words` each option has one value.
    """
    kept = list(words)
    for flag in more:
        if flag.startswith("--") and flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    return [*kept, *more]
