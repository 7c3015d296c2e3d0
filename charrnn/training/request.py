"""What a run is asked for, put together from what is given and from the run whose folder is named, if one is.

The command line and `charrnn.train` ask here, so that both go on with a run alike. What is given wins over the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.cells.names import NAMES
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import Origin, is_config, read_origin
from charrnn.checkpoints.folder import RUNS, Run
from charrnn.checkpoints.runs import is_checkpoint
from charrnn.checkpoints.tensorfile import Damaged
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.files import explained, is_there
from charrnn.files import read_file as read_regular_file
from charrnn.settings.checks import require
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import Record
from charrnn.settings.launch import Launch
from charrnn.settings.presets import PresetName
from charrnn.settings.run import RunConfig
from charrnn.settings.settings_file import Written, read_settings
from charrnn.training.plan import TrainRequest, with_preset

GROUPS: dict[str, type[Record]] = {
    "launch": Launch,
    "budget": Budget,
    "model": ModelConfig,
    "data": DataConfig,
    "training": TrainingConfig,
    "run": RunConfig,
}
"""The settings of `train`, in the order in which config.json holds them."""

NOT_IN_A_FILE = {
    "config": "a file of settings names no other one",
    "fresh": "--fresh is about one start of a run: give it on the command line",
    "dry-run": "--dry-run is about one start of a run: give it on the command line",
    "change": "--change is about one start of a run: give it on the command line",
}
"""Settings that no file holds, each with the reason."""
OF_THE_PLACE = ("name", "out")
"""Settings of which one takes the other's place."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says: the command line, a call, a file or a run. The settings stand by group and field name."""

    corpus: list[str]
    preset: PresetName | None
    settings: Mapping[str, Mapping[str, Any]]

    def request(self) -> TrainRequest:
        """Returns the settings as a request, without the preset."""
        budget = self.settings.get("budget")
        own = {name: dict(self.settings.get(name, {})) for name in ("model", "data", "training", "run")}
        return TrainRequest(**own, budget=Budget(**budget) if budget else None)  # type: ignore[arg-type]

    def with_preset(self) -> TrainRequest:
        """Returns the settings as a request, with those of the preset where one is named."""
        return self.request() if self.preset is None else with_preset(self.request(), self.preset)


@dataclass(frozen=True, slots=True)
class Order:
    """All that was asked for."""

    request: TrainRequest
    corpus: list[str]
    launch: Launch
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ways:
    """How a user goes on with a run, for the hints of errors: a command for a shell, or a call in Python."""

    with_text: Callable[[Run, str, str | None, Order], str]
    """For a run with a config.json, what its text is now, the one text that this takes the place of, if not all, and
    what is asked for besides."""
    without_config: Callable[[Run], str]
    by_folder: Callable[[Run, Order], str]
    """By the run's folder alone, with what is asked for besides."""
    begin_another: Callable[[Run], str]
    """How another run begins, as a sentence of a hint."""


def settle(request: TrainRequest, corpus: list[str], launch: Mapping[str, Any], ways: Ways) -> Order:
    """Returns what is asked for together with what the run says, if the corpus is a run's folder.

    Raises UsageError for what contradicts the run, and TextError or CheckpointError where it cannot go on.
    """
    run = next((Run(Path(word)) for word in corpus if _is_run(word)), None)
    if "-" in corpus and request.data.get("documents") == "files":
        raise UsageError(
            "--documents files makes a document of each file, and standard input (or a string) is one text",
            "name files or a folder, or cut it with --documents lines or split:REGEX",
        )
    if run is None:
        if "glob" not in launch:
            _refuse_checkpoints(Order(request, corpus, Launch(**launch)), ways)
        return Order(request, corpus, _placed(launch))
    if len(corpus) > 1:
        raise UsageError(
            f"{run.folder} is the folder of a run, which goes on with its own text, and others are named beside it",
            f"name the folder alone, or leave it out and add --out {run.folder}",
        )
    _refuse_place(launch, run, ways)
    origin, before = _read_run(run, ways, Order(request, corpus, Launch(**launch)))
    launch = {**_kept_of(before, launch, run), **_origin_settings(origin), **launch, "out": run.folder}
    return Order(over(request, before.request()), origin.corpus, Launch(**launch), _notices(run))


def over(top: TrainRequest, below: TrainRequest) -> TrainRequest:
    """Returns both requests as one; what is in both is as in `top`."""
    return TrainRequest(
        model={**below.model, **top.model},
        data={**below.data, **top.data},
        training={**below.training, **top.training},
        run={**below.run, **top.run},
        budget=top.budget or below.budget,
        notices=(*below.notices, *top.notices),
        change=top.change or below.change,
    )


def check_place(launch: Mapping[str, Any]) -> None:
    """Raises UsageError where the run's folder is named twice."""
    if "name" in launch and "out" in launch:
        raise UsageError(
            f"--name {launch['name']} and --out {launch['out']} both name the run's folder", "give one of them"
        )


def origin_of(words: list[str], launch: Launch) -> Origin:
    """Returns where the texts that are named lie, for config.json: files and folders with their absolute paths."""
    validation = None if launch.validation is None else _lasting(launch.validation)
    return Origin([_lasting(word) for word in words], validation, launch.glob)


def _lasting(word: str) -> str:
    return os.path.abspath(word) if word != "-" and os.path.lexists(word) else word


def _placed(launch: Mapping[str, Any]) -> Launch:
    placed = Launch(**launch)
    return placed if placed.name is None else replace(placed, out=RUNS / placed.name, name=None)


def _is_run(word: str) -> bool:
    run = Run(Path(word))
    if word in ("", "-") or not os.path.isdir(word):
        return False
    return run.has(run.last) or run.has(run.best) or is_config(run.config)


def _refuse_place(launch: Mapping[str, Any], run: Run, ways: Ways) -> None:
    for name in OF_THE_PLACE:
        if name in launch:
            raise UsageError(
                f"{run.folder} is the folder of a run, which goes on in its place, and --{name} is {launch[name]}",
                f"give no --{name}; {ways.begin_another(run)}",
            )


def _refuse_checkpoints(asked: Order, ways: Ways) -> None:
    """Raises TextError for a file of a run in the place of a text, where the run can go on by its folder."""
    for word in asked.corpus:
        run = Run(Path(word).parent)
        if is_checkpoint(Path(word)) and run.has(run.last):
            raise TextError(
                f"{word} is a checkpoint, not a text",
                f"name a text, or the folder of the run to go on with it: {ways.by_folder(run, asked)}",
            )


def read_config(run: Run) -> Written:
    """Reads a run's config.json. Raises UsageError for what is wrong, and where it is a pipe or the like."""
    return _checked(run.config, read_settings(run.config, GROUPS, NOT_IN_A_FILE, read_regular_file))


def read_file(path: Path) -> Written:
    """Reads a user's file of settings. Raises UsageError with the file's name for what is wrong."""
    return _checked(path, read_settings(path, GROUPS, NOT_IN_A_FILE))


def _checked(path: Path, written: Written) -> Written:
    budgets, model = written.settings["budget"], written.settings["model"]
    if len(budgets) > 1:
        raise UsageError(
            f"more than one budget stands in {path}: {', '.join(budgets)}", "leave one of epochs, steps and minutes"
        )
    if "cell" in model:
        name = model["cell"].lower()  # as on the command line
        require(name in NAMES, f"cell in {path}", model["cell"], "one of " + ", ".join(NAMES))
        model["cell"] = name
    return written


def read_last(run: Run) -> Checkpoint:
    """Reads the checkpoint that training goes on from. Raises CheckpointError where that cannot be read."""
    try:
        return checkpoints.load(run.last, with_state=True)
    except Damaged as error:
        error.hints = (
            f"training goes on only from {run.last.name}; start over with --fresh, which keeps this run under a "
            "dated name",
        )
        raise


def computing_as_before(launch: Launch, run: Run) -> Launch:
    """Returns `launch` with the device and the threads of the run that goes on in its folder, where none are given."""
    with explained(run.last, "looking at"):
        if launch.fresh or not is_there(run.last):
            return launch
    try:
        before = read_config(run).settings["launch"]
    except UsageError:  # it is missing, or another program's: the run goes on without it
        return launch
    device = before.get("device", launch.device) if launch.device == "auto" else launch.device
    return replace(launch, device=device, threads=launch.threads or before.get("threads"))


def _read_run(run: Run, ways: Ways, asked: Order) -> tuple[Origin, Said]:
    """Returns where the text of a run lies, and its settings. Raises an error that says how the run can go on."""
    if run.has(run.best) and not run.has(run.last) and not run.has(run.config):
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "name a text to begin another run with",
        )
    if not run.has(run.config):
        raise CheckpointError(
            f"{run.folder} holds no {run.config.name}, which says where the text of the run lies",
            f"name the text in the place of TEXT: {ways.without_config(run)}",
        )
    written = read_config(run)
    origin = read_origin(run.config)
    if origin is None:
        raise CheckpointError(
            f"{run.config} does not say where the text of the run lies",
            f"name the text in the place of TEXT: {ways.with_text(run, 'TEXT', None, asked)}",
        )
    if "-" in origin.texts:
        raise UsageError(
            f"the text of the run in {run.folder} came on standard input, or from Python as a string, "
            "and cannot be found again",
            f"give it once more: {ways.with_text(run, '-', None, asked)}",
        )
    for path in origin.texts:
        if os.path.isabs(path) and not os.path.lexists(path):
            raise TextError(
                f"the text of the run in {run.folder} is not there any more: {path}",
                "if it lies elsewhere now, name it in the place of NEWPATH: "
                + ways.with_text(run, "NEWPATH", path, asked),
            )
    return origin, Said(origin.corpus, None, written.settings)


def _kept_of(before: Said, launch: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Returns what a run's config.json says of its start; a run that goes on has its models already."""
    kept = dict(before.settings["launch"])
    if run.has(run.last) and not launch.get("fresh"):
        kept.pop("init_from", None)
        kept.pop("distill_from", None)
    return kept


def _origin_settings(origin: Origin) -> dict[str, Any]:
    values = {"validation": origin.validation, "glob": origin.glob}
    return {name: value for name, value in values.items() if value is not None}


def _notices(run: Run) -> tuple[str, ...]:
    others = run.other_files()
    if not others:
        return ()
    return (
        f"{run.folder} holds a run, which goes on, and other files, such as {others[0].name}: "
        "to train on files there, name each of them instead of the folder",
    )
