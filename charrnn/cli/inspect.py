"""`charrnn inspect`: finds the view that was asked for, and checks that the options go together.

Each view declares its own options; a new view is a line in `VIEWS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import (
    ablate,
    card,
    circuit,
    find,
    gates,
    heat,
    horizon,
    onnx,
    patch,
    predictions,
    probe,
    recurrence,
    runs,
    select,
    states,
    summary,
)
from charrnn.cli.inspect_options import EVERY_TEXT, LENGTH, SPLIT, UNIT
from charrnn.cli.options import CHECKPOINTS, READING_DEVICE, complete_texts, refuse_beside
from charrnn.cli.output import FORMATS, PALETTE, check_files, give_out
from charrnn.cli.view import Given, Option, View
from charrnn.errors import UsageError
from charrnn.settings.choices import DeviceName

if TYPE_CHECKING:
    from charrnn.display.help_page import Section

VIEWS = (
    summary.VIEW,
    heat.VIEW,
    predictions.VIEW,
    gates.VIEW,
    horizon.VIEW,
    find.VIEW,
    recurrence.VIEW,
    card.VIEW,
    ablate.VIEW,
    patch.VIEW,
    select.VIEW,
    probe.VIEW,
    probe.FILE_VIEW,
    circuit.VIEW,
    states.VIEW,
    onnx.VIEW,
)

TEXT = typer.Argument(
    help="A text (a file, - for standard input, or a corpus known by name), runs, or a folder of runs. Without any: "
    "the newest run.",
    show_default=False,
    metavar="[TEXT | RUN...]",
    autocompletion=complete_texts,
)


def inspect(**values: Any) -> None:
    """See what a model is and what its units respond to.

    \b
    charrnn inspect                            the newest run and its curve
    charrnn inspect checkpoints/               all runs, as a table
    charrnn inspect held_out.txt --find        units that know something
    charrnn inspect held_out.txt --unit UNIT   the text coloured by one of them
    """
    named = runs.recognise(values["text"] or [], values["checkpoint"] or [])
    asked = Given(values | {"text": named.text, "checkpoint": named.run, "runs": named.runs})
    are_read = any(view.compares and view.flag and asked.gives(view.flag) for view in VIEWS)
    if runs.show(named, asked, list(_panels()), are_read=are_read):
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
        # What a terminal shows of a run can be a picture; pages and arrays are of texts, and of curves (`runs.py`).
        files = [one.option for one in FORMATS if one.option.type is Path and (one.option.flag != "--svg" or view.flag)]
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
        *filter(None, (option.flag, option.short)),
        help=option.help,
        rich_help_panel=panel,
        **{"case_sensitive": False, **option.more, **more},
    )
    kind = option.type | None if option.default is None else option.type
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, info])


def _arrange(options: Mapping[str, Any], is_whole: bool) -> list[Section]:
    """Returns the sections of the help page, the views first: each in a line with its options' names, or in full."""
    from charrnn.cli.help_page import sections_of, spelled
    from charrnn.display.help_page import Row, Section

    general = [each for name, each in options.items() if name in _GENERAL]
    if is_whole:
        return sections_of([*(each for name, each in options.items() if name not in _GENERAL), *general])
    rows = [
        Row(
            "RUN RUN ...",
            "The learning curves of several runs in one chart.",
            f"with {runs.FOLLOW.flag}, {runs.VERIFY.flag}",
        ),
        Row("checkpoints/", "All runs of a folder, as a table.", f"with {runs.SORT.flag}"),
    ]
    for view in VIEWS:
        if not view.shows:
            continue
        name = spelled(options[view.flag.name]) if view.flag else "(no TEXT)" if view.needs == "run" else "(TEXT alone)"
        own = [option.flag for option in view.options if option is not view.flag]
        rows.append(Row(name, view.shows, f"with {', '.join(own)}" if own else ""))
    everyday = [each for each in general if each.name in _EVERYDAY]
    return [Section("Views, of which one is shown", rows), *sections_of(everyday)]


_ALL = list(_parameters())
_OUTPUT = tuple(one.option.name for one in FORMATS)
_GENERAL = ("checkpoint", *(each.name for each in (*EVERY_TEXT, PALETTE)), *_OUTPUT, "device", "help_all", "help")
_EVERYDAY = ("checkpoint", UNIT.name, LENGTH.name, "json", "html", "svg")
_VIEW_FLAGS = tuple(view.flag.name for view in VIEWS if view.flag and view.shows)
inspect.arrange = _arrange  # type: ignore[attr-defined]
inspect.levels = {one.name: "advanced" for one in _ALL if one.name not in _EVERYDAY + _VIEW_FLAGS}  # type: ignore[attr-defined]
inspect.__signature__ = Signature(_ALL)  # type: ignore[attr-defined]
inspect.__annotations__ = {one.name: one.annotation for one in _ALL}
