"""Options from configuration fields: one documentation string, one default, one place.

Knows Typer and the dataclasses. Imports nothing heavy: this is read for `--help` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from charrnn.errors import UsageError
from charrnn.settings.fields import field_help


def default_of(cls: type, name: str) -> Any:
    """The default of a configuration field."""
    (field,) = [field for field in fields(cls) if field.name == name]
    return None if field.default is MISSING else field.default


def setting(
    cls: type,
    name: str,
    *flags: str,
    panel: str,
    shown: str | None = None,
    metavar: str | None = None,
    more: str = "",
) -> Any:
    """An option for field `name` of `cls`. Its value is None where the user says nothing, so that what was asked for
    can be told from what was left open; its help is the field's documentation, `more`, and the default or `shown`."""
    default = default_of(cls, name)
    shown = shown or (str(default) if default not in (None, "") else None)
    return typer.Option(
        *flags,
        help=field_help(cls, name)
        + (f" {more}" if more else "")
        + (rf" [dim]\[default: {shown}][/dim]" if shown else ""),
        rich_help_panel=panel,
        show_default=False,
        metavar=metavar,
    )


def switch(cls: type, name: str, flag: str, *, panel: str) -> Any:
    """An option for a field that is true or false: `flag`, such as --tie, says true, and --no-tie false."""
    shown = flag.removeprefix("--")
    off = f"no-{shown}"
    return setting(cls, name, f"{flag}/--{off}", panel=panel, shown=shown if default_of(cls, name) else off)


CHECKPOINT = typer.Option(
    "--checkpoint",
    "-c",
    help="A checkpoint file or a run's folder. By default the newest run under checkpoints/.",
    metavar="PATH",
    rich_help_panel="Model",
    autocompletion=lambda incomplete: _complete_runs(incomplete),
)
THREADS = typer.Option(
    # Far beyond any machine's cores, torch's thread pool crashes.
    "--threads",
    min=1,
    max=1024,
    help="CPU threads.",
    show_default="all cores",
    rich_help_panel="Run",
)
SAMPLING_THREADS = typer.Option(
    "--threads",
    min=1,
    max=64,
    help="CPU threads; the text does not depend on them.",
    show_default="by the model's size",
    rich_help_panel="Run",
)
DEVICE = typer.Option(
    "--device",
    help="Where to compute: auto takes an NVIDIA GPU where there is one that torch has kernels for.",
    rich_help_panel="Run",
)

SAMPLING_DEVICE = typer.Option(
    "--device",
    help="Where to compute: the CPU, which auto takes too and which starts at once, or cuda, for many samples.",
    rich_help_panel="Run",
)
READING_DEVICE = typer.Option(
    "--device",
    help="Where to compute: the CPU, which auto takes too; one character after the other is read there.",
    rich_help_panel="Run",
)


def _complete_runs(incomplete: str) -> list[str]:
    runs = sorted(str(path) for path in Path("checkpoints").glob("*") if path.is_dir())
    return [run for run in runs if run.startswith(incomplete)]


def refuse_beside(why: str, given: Mapping[str, bool]) -> None:
    """Raises UsageError, which begins with `why`, for the first option that was given and does not go with another."""
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{why}, {name} does not go with it", f"leave {name} out")
