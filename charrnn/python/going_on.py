"""Calls of `charrnn.train` that go on with a run, for errors that say how. Words in capitals stand for a text that only
the user knows."""

from __future__ import annotations

from typing import Any

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.config_file import Origin, read_origin
from charrnn.checkpoints.folder import Run
from charrnn.settings.settings_file import read_settings
from charrnn.training.plan import plan_of
from charrnn.training.request import GROUPS, NOT_IN_A_FILE, Ways


def _with_text(run: Run, text: str, moved: str | None) -> str:
    """Returns the call that goes on with a run whose config.json is there and whose text is `text` now; where one of
    its texts has `moved`, the others stay as they are."""
    origin = read_origin(run.config) or Origin([text])

    def now(word: str) -> str:
        return text if word == moved else "FILE" if word == "-" else word

    validation = None if origin.validation is None else now(origin.validation)
    corpus = origin.corpus if origin.corpus == ["-"] else [now(word) for word in origin.corpus]
    return _call(run, Origin(corpus, validation, origin.glob))


def _without_config(run: Run) -> str:
    """Returns the call that goes on with a run whose config.json is missing; the text is called TEXT in it."""
    return _call(run, Origin(["TEXT"]))


def _call(run: Run, origin: Origin) -> str:
    words = ["text=TEXT"]
    if origin.corpus != ["-"]:
        words = [repr(origin.corpus[0] if len(origin.corpus) == 1 else origin.corpus)]
    given = {"validation": origin.validation, "glob": origin.glob, "out": str(run.folder), **_settings(run)}
    words += [f"{name}={value!r}" for name, value in given.items() if value is not None]
    return f"charrnn.train({', '.join(words)})"


def _settings(run: Run) -> dict[str, Any]:
    """Returns the settings that were given when the run began; before its first checkpoint, all that were chosen.

    Raises CheckpointError where the run's last checkpoint cannot be read.
    """
    if run.last.exists():
        before = plan_of(checkpoints.load(run.last, with_state=True))
        groups = {**before.requested, "budget": before.budget.to_dict()}
    else:
        groups = read_settings(run.config, GROUPS, NOT_IN_A_FILE).settings
    return {name: value for group in GROUPS if group != "launch" for name, value in groups.get(group, {}).items()}


WAYS = Ways(
    _with_text,
    _without_config,
    lambda _run: "to begin another run, name a text in the place of the folder, and its settings",
)
