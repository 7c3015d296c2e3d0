"""`charrnn inspect`: finds the view that was asked for, and checks that the options go together.

Each view declares its own options; a new view is a line in `VIEWS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli import ablate, card, find, gates, heat, horizon, predictions, probe, runs, select, summary
from charrnn.cli.inspect_options import EVERY_TEXT, LENGTH, SPLIT, UNIT
from charrnn.cli.options import CHECKPOINTS, READING_DEVICE, refuse_beside
from charrnn.cli.output import FORMATS, PALETTE, check_files, give_out
from charrnn.cli.view import Given, Option, View
from charrnn.errors import UsageError
from charrnn.settings.choices import DeviceName

VIEWS = (
    summary.VIEW,
    heat.VIEW,
    predictions.VIEW,
    gates.VIEW,
    horizon.VIEW,
    find.VIEW,
    card.VIEW,
    ablate.VIEW,
    select.VIEW,
    probe.VIEW,
    probe.FILE_VIEW,
)

TEXT = typer.Argument(
    help="A text (a file, - for standard input, or a corpus known by name), a run's folder or several, or a folder of "
    "runs, which are listed. Without a text: what the run is, and how it learned.",
    show_default=False,
    metavar="[TEXT | RUN...]",
)


def inspect(**values: Any) -> None:
    """See what a model is and what its units respond to.

    \b
    """
    named = runs.recognise(values["text"] or [], values["checkpoint"] or [])
    asked = Given(values | {"text": named.text, "checkpoint": named.run})
    if runs.show(named, asked, list(_panels())):
        return
    view = _chosen(asked)
    _check(view, asked)
    import numpy as np

    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli.chosen import say_chosen
    from charrnn.cli.reading import Subject
    from charrnn.display.progress import WorkDisplay

    path = find_checkpoint(asked.checkpoint)
    length = asked.length or view.length
    most = None if length is None else length + view.beyond
    # What is too large to compute with is said in a sentence, without numpy's warning.
    with WorkDisplay() as work, np.errstate(over="ignore", invalid="ignore"):
        loaded = checkpoints.load(path)
        if asked.checkpoint is None:
            say_chosen(path, loaded)
        subject = Subject(loaded, path, asked.text or "", asked.start, most, asked.split, asked.unknown, work)
        result = view.measure(subject, asked)
    if callable(result):
        result()
    else:
        give_out(result, asked)


def _chosen(asked: Given) -> View:
    """Returns the view that was asked for; of two flags, one may be an option of the other's view."""
    wanted = [view for view in VIEWS if view.flag and asked.gives(view.flag)]
    wanted = [view for view in wanted if not any(view.flag in other.options for other in wanted)]
    if len(wanted) > 1:
        raise UsageError(
            f"{' and '.join(view.called for view in wanted)} are pictures of their own", "give one of them"
        )
    return wanted[0] if wanted else summary.VIEW if asked.text is None else heat.VIEW


def _check(view: View, asked: Given) -> None:
    """Raises UsageError where an option was given that cannot be used with the view."""
    flags = [other.flag for other in VIEWS]
    for option in dict.fromkeys(option for other in VIEWS for option in other.options):
        if asked.gives(option) and option not in view.options and option not in flags:
            *others, last = (other.called for other in VIEWS if option in other.options)
            views = f"{', '.join(others)} or {last}" if others else last
            raise UsageError(
                option.alone.format(flag=option.flag, views=views), f"add {views}, or leave {option.flag} out"
            )
    if asked.palette is not None and not view.is_coloured(asked):
        raise UsageError(f"--palette colours text and guesses, and {view.called} draws neither", "leave --palette out")
    check_files(asked)
    why, alone = view.alone
    refuse_beside(why, {option.flag: asked.gives(option) for option in alone})
    view.check(asked)
    if asked.device not in ("cpu", "auto"):
        raise UsageError(f"--device is {asked.device}", "inspect reads one character at a time and computes on the CPU")
    if asked.text is None and not (view.flag and view.needs == "run"):
        files = [one.option for one in FORMATS if one.option.type is Path]
        needing = (UNIT, *files, SPLIT, *([view.flag] if view.flag else []))
        for option in needing:
            if asked.gives(option):
                raise UsageError(f"{option.flag} needs a text", f"charrnn inspect TEXT {option.flag} ...")


def _usual_lengths() -> str:
    """Returns a text that says how many characters each view shows when --length is not given."""
    flags: dict[str, list[str]] = {}
    for view in VIEWS:
        if view.flag and view.needs == "text" and LENGTH not in view.alone[1] and view.length != heat.VIEW.length:
            many = "the whole text" if view.length is None else f"{view.length:,}"
            flags.setdefault(many, []).append(view.called)
    others = ", ".join(f"with {' or '.join(views)} {many}" for many, views in flags.items())
    return f"{heat.VIEW.length}; {others}"


def _parameters() -> Iterator[Parameter]:
    """Yields the parameters from which Typer makes the options, in the order of the help page."""
    texts, checkpoints = Annotated[list[str] | None, TEXT], Annotated[list[Path] | None, CHECKPOINTS]
    yield Parameter("text", Parameter.KEYWORD_ONLY, default=None, annotation=texts)
    yield Parameter("checkpoint", Parameter.KEYWORD_ONLY, default=None, annotation=checkpoints)
    for option, panel in _panels().items():
        yield _parameter(option, panel)
    yield Parameter("device", Parameter.KEYWORD_ONLY, default="cpu", annotation=Annotated[DeviceName, READING_DEVICE])


def _panels() -> dict[Option, str]:
    """Returns every option with the panel of the help page in which it stands."""
    panels = dict.fromkeys(runs.OPTIONS, "Runs") | dict.fromkeys(EVERY_TEXT, "Text")
    panels |= dict.fromkeys([*(one.option for one in FORMATS), PALETTE], "Output")
    for view in VIEWS:
        for option in (view.flag, *view.options):
            if option is not None:
                panels.setdefault(option, view.panel)
    # An option that is the flag of another view stands in the panel of that other view.
    return panels | {view.flag: view.panel for view in VIEWS if view.flag}


def _parameter(option: Option, panel: str) -> Parameter:
    more = {"show_default": _usual_lengths()} if option is LENGTH else {}
    info = typer.Option(
        *filter(None, (option.flag, option.short)), help=option.help, rich_help_panel=panel, **{**option.more, **more}
    )
    kind = option.type | None if option.default is None else option.type
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, info])


def _examples() -> str:
    examples = (*runs.EXAMPLES, *(example for view in VIEWS for example in view.examples))
    shown = [(f"charrnn inspect {typed}".rstrip(), seen) for typed, seen in examples]
    return "\n".join(f"    {typed:<50}  {seen}".rstrip() for typed, seen in shown)


_ALL = list(_parameters())
inspect.__doc__ = f"{(inspect.__doc__ or '').rstrip()}\n{_examples()}\n    "
inspect.__signature__ = Signature(_ALL)  # type: ignore[attr-defined]
inspect.__annotations__ = {one.name: one.annotation for one in _ALL}
