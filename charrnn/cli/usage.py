"""What is wrong with a command line, in the words and the form of the program's other errors.

Typer finds these errors. Its exceptions are told apart by their attributes, since their classes are not public.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from charrnn.errors import UsageError

_RESUMING = ("--resume", "--continue", "--restart")
_SYNONYMS = {
    "time": "minutes",
    "epoch": "epochs",
    "units": "hidden",
    "size": "hidden",
    "model": "cell",
    "seconds": "minutes",
}
"""What an option might be called, and is not; it counts where the command has the other."""
_KINDS = {"int": "a whole number", "int range": "a whole number", "float": "a number", "float range": "a number"}


def retold(error: Any) -> UsageError:
    """Returns an error of Typer's as one of ours."""
    ctx = error.ctx
    if getattr(error, "possibilities", False) is not False:
        return _no_such_option(error.option_name, ctx)
    if hasattr(error, "option_name"):
        return _value_missing_or_too_much(error, ctx)
    if hasattr(error, "param_type"):
        return _missing(error)
    if getattr(error, "param", None) is not None:
        return _bad_value(error)
    if extra := re.fullmatch(r"Got unexpected extra argument\(s\) \((.*)\)", error.message, re.DOTALL):
        return _too_many(extra[1], ctx)
    if unknown := re.match(r"No such command '(.*?)'\.?", error.message, re.DOTALL):
        return _no_such_command(unknown[1], ctx)
    return UsageError(error.format_message().removesuffix("."), _how(ctx))


def _how(ctx: Any) -> str:
    return f"{ctx.command_path} --help shows how it is used"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Returns the one of the words that a mistyped word is most like, or None where none is like it."""
    near = get_close_matches(word, list(words), n=1)
    return near[0] if near else None


def _options(ctx: Any) -> list[Any]:
    return [each for each in ctx.command.get_params(ctx) if each.param_type_name == "option"]


def _no_such_option(typed: str, ctx: Any) -> UsageError:
    names = {name: name for each in _options(ctx) for name in (*each.opts, *each.secondary_opts)}
    # A setting goes by its whole name too: --learning-rate is meant for --lr.
    meant = {f"--{each.name.replace('_', '-')}": each.opts[0] for each in _options(ctx)} | names
    bare = {name.lstrip("-"): name for name in meant}
    word = typed.lstrip("-")
    if typed in _RESUMING and "--fresh" in names:
        hint = "a run is resumed by the same command, or by its folder: charrnn train checkpoints/NAME"
    elif len(begun := [name for name in bare if len(word) > 1 and name.startswith(word)]) == 1:
        hint = f"did you mean {meant[bare[begun[0]]]}?"
    elif near := _SYNONYMS.get(word) if f"--{_SYNONYMS.get(word)}" in names else nearest(word, bare):
        hint = f"did you mean {meant[bare[near]]}?"
    elif "--help-all" in names:
        hint = f"{ctx.command_path} --help-all lists the options"
    else:
        hint = "the options of a command stand after its name"
    return UsageError(f"{ctx.command_path} has no option {typed}", hint)


def _value_missing_or_too_much(error: Any, ctx: Any) -> UsageError:
    from charrnn.cli.help_page import spelled

    name = error.option_name
    option = next(each for each in _options(ctx) if name in (*each.opts, *each.secondary_opts))
    if option.is_flag:
        return UsageError(f"{name} takes no value", f"give {name} alone")
    return UsageError(f"{name} needs a value", f"give it as {spelled(option).split(', ')[-1]}")


def _missing(error: Any) -> UsageError:
    param, path = error.param, error.ctx.command_path
    if param.param_type_name == "option":
        return UsageError(f"{param.opts[0]} is missing", _how(error.ctx))
    return UsageError(
        f"{path} needs {param.metavar or param.name.upper()}",
        f"name a file, a folder or a corpus, such as {path} stdlib, or - for standard input",
    )


def _bad_value(error: Any) -> UsageError:
    param = error.param
    name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name.upper()
    found = re.match(r"(.*?) is not (?:a valid|one of|in the range)", error.message, re.DOTALL)
    if found is None:
        return UsageError(f"{name}: {error.message.removesuffix('.')}")
    message = f"{name} is {found[1]}"
    if param.type.name == "choice":
        words = [str(getattr(word, "value", word)) for word in param.type.choices]
        near = nearest(found[1].strip("'"), words)
        return UsageError(message, f"{f'did you mean {near}? ' if near else ''}it must be one of {', '.join(words)}")
    return UsageError(message, f"it must be {_kind(param.type)}")


def _kind(kind: Any) -> str:
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    bounds = [f"at least {low}"] if low is not None else []
    bounds += [f"at most {high:,}"] if high is not None else []
    said = _KINDS.get(kind.name, "another value")
    return f"{said} of {' and '.join(bounds)}" if bounds else said


def _too_many(extra: str, ctx: Any) -> UsageError:
    primes = any("--prime" in each.opts for each in _options(ctx))
    if primes:
        return UsageError(
            f"{ctx.command_path} takes no text without an option",
            f"to go on from it: {ctx.command_path} --prime {shlex.quote(extra)}",
        )
    return UsageError(f"{extra} is one argument too many", _how(ctx))


def _no_such_command(typed: str, ctx: Any) -> UsageError:
    commands = ctx.command.list_commands(ctx)
    if near := nearest(typed, commands):
        hint = f"did you mean {ctx.command_path} {near}?"
    elif os.path.exists(typed):
        hint = f"to train on it: {ctx.command_path} train {shlex.quote(typed)}"
    else:
        hint = f"it must be one of {', '.join(commands)}"
    return UsageError(f"there is no command {typed}", hint)
