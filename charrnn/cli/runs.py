"""`charrnn inspect` of runs: which of its arguments are runs, the table of a folder of them, and their curves."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.output import FORMATS, check_files, print_pieces, write_page
from charrnn.cli.view import Given, Option
from charrnn.errors import CheckpointError, UsageError
from charrnn.settings.choices import RunOrder
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.checkpoints.curves import Curves, Point
    from charrnn.checkpoints.runs import Standing

SORT = Option(
    "--sort",
    RunOrder,
    "Order of the table of runs: the newest, the lowest bpc, the name, or the most minutes, characters or bytes first.",
    default="age",
    alone="--sort is for the table of the runs in a folder",
)
FOLLOW = Option(
    "--follow",
    bool,
    "Draw the curves of runs, the newest if none is named, and go on as they train, until they end, or q.",
)
VERIFY = Option(
    "--verify",
    bool,
    "Check every file of runs, the newest if none is named, whole and against the others, and say what a resume would "
    "do; the exit status is 4 where something is damaged.",
)
OPTIONS = (SORT, FOLLOW, VERIFY)
_OUTPUT = tuple(one.option for one in FORMATS if one.option.flag in ("--json", "--html", "--svg"))
_SCHEMA = 1
"""The version of the JSON that is printed here."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the arguments of `inspect` name, each recognised by what lies there."""

    runs: Sequence[Path] = ()
    """Folders of runs and checkpoint files, those of --checkpoint first."""
    folder: Path | None = None
    """A folder of runs."""
    text: str | None = None

    @property
    def run(self) -> Path | None:
        """The first run that is named."""
        return self.runs[0] if self.runs else None


def recognise(arguments: Sequence[str], checkpoints: Sequence[Path]) -> Named:
    """Sorts the arguments and the values of --checkpoint by what they name.

    Raises UsageError where that is more than one text, or a folder of runs and something else.
    """
    kinds = [(_kind_of(argument), argument) for argument in map(_with_folder, arguments)]
    folders, texts = ([argument for kind, argument in kinds if kind == wanted] for wanted in ("folder", "text"))
    named = [*checkpoints, *(Path(argument) for kind, argument in kinds if kind == "run")]
    runs = list({os.path.realpath(run): run for run in named}.values())  # each once
    if folders and (len(folders) > 1 or runs or texts):
        raise UsageError(f"{folders[0]} is a folder of runs, which are listed by themselves", "name it alone")
    if len(texts) > 1:
        raise UsageError(f"inspect reads one text, and {texts[0]} and {texts[1]} are two", "name one of them")
    return Named(runs, Path(folders[0]) if folders else None, texts[0] if texts else None)


def _with_folder(argument: str) -> str:
    """Returns the path of the run that is named as `train --name` names it, if neither a file nor a corpus is meant."""
    from charrnn.checkpoints.folder import RUNS
    from charrnn.checkpoints.runs import is_run
    from charrnn.text.catalogue import is_known

    is_name = argument not in ("", "-") and os.path.basename(argument) == argument
    is_name = is_name and not os.path.lexists(argument) and not is_known(argument)
    return str(RUNS / argument) if is_name and is_run(RUNS / argument) else argument


def _kind_of(argument: str) -> str:
    # An empty path is that of the folder one stands in, and not what an empty argument means.
    if argument in ("", "-") or not os.path.lexists(argument):
        return "text"
    from charrnn.checkpoints.folder import RUNS
    from charrnn.checkpoints.runs import is_checkpoint, is_run, runs_in

    path = Path(argument)
    if is_run(path) or is_checkpoint(path):
        return "run"
    return (
        "folder"
        if os.path.isdir(path) and (runs_in(path) or os.path.realpath(path) == os.path.realpath(RUNS))
        else "text"
    )


def show(named: Named, asked: Given, options: Sequence[Option], *, are_read: bool) -> bool:
    """Shows runs, if that is what the command asks for, and returns whether it did.

    `options` are all options of `inspect`; what cannot be used raises UsageError. If `are_read`, several runs are what
    a view looks into.
    """
    if asked.verify:
        _verify(named, asked, options)
        return True
    # A page of one run shows its curve; a picture of one is what the terminal shows of it, which is a view's affair.
    is_page = named.text is None and asked.html is not None
    is_page = is_page and not any(asked.gives(option) for option in options if option not in _OUTPUT)
    is_seen = named.folder is None and (len(named.runs) < 2 or are_read) and not asked.follow and not is_page
    if is_seen:
        if asked.gives(SORT):
            raise UsageError(SORT.alone, "name the folder, such as checkpoints/, or leave --sort out")
        return False
    allowed: tuple[Option, ...] = (FOLLOW,)
    why = "--follow draws the curves of runs"
    if named.folder is not None:
        allowed, why = (SORT, _OUTPUT[0]), f"{named.folder} is a folder of runs, which are listed"
    elif not asked.follow:
        allowed, why = _OUTPUT, f"the curves of {count(len(named.runs) or 1, 'run')} are drawn"
    if named.text is not None and named.folder is None and not asked.follow:
        raise UsageError(
            f"{len(named.runs)} runs are named, and what is asked of the text {named.text} is asked of one model",
            "name one run; --recurrence finds units of one in others, and charrnn eval TEXT -c A -c B compares scores",
        )
    for option in options:
        if asked.gives(option) and option not in allowed:
            raise UsageError(f"{why}: {option.flag} does not go with that", f"leave {option.flag} out, or name runs")
    if named.text is not None:
        raise UsageError(
            f"{why}: the text {named.text} does not go with that",
            "name one run to see what it makes of a text; charrnn eval TEXT -c A -c B compares runs on one",
        )
    check_files(asked)
    if named.folder is not None:
        _list(named.folder, asked)
    elif asked.follow:
        from charrnn.cli.follow import follow

        follow(_folders(named.runs or [_newest()]))
    else:
        _compare(named, asked)
    return True


def _verify(named: Named, asked: Given, options: Sequence[Option]) -> None:
    from charrnn.checkpoints.folder import Run, find_checkpoint
    from charrnn.checkpoints.runs import runs_in
    from charrnn.cli.verify import verify

    for option in options:
        if asked.gives(option) and option not in (VERIFY, _OUTPUT[0]):
            raise UsageError(
                f"--verify checks the files of runs: {option.flag} does not go with that", f"leave {option.flag} out"
            )
    paths = []
    for path in named.runs:
        file = path if os.path.lexists(path) else find_checkpoint(path)
        if not os.path.lexists(file):
            raise CheckpointError(f"there is no checkpoint {path}", "name a checkpoint or a run's folder")
        paths.append(path if file == path else file.parent)
    if named.text is not None:
        folder = Path(named.text)
        if named.text in ("", "-") or not os.path.isdir(folder) or not Run(folder).is_there:
            raise UsageError(f"--verify checks the files of runs, and {named.text} is none", "name a run's folder")
        paths.append(folder)
    elif named.folder is not None:
        paths = runs_in(named.folder)
        if not paths:
            raise CheckpointError(f"there is no run under {named.folder}{os.sep}", "charrnn train makes one")
    verify(paths or [find_checkpoint(None).parent], as_json=asked.json)


def _newest() -> Path:
    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli.chosen import say_chosen

    path = find_checkpoint(None)
    say_chosen(path, checkpoints.load(path))
    return path.parent


def _folders(runs: Sequence[Path]) -> list[Path]:
    """Returns the folders of runs. Raises CheckpointError where there is none, or a checkpoint lies outside of one."""
    from charrnn.checkpoints.checkpoint import read_metadata
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.checkpoints.runs import is_run

    folders = []
    for path in runs:
        if is_run(path):
            folders.append(path)
            continue
        file = find_checkpoint(path)
        read_metadata(file)
        if not is_run(file.parent):
            raise CheckpointError(
                f"{file} lies in no run's folder, where the metrics of its training would be", "name a run's folder"
            )
        folders.append(file.parent)
    return folders


def _list(folder: Path, asked: Given) -> None:
    from charrnn.checkpoints.runs import runs_in, standing
    from charrnn.display.report import spaced
    from charrnn.display.runs import table_of

    runs = sorted(map(standing, runs_in(folder)), key=_ORDERS[asked.sort])
    now = time.time()
    if asked.json:
        print(json.dumps({"schema": _SCHEMA, "folder": str(folder), "runs": [_facts(run, now) for run in runs]}))
    elif runs:
        is_whole = not sys.stdout.isatty() and "COLUMNS" not in os.environ
        print_pieces(spaced(table_of(runs, now, is_whole=is_whole)))
    else:
        raise CheckpointError(f"there is no run under {folder}{os.sep}", "charrnn train makes one")


def _compare(named: Named, asked: Given) -> None:
    from charrnn.checkpoints.runs import standing
    from charrnn.display.overlay import Overlay, names_of
    from charrnn.display.report import page

    runs = list(map(standing, _folders(named.runs or [_newest()])))
    for run in runs:
        if run.problem is not None and not (run.curves.train or run.curves.validation):
            raise CheckpointError(run.problem, "leave this run out, or train it again")
    if asked.json:
        now = time.time()
        print(json.dumps({"schema": _SCHEMA, "runs": [_facts(run, now) | arrays_of(run.curves) for run in runs]}))
    if asked.html is not None:
        write_page(asked.html, page(f"Runs: {', '.join(names_of(runs))}", [Overlay(runs)]))
    if asked.svg is not None:
        from charrnn.display.vector import picture

        write_page(asked.svg, picture(f"Runs: {', '.join(names_of(runs))}", [Overlay(runs)]))
    if not asked.json and asked.html is None and asked.svg is None:
        print_pieces([Overlay(runs)])


def _facts(run: Standing, now: float) -> dict[str, Any]:
    """Returns what the table says of a run, and more, ready for JSON."""
    return {
        "name": run.name,
        "path": str(run.folder),
        "state": run.state,
        "set_aside": run.is_aside,
        "corpus": run.corpus,
        "model": None if run.model is None else dict(run.model),
        "members": run.members,
        "step": run.step,
        "characters": run.characters,
        "minutes": None if run.seconds is None else round(run.seconds / 60, 3),
        "best_bpc": None if run.best_nats is None else run.best_nats / math.log(2),
        "best_nats": run.best_nats,
        "best_step": run.best_step,
        "age_seconds": round(now - run.changed, 1),
        "bytes": run.bytes,
        "problem": run.problem,
    }


def arrays_of(curves: Curves) -> dict[str, Any]:
    """Returns learning curves by name, ready for JSON: the step, the characters and the loss of each point."""

    def columns(points: Sequence[Point]) -> dict[str, list[float]]:
        return {
            "step": [point.step for point in points],
            "characters": [point.characters for point in points],
            "bpc": [round(point.bpc, 6) for point in points],
        }

    return {"train": columns(curves.train), "validation": columns(curves.validation)}


_ORDERS: dict[str, Callable[[Standing], Any]] = {
    "age": lambda run: (-run.changed, run.name),
    "best": lambda run: (math.inf if run.best_nats is None else run.best_nats, run.name),
    "name": lambda run: run.name,
    "minutes": lambda run: (-(run.seconds or 0.0), run.name),
    "characters": lambda run: (-(run.characters or 0.0), run.name),
    "size": lambda run: (-run.bytes, run.name),
}
