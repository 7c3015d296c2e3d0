"""Whole commands that go on with a run, for errors that say how: each can be pasted into a shell as it is, but for
words in capitals, which stand for a text that only the user knows."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from typing import Any

from charrnn.checkpoints.config_file import Origin, read_origin
from charrnn.checkpoints.folder import Run
from charrnn.errors import UsageError
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.launch import Launch
from charrnn.settings.run import RunConfig
from charrnn.settings.settings_file import typed
from charrnn.training.plan import OtherSettings, Plan, TrainRequest, plan_of
from charrnn.training.request import Order, Ways, origin_of, read_last


def refusal(other: OtherSettings, run: Run, request: TrainRequest, arguments: list[str], launch: Launch) -> UsageError:
    """Returns the error for a run that was made with other settings or of another text, with the command that goes
    on."""
    ways, given = "choose another --out, start over with --fresh, ", Origin(arguments, launch.validation, launch.glob)
    if other.has_grown:
        if other.is_used_up and request.budget in (None, other.before.budget):
            request = replace(request, budget=_twice(other.before.budget))
        command = whole_command(other.before, request, given, run, launch)
        if read_origin(run.config) == origin_of(arguments, launch):
            command = command_by_folder(run, Order(_changed(request, other.before), [], launch))
        return UsageError(other.message, f"{ways}or go on with the grown text: {command} --change")
    ways += "add --change to take over what is given now, or " if other.can_change else "or "
    if not other.is_other_text:
        command = whole_command(other.before, request, given, run, launch)
        return UsageError(other.message, f"{ways}go on with the run as it is: {command}")
    recorded = read_origin(run.config)
    if recorded is None:
        command = whole_command(other.before, request, Origin(["TEXT"]), run, launch)
        return UsageError(other.message, f"{ways}name its own text in the place of TEXT: {command}")
    if recorded == origin_of(arguments, launch) and not other.reads_otherwise:
        where = ", ".join(recorded.texts)
        return UsageError(
            f"{other.message}: the text in {where} has changed since",
            f"{ways}name the text as it was in the place of NEWPATH: "
            + command_with_text(run, "NEWPATH", None, Order(_changed(request, other.before), [], launch)),
        )
    command = whole_command(other.before, request, recorded, run, launch)
    text = ", with its text on standard input" if "-" in recorded.texts else ""
    return UsageError(other.message, f"{ways}go on with the run as it is{text}: {command}")


def _twice(budget: Budget) -> Budget:
    """Returns a budget that goes on where one is used up."""
    amount = 2 * budget.amount
    return Budget.from_dict({budget.unit: int(amount) if budget.unit == "steps" else amount})


def _changed(request: TrainRequest, before: Plan) -> TrainRequest:
    """Returns what is asked for and differs from the run, and may."""
    run = {name: value for name, value in request.run.items() if value != getattr(before.run, name)}
    return TrainRequest(run=run, budget=None if request.budget == before.budget else request.budget)


def command_with_text(run: Run, text: str, moved: str | None, asked: Order) -> str:
    """Returns the command that goes on with a run whose config.json is there and whose text is `text` now; where one of
    its texts has `moved`, the others stay as they are. What is `asked` for besides stands at its end."""
    origin = read_origin(run.config) or Origin([])
    words = [text] if moved is None else []
    if moved in origin.corpus:
        words = [text if word == moved else word for word in origin.corpus]
    if moved is not None and moved == origin.validation:
        words += ["--validation", text]
    words += ["--config", str(run.config), "--out", str(run.folder)]
    return shlex.join(["charrnn", "train", *words, *_asked(asked)])


def command_by_folder(run: Run, asked: Order) -> str:
    """Returns the command that goes on with a run by its folder."""
    return shlex.join(["charrnn", "train", str(run.folder), *_asked(asked)])


def _asked(asked: Order) -> list[str]:
    """Returns the settings that a command gives, but for its texts and its place."""
    request = asked.request
    words = typed(Budget, request.budget.to_dict()) if request.budget else []
    for record_type, values in (
        (ModelConfig, request.model), (DataConfig, request.data), (TrainingConfig, request.training),
        (RunConfig, request.run),
    ):  # fmt: skip
        words += typed(record_type, values)
    words += ["--fresh"] if asked.launch.fresh else []
    words += ["--change"] if asked.launch.change else []
    return words + _computing(asked.launch)


def _computing(launch: Launch) -> list[str]:
    words = [] if launch.device == "auto" else ["--device", launch.device]
    return words + ([] if launch.threads is None else ["--threads", str(launch.threads)])


def command_without_config(run: Run) -> str:
    """Returns the command that goes on with a run whose config.json is missing; the text is called TEXT in it.

    Raises CheckpointError where the run's last checkpoint cannot be read.
    """
    before = plan_of(read_last(run))
    return whole_command(before, TrainRequest(), Origin(["TEXT"]), run)


def whole_command(before: Plan, request: TrainRequest, origin: Origin, run: Run, launch: Launch | None = None) -> str:
    """Returns the command that goes on with a run, with every setting that was given when it began, and with what is
    asked for now and may change."""
    words = [f"./{word}" if word.startswith("-") and word != "-" else word for word in origin.corpus]
    for flag, value in (("--validation", origin.validation), ("--glob", origin.glob)):
        if value is not None:
            words += [f"{flag}={value}"] if value.startswith("-") and value != "-" else [flag, value]
    words += ["--out", str(run.folder)]
    then = before.requested
    words += typed(ModelConfig, then.get("model", {}))
    words += typed(DataConfig, then.get("data", {}))
    words += typed(TrainingConfig, then.get("training", {}))
    words += typed(RunConfig, _with_changes(then.get("run", {}), request.run))
    words += typed(Budget, (request.budget or before.budget).to_dict())
    if launch is not None:
        words += _computing(launch)
    return shlex.join(["charrnn", "train", *words])


def _with_changes(then: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    defaults = {each.name: each.default for each in fields(RunConfig)}
    return {name: value for name, value in {**then, **now}.items() if name in then or value != defaults[name]}


WAYS = Ways(
    command_with_text,
    command_without_config,
    command_by_folder,
    lambda run: f"to begin another run with these settings, give --config {run.config} in the place of the folder",
)
