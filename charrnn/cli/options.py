"""Options of a command from the settings that it takes, and those that several commands share.

Imports nothing heavy: this is read for `--help` too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args

import typer

from charrnn.errors import UsageError
from charrnn.settings.fields import Record, Setting, help_of, settings_of


def with_options(**choices: Mapping[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command, whose signature Typer can read, of a function that takes settings.

    A parameter that is annotated with a class of settings becomes one option for each of its fields, and the function
    gets an instance, with defaults for what the user has left open. Where the annotation is `Annotated[dict[str, Any],
    ModelConfig]` the function gets what was said alone: field name -> value. `choices` are the words of fields that are
    chosen from more than their class knows, each with what it is.
    """

    def command_of(function: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        groups: dict[str, tuple[type[Record], Any]] = {}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            kind, *more = get_args(parameter.annotation) or [parameter.annotation]
            classes = [each for each in (kind, *more) if isinstance(each, type) and issubclass(each, Record)]
            if classes:
                groups[parameter.name] = (classes[0], kind if kind in classes else dict)
                parameters += _parameters(classes[0], choices)
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        def command(**given: Any) -> None:
            said = {}
            for name, (cls, kind) in groups.items():
                values = {field: given.pop(field) for field in settings_of(cls)}
                said[name] = _checked(cls, {field: value for field, value in values.items() if value is not None})
                if kind is cls:
                    said[name] = cls(**said[name])
            function(**given, **said)

        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.levels = {  # type: ignore[attr-defined]
            name: declared.level for cls, _ in groups.values() for name, declared in settings_of(cls).items()
        }
        return command

    return command_of


def _checked(cls: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """Returns what was said of settings. Raises UsageError for a value that is wrong by itself, before a file of
    settings, a run or a text is looked at."""
    for name, declared in settings_of(cls).items():
        if name not in values or declared.is_listed:
            continue
        if declared.check.read is not None:
            values[name] = declared.check.read(values[name])
        for value in values[name] if isinstance(values[name], list) else [values[name]]:
            declared.check.require(declared.flag, value)
    return values


def _parameters(cls: type[Record], choices: Mapping[str, Mapping[str, str]]) -> list[inspect.Parameter]:
    found, settings = [], settings_of(cls)
    defaults = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
    for name, text in help_of(cls).items():
        declared = settings[name]
        kind = str if declared.is_listed or declared.check.read is not None else declared.check.kind
        if words := choices.get(name):
            kind = Literal[tuple(words)]
            text = f"{text.removesuffix('.')}: {', '.join(f'{word} ({meaning})' for word, meaning in words.items())}."
        option = typer.Option(
            *declared.flags,
            help=text,
            rich_help_panel=declared.panel,
            show_default=_shown(declared, defaults[name]),
            metavar=declared.metavar,
            case_sensitive=False,
        )
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
        found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return found


def _shown(declared: Setting, default: Any) -> str:
    """The default as help shows it, so that what was asked for can be told from what was left open."""
    if declared.shown is not None:
        return declared.shown
    if isinstance(default, bool):
        yes, _, no = declared.flags[0].partition("/")
        return (yes if default else no).removeprefix("--")
    return "" if default is None else str(default)


CHECKPOINT = typer.Option(
    "--checkpoint",
    "-c",
    help="A checkpoint file or a run's folder. By default the newest run under checkpoints/.",
    metavar="PATH",
    rich_help_panel="Model",
    autocompletion=lambda incomplete: _complete_runs(incomplete),
)
CHECKPOINTS = typer.Option(
    "--checkpoint",
    "-c",
    help="A checkpoint file or a run's folder; several are compared. By default the newest run under checkpoints/.",
    metavar="PATH",
    rich_help_panel="Model",
    show_default=False,
    autocompletion=lambda incomplete: _complete_runs(incomplete),
)
READING_DEVICE = typer.Option(
    "--device",
    help="Where to compute: the CPU, which auto takes too; one character after the other is read there.",
    rich_help_panel="Run",
    case_sensitive=False,
)


def _complete_runs(incomplete: str) -> list[str]:
    from charrnn.checkpoints.folder import RUNS, is_set_aside

    runs = sorted(str(path) for path in RUNS.glob("*") if path.is_dir() and not is_set_aside(path))
    return [run for run in runs if run.startswith(incomplete)]


def complete_texts(incomplete: str) -> list[str]:
    """Returns what a shell offers for a text: corpora known by name, files and folders."""
    from charrnn.cli.texts import complete

    return complete(incomplete)


def refuse_beside(why: str, given: Mapping[str, bool]) -> None:
    """Raises UsageError, which begins with `why`, for the first option that was given and does not go with another."""
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{why}, so {name} does not go with it", f"leave {name} out")
