"""What `charrnn train` is asked for, put together from the command line, a file of settings, and a run's folder.

What the command line says wins over the file, and the file over the run; of budgets, and of `name` and `out`, one takes
the place of the other. A preset that the command line names wins over the file, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoints.config_file import Origin, is_config, read_origin
from charrnn.checkpoints.folder import RUNS, Run
from charrnn.cli.train import Launch
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import Record
from charrnn.settings.presets import PresetName
from charrnn.settings.run import RunConfig
from charrnn.settings.settings_file import Written, read_settings
from charrnn.text import catalogue
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

_NOT_IN_A_FILE = {
    "config": "a file of settings names no other one",
    "fresh": "--fresh is about one start of a run: give it on the command line",
    "dry-run": "--dry-run is about one start of a run: give it on the command line",
}
_OF_THE_PLACE = ("name", "out")
"""Settings of which one takes the other's place."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says: the command line, a file or a run. The settings stand by group and field name."""

    corpus: list[str]
    preset: PresetName | None
    settings: Mapping[str, Mapping[str, Any]]

    def request(self) -> TrainRequest:
        """Returns the settings as a request, without the preset."""
        budget = self.settings.get("budget")
        own = {name: dict(self.settings.get(name, {})) for name in ("model", "data", "training", "run")}
        return TrainRequest(**own, budget=Budget(**budget) if budget else None)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Order:
    """All that was asked for."""

    request: TrainRequest
    corpus: list[str]
    launch: Launch
    notices: tuple[str, ...] = ()


def make_order(said: Said) -> Order:
    """Returns what the command line asks for, together with the file and the run that it names.

    Raises UsageError where the places contradict themselves, and TextError or CheckpointError where a run that is named
    cannot go on.
    """
    _check_place(said)
    file = said.settings["launch"].get("config")
    request = said.request()
    if said.preset is not None:
        request = with_preset(request, said.preset)
    launch, corpus = dict(said.settings["launch"]), said.corpus
    if file is not None:
        written = _read_file(Path(file))
        _check_place(written)
        request = _over(request, written.request())
        if said.preset is None and written.preset is not None:
            request = with_preset(request, written.preset)
        launch = _launch_over(launch, written.settings["launch"])
        corpus = corpus or written.corpus
    run = next((Run(Path(word)) for word in corpus if _is_run(word)), None)
    if run is None:
        if not corpus:
            raise UsageError(
                "charrnn train needs a text",
                "name a file, a folder or a corpus, such as charrnn train tinyshakespeare",
                "or name the folder of a run that is to go on",
            )
        return Order(request, corpus, _placed(launch))
    if len(corpus) > 1:
        raise UsageError(
            f"{run.folder} is the folder of a run, which goes on with its own text, and others are named beside it",
            f"name the folder alone, or leave it out and add --out {run.folder}",
        )
    _refuse_place(launch, run)
    origin, before = _read_run(run)
    launch = {**before.settings["launch"], **_origin_settings(origin), **launch, "out": run.folder}
    return Order(_over(request, before.request()), origin.corpus, Launch(**launch), _notices(run))


def _over(top: TrainRequest, below: TrainRequest) -> TrainRequest:
    """Returns both requests as one; what is in both is as in `top`."""
    return TrainRequest(
        model={**below.model, **top.model},
        data={**below.data, **top.data},
        training={**below.training, **top.training},
        run={**below.run, **top.run},
        budget=top.budget or below.budget,
        notices=(*below.notices, *top.notices),
    )


def _launch_over(top: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    if any(name in top for name in _OF_THE_PLACE):
        below = {name: value for name, value in below.items() if name not in _OF_THE_PLACE}
    return {**below, **top}


def _check_place(said: Said) -> None:
    """Raises UsageError where the run's folder is named twice."""
    launch = said.settings["launch"]
    if "name" in launch and "out" in launch:
        raise UsageError(
            f"--name {launch['name']} and --out {launch['out']} both name the run's folder", "give one of them"
        )


def _placed(launch: Mapping[str, Any]) -> Launch:
    placed = Launch(**launch)
    return placed if placed.name is None else replace(placed, out=RUNS / placed.name, name=None)


def _read_file(path: Path) -> Said:
    """Reads the file of --config; of a run's folder its config.json."""
    if os.path.isdir(path) and is_config(Run(path).config):
        path = Run(path).config
    written = read_settings(path, GROUPS, _NOT_IN_A_FILE)
    settings = dict(written.settings)
    launch = settings["launch"] = dict(settings["launch"])
    if "validation" in launch:
        launch["validation"] = _placed_beside(path, launch["validation"])
    if "out" in launch:
        launch["out"] = path.parent / launch["out"]
    return Said([_placed_beside(path, word) for word in written.corpus], written.preset, settings)


def _placed_beside(file: Path, word: str) -> str:
    """Returns a text that a file names: relative to the file, unless it is - or is known by that name."""
    beside = file.parent / word
    if word == "-" or (not os.path.lexists(beside) and catalogue.is_known(word)):
        return word
    return str(beside)


def _is_run(word: str) -> bool:
    run = Run(Path(word))
    if word in ("", "-") or not os.path.isdir(word):
        return False
    return run.last.exists() or run.best.exists() or is_config(run.config)


def _refuse_place(launch: Mapping[str, Any], run: Run) -> None:
    for name in _OF_THE_PLACE:
        if name in launch:
            raise UsageError(
                f"{run.folder} is the folder of a run, which goes on in its place, and --{name} is {launch[name]}",
                f"leave --{name} out; to begin another run with these settings, "
                f"give --config {run.config} in the place of the folder",
            )


def _read_run(run: Run) -> tuple[Origin, Said]:
    """Returns where the text of a run lies, and its settings. Raises an error that says how the run can go on."""
    from charrnn.cli.going_on import command_with_text, command_without_config

    if run.best.exists() and not run.last.exists() and not run.config.exists():
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "name a text to begin another run with",
        )
    if not run.config.exists():
        raise CheckpointError(
            f"{run.folder} holds no {run.config.name}, which says where the text of the run lies",
            f"name the text in the place of TEXT: {command_without_config(run)}",
        )
    written: Written = read_settings(run.config, GROUPS, _NOT_IN_A_FILE)
    origin = read_origin(run.config)
    if origin is None:
        raise CheckpointError(
            f"{run.config} does not say where the text of the run lies",
            f"name the text in the place of TEXT: {command_with_text(run, 'TEXT')}",
        )
    if "-" in origin.texts:
        raise UsageError(
            f"the text of the run in {run.folder} came on standard input, and cannot be found again",
            f"give it once more: {command_with_text(run, '-')}",
        )
    for path in origin.texts:
        if os.path.isabs(path) and not os.path.lexists(path):
            raise TextError(
                f"the text of the run in {run.folder} is not there any more: {path}",
                "if it lies elsewhere now, name it in the place of NEWPATH: "
                + command_with_text(run, "NEWPATH", moved=path),
            )
    return origin, Said(origin.corpus, None, written.settings)


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
