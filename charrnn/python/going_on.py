"""Calls of `charrnn.train` that go on with a run, for errors that say how. Words in capitals stand for a text that only
the user knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charrnn.checkpoints.config_file import Origin, read_origin
from charrnn.checkpoints.folder import Run
from charrnn.training.plan import plan_of
from charrnn.training.request import GROUPS, Order, Ways, read_config, read_last


def _with_text(run: Run, text: str, moved: str | None, asked: Order) -> str:
    """Returns the call that goes on with a run whose config.json is there and whose text is `text` now; where one of
    its texts has `moved`, the others stay as they are. What is `asked` for besides is in it."""
    origin = read_origin(run.config) or Origin([text])

    def now(word: str) -> str:
        return text if word == moved else "FILE" if word == "-" else word

    validation = None if origin.validation is None else now(origin.validation)
    corpus = origin.corpus if origin.corpus == ["-"] else [now(word) for word in origin.corpus]
    given = {"out": str(run.folder), **_settings(run, asked.request.budget is not None), **_asked(asked)}
    return _call(Origin(corpus, validation, origin.glob), given)


def _without_config(run: Run) -> str:
    """Returns the call that goes on with a run whose config.json is missing; the text is called TEXT in it."""
    return _call(Origin(["TEXT"]), {"out": str(run.folder), **_settings(run)})


def _by_folder(run: Run, asked: Order) -> str:
    """Returns the call that goes on with a run by its folder."""
    return _call(Origin([str(run.folder)]), _asked(asked))


def _asked(asked: Order) -> dict[str, Any]:
    """Returns the settings that a call gives, but for its texts and its place."""
    request, launch = asked.request, asked.launch
    computing = {
        "device": None if launch.device == "auto" else launch.device,
        "threads": launch.threads,
        "fresh": launch.fresh or None,
        "change": launch.change or None,
    }
    budget = request.budget.to_dict() if request.budget else {}
    return {**budget, **request.model, **request.data, **request.training, **request.run, **computing}


def _call(origin: Origin, settings: Mapping[str, Any]) -> str:
    words = ["text=TEXT"]
    if origin.corpus != ["-"]:
        words = [repr(origin.corpus[0] if len(origin.corpus) == 1 else origin.corpus)]
    given = {"validation": origin.validation, "glob": origin.glob, **settings}
    words += [f"{name}={value!r}" for name, value in given.items() if value is not None]
    return f"charrnn.train({', '.join(words)})"


def _settings(run: Run, has_other_budget: bool = False) -> dict[str, Any]:
    """Returns the settings that were given when the run began; before its first checkpoint, all that were chosen.

    The budget is left out where it `has_other_budget`.

    Raises CheckpointError where the run's last checkpoint cannot be read.
    """
    if run.has(run.last):
        before = plan_of(read_last(run))
        groups = {**before.requested, "budget": before.budget.to_dict()}
    else:
        groups = read_config(run).settings
    left_out = ("launch", "budget") if has_other_budget else ("launch",)
    return {name: value for group in GROUPS if group not in left_out for name, value in groups.get(group, {}).items()}


WAYS = Ways(
    _with_text,
    _without_config,
    _by_folder,
    lambda _run: "to begin another run, name a text in the place of the folder, and its settings",
)
