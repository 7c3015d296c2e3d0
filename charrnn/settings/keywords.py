"""Settings as keyword arguments of Python functions, made from the fields that declare them.

A function that takes settings is written with `**settings: Unpack[...]`, whose names and types stand in `typed.py` for
type checkers. `with_settings` gives it what a reader sees: a signature and a docstring with every setting, and an error
that names the nearest setting where a name is wrong. The command line's names of settings, in help and in errors, are
turned into the names of keywords.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

from charrnn.errors import CharrnnError
from charrnn.settings import choices
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import Level, Record, help_of, settings_of
from charrnn.settings.run import RunConfig
from charrnn.settings.sampling import SamplingConfig, Selection

Given = ParamSpec("Given")
Result = TypeVar("Result")

SAMPLING = (SamplingConfig,)
LISTS = (SamplingConfig, Selection)
"""The classes whose settings writing several samples takes."""
TRAINING = (ModelConfig, DataConfig, TrainingConfig, Budget, RunConfig)
"""The classes whose settings training takes, with no name in two of them."""

_BESIDE = {
    "--out": "out", "--name": "name", "--validation": "validation", "--glob": "glob", "--device": "device",
    "--threads": "threads", "--unknown": "unknown", "--weights": "weights", "--clamp": "clamp", "--preset": "preset",
    "--unit": "units", "--checkpoint": "path", "-c": "path", "--init-from": "init_from",
    "--distill-from": "distill_from",
}  # fmt: skip
"""Options that are no fields of the classes here -> keyword."""
_WORDS = {"unknown": choices.UnknownPolicy, "device": choices.DeviceName, "weights": choices.WeightsName}
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9]*(?:-[a-z0-9]+)*|-c)(?![\w-])(?: ([\w.-]*\w))?")
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Keyword:
    """A setting as a keyword argument."""

    name: str
    annotation: Any
    """Its type, with None where it may be left open."""
    default: Any
    help: str
    level: Level


def keywords(*classes: type[Record]) -> Mapping[str, Keyword]:
    """Returns the settings of the classes by name, in the order of the classes.

    The default is None where the program chooses one, as the help then says.
    """
    found = {}
    for cls in classes:
        types, texts, declared = get_type_hints(cls), help_of(cls), settings_of(cls)
        for each in fields(cls):  # type: ignore[arg-type]
            shown, annotation, default = declared[each.name].shown, types[each.name], each.default
            # On the command line one option may take several values, which is told at the end.
            text = in_python(f"{texts[each.name].partition(', or several with')[0].removesuffix('.')}.")
            text = text.replace("(may be given several times)", "(a sequence gives several)")
            if shown is not None:
                text = f"{text.removesuffix('.')} (by default {shown})."
                default, annotation = None, annotation | None
            found[each.name] = Keyword(each.name, annotation, default, text, declared[each.name].level)
    return found


def is_open(keyword: Keyword) -> bool:
    """Returns whether a setting may be None, which leaves it open."""
    return type(None) in get_args(keyword.annotation)


@functools.cache
def _options() -> Mapping[str, tuple[str, Any]]:
    """Returns, for each option, its keyword and what its value is made of: a type, or a Literal of words."""
    found: dict[str, tuple[str, Any]] = {flag: (name, _WORDS.get(name, str)) for flag, name in _BESIDE.items()}
    found["--fresh"], found["--change"] = ("fresh", bool), ("change", bool)
    for cls in (*TRAINING, *LISTS):
        for name, declared in settings_of(cls).items():
            found[declared.flag] = name, declared.check.kind
            if declared.check.kind is bool:
                found[declared.flag.replace("--", "--no-", 1)] = name, bool
    return found


def in_python(text: str) -> str:
    """Returns a text about options as one about keywords.

    >>> in_python("start over with --fresh, a smaller --lr or --init chrono")
    'start over with fresh=True, a smaller learning_rate or init="chrono"'
    """

    def keyword(match: re.Match[str]) -> str:
        option, value = match.groups()
        if option not in _options():
            return match[0]
        name, kind = _options()[option]
        rest = "" if value is None else f" {value}"
        if kind is bool:
            is_told = value in ("is", "goes", "does", "needs")
            return (name if is_told else f"{name}={not option.startswith('--no-')}") + rest
        if value in get_args(kind):
            return f'{name}="{value}"'
        if kind in (int, float) and value is not None and re.fullmatch(r"-?[\d.]*\d(e-?\d+)?", value):
            return f"{name}={value}"
        return name + rest

    return _OPTION.sub(keyword, text)


@contextlib.contextmanager
def errors_in_python() -> Iterator[None]:
    """Lets the errors inside speak of keywords where the command line would speak of options."""
    try:
        yield
    except CharrnnError as error:
        error.message, error.hints = in_python(error.message), tuple(map(in_python, error.hints))
        error.args = (error.message,)
        raise


def with_settings(
    *classes: type[Record], **words: Mapping[str, str]
) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Gives a function that takes `**settings` the signature, the docstring and the errors of explicit keywords.

    A name that is none raises TypeError, as Python does for other functions. `words` are the values of a setting that
    are more than its class knows, each with what it is.
    """

    def decorate(function: Callable[Given, Result]) -> Callable[Given, Result]:
        known = dict(keywords(*classes))
        for name, meanings in words.items():
            listed = ", ".join(f"{word} ({meaning})" for word, meaning in meanings.items())
            known[name] = replace(known[name], help=f"{known[name].help.removesuffix('.')}: {listed}.")
        signature = inspect.signature(function, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        names = [each.name for each in own]

        @functools.wraps(function)
        def checked(*args: Given.args, **given: Given.kwargs) -> Result:
            for name in given:
                if name not in known and name not in names:
                    near = _nearest(name, [*names, *known])
                    meant = f". Did you mean {near!r}?" if near else ""
                    raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{meant}")
            with errors_in_python():
                return function(*args, **given)

        more = [
            inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.annotation
            )
            for each in known.values()
        ]
        checked.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        checked.__annotations__ = {
            **{each.name: each.annotation for each in (*own, *more) if each.annotation is not inspect.Parameter.empty},
            "return": signature.return_annotation,
        }
        checked.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{_described(known)}"
        return checked

    return decorate


def _nearest(wrong: str, names: list[str]) -> str | None:
    """Returns the keyword that was probably meant: it may have been called as on the command line, or misspelled."""
    import difflib

    options = {option.lstrip("-").replace("-", "_"): name for option, (name, _) in _options().items() if name in names}
    meant = {**options, **{name: name for name in names}}
    near = [wrong] if wrong in meant else difflib.get_close_matches(wrong, meant, 1)
    return meant[near[0]] if near else None


def _described(known: Mapping[str, Keyword]) -> str:
    """Returns the part of a docstring that tells of settings: those of everyday use first."""
    parts = []
    levels: tuple[tuple[Level, str], ...] = (("everyday", "Settings:"), ("advanced", "Settings for special cases:"))
    for level, heading in levels:
        chosen = [each for each in known.values() if each.level == level]
        if chosen:
            parts.append("\n".join([heading, *map(_entry, chosen)]))
    return "\n\n".join(parts)


def _entry(keyword: Keyword) -> str:
    text = textwrap.fill(keyword.help, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return f"    {keyword.name}\n{text}"
