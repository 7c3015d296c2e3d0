"""Random configurations of training, stopped at random steps and resumed, against the same uninterrupted."""

from __future__ import annotations

import gzip
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.checkpoints import checkpoint as checkpoints
from tests.campaign._configurations import Configuration, drawn
from tests.campaign.campaign import Campaign
from tests.kit.command import Result
from tests.kit.forked import Job, run
from tests.kit.runs_compared import assert_same_run, metrics, tensors
from tests.kit.text import make_text

_MOST_REFUSED = 60
_SIGNALS = {"SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}
_NEVER = "1000000"
_CLOCKS = ("seconds", "validated_seconds", "sampled_seconds", "validation_cost", "characters_per_second")
_DIVERGED = 5
_OF_A_BUDGET = dict.fromkeys(("--decay", "--average", "--validate-every", "--sample-every"))
"""The options that make a run with a small budget and then a larger one the run with the larger one."""


def _prepare(folder: Path) -> Path:
    (folder / "folder").mkdir()
    for number, name in enumerate(("text.txt", "more.txt", "held.txt", "folder/a.md", "folder/b.md", "folder/c.txt")):
        (folder / name).write_text(make_text(400 if number else 1500, number), "utf-8")
    (folder / "text.txt.gz").write_bytes(gzip.compress((folder / "text.txt").read_bytes()))
    return folder


def _job(place: Path, folder: Path, words: Sequence[str], stop: tuple[str, int] | None) -> Job:
    """A training in a process that gets a signal after so many updates of its own, if it is to be stopped."""
    signal, step = (stop[0], str(stop[1])) if stop is not None else ("SIGTERM", _NEVER)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CHARRNN")},
        "CHARRNN_CACHE": str(folder / "cache"),
    }
    environment.pop("RANK", None)
    return Job(["tests.kit.interrupt", signal, step, "0", "train", *words], place, environment)


def _trial(place: Path, seed: int, folder: Path) -> str | None:
    draw = random.Random(seed)
    configuration = drawn(draw)
    by_budget = draw.random() < 0.2
    if by_budget:
        _make_independent_of_its_budget(configuration, draw)
    whole, other = folder / "whole", folder / "other"
    for _ in range(_MOST_REFUSED):
        (ended,) = run([_job(place, folder, [*configuration.words(), "--out", str(whole)], None)])
        if ended.status != 2 and not (ended.status == 3 and "--documents" in configuration.options):
            break
        if whole.exists():
            return f"a refused run made its folder: {_told(configuration, ended)}"
        configuration.without_one_of(ended.err, draw)
    if ended.status == _DIVERGED:
        return _compare_divergence(place, folder, configuration, draw, ended)
    if ended.status:
        return f"status {ended.status} for {_told(configuration, ended)}"
    by_budget = (
        by_budget and configuration.options.keys() >= _OF_A_BUDGET.keys()
    )  # what was refused may be one of these
    said = _stop_and_resume(place, folder, configuration, draw, by_budget=by_budget)
    if said is not None:
        return said
    try:
        _assert_same(other, whole)
    except AssertionError as error:
        return f"{' '.join(str(error).split())[:300]} | train {' '.join(configuration.words())}"
    return None


def _make_independent_of_its_budget(configuration: Configuration, draw: random.Random) -> None:
    """So that a run with a small budget and then a larger one is the run with the larger one."""
    for flag in ("--average-from", "--average-after", "--preset", "--patience", "--ensemble", "--distill"):
        configuration.options.pop(flag, None)
    every = str(draw.choice([1, 2, 3]))
    configuration.budget = ["--steps", str(draw.randrange(6, 17))]
    values = ("constant", "0", every, every)
    configuration.options |= {flag: [flag, value] for flag, value in zip(_OF_A_BUDGET, values, strict=True)}


def _steps(folder: Path) -> int:
    made = int(checkpoints.load(folder / "last.safetensors").progress["step"])
    assert made > 0
    return made


def _stop_and_resume(
    place: Path, folder: Path, configuration: Configuration, draw: random.Random, *, by_budget: bool
) -> str | None:
    """Makes the run once more, with stops between. Returns what went wrong, or None."""
    last = _steps(folder / "whole")
    stops = sorted(draw.sample(range(1, last), min(draw.choice([1, 1, 2, 3]), last - 1)))
    every = int(configuration.options.get("--validate-every", ["", "1"])[1])
    other, made = folder / "other", 0
    command = [*configuration.words(), "--out", str(other)]
    for stop in stops:
        # A folder has the budget of the run before, which is the smaller one where a budget is what stops.
        words = command if made == 0 or by_budget or draw.random() < 0.6 else [str(other)]
        if by_budget and stop % every == 0:
            words = ["--steps" if word == "--steps" else word for word in command]
            words[words.index("--steps") + 1] = str(stop)
            (ended,), expected = run([_job(place, folder, words, None)]), 0
        else:
            signal = draw.choice([*_SIGNALS])
            (ended,), expected = run([_job(place, folder, words, (signal, stop - made))]), _SIGNALS[signal]
        if ended.status != expected:
            return f"status {ended.status}, not {expected}, at step {stop} of {last}: {_told(configuration, ended)}"
        if (said := _resumed_wrongly(ended, was_there=made > 0)) is not None:
            return f"{said} at step {stop}: {_told(configuration, ended)}"
        made = stop
    words = [str(other)] if draw.random() < 0.4 and not by_budget else command
    (ended,) = run([_job(place, folder, words, None)])
    if ended.status:
        return f"status {ended.status} in the end: {_told(configuration, ended)}"
    if (said := _resumed_wrongly(ended, was_there=made > 0)) is not None:
        return f"{said} in the end: {_told(configuration, ended)}"
    return None


def _resumed_wrongly(ended: Result, *, was_there: bool) -> str | None:
    if "Traceback" in ended.err + ended.out:
        return "a traceback"
    if was_there != ("exact resume at step" in ended.err):
        return "no exact resume" if was_there else "a resume of nothing"
    return None


def _told(configuration: Configuration, ended: Result) -> str:
    return f"{' / '.join(ended.err.strip().splitlines()[-2:])[:300]} | train {' '.join(configuration.words())}"


def _compare_divergence(
    place: Path, folder: Path, configuration: Configuration, draw: random.Random, whole: Result
) -> str | None:
    """A run that diverges does so as well after it was stopped before, at the same step."""
    (found,) = re.findall(r"training diverged at step ([\d,]+)", whole.err)
    at = int(found.replace(",", ""))
    command = [*configuration.words(), "--out", str(folder / "other")]
    if at > 1 and "rollback" not in command:
        run([_job(place, folder, command, ("SIGTERM", draw.randrange(1, at)))])
    (ended,) = run([_job(place, folder, command, None)])
    said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if ended.status != _DIVERGED or said != [line for line in whole.err.splitlines() if line.startswith("error: ")]:
        return f"it diverges otherwise: {_told(configuration, ended)}"
    return None


def _without_clocks(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _CLOCKS}


def _assert_same(one: Path, other: Path) -> None:
    """Raises AssertionError unless two folders hold the same run."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert names[0] == names[1], f"the folders hold {names}"
    assert_same_run(one, other)
    for name in names[0]:
        if name.startswith("step-"):
            assert tensors(one / name) == tensors(other / name), f"{name} differs"
    for name in (name for name in names[0] if name.endswith(".safetensors")):
        ours, theirs = (checkpoints.load(folder / name, with_state=True) for folder in (one, other))
        assert _without_clocks(ours.progress) == _without_clocks(theirs.progress), f"{name}: progress differs"
        counters = [_without_clocks(each.training.get("counters", {})) for each in (ours, theirs)]
        assert counters[0] == counters[1], f"{name}: counters differ: {counters}"
        assert ours.environment == theirs.environment, f"{name}: environments differ"
        assert (ours.model, ours.data, ours.corpus) == (theirs.model, theirs.data, theirs.corpus), f"{name} differs"
        for what in ("model", "data", "training", "run", "budget"):
            assert ours.training.get(what) == theirs.training.get(what), f"{name}: {what} differs"
    assert metrics(one / "metrics.jsonl"), "no metrics"


CAMPAIGNS = {
    "resume": Campaign(
        summary="A random configuration of every setting of training, stopped one to three times at random steps (by a "
        "signal, or by a smaller budget) and resumed by its command or its folder, is the uninterrupted run, byte for "
        "byte. A configuration that is refused loses one of the options that its message names, and is tried again.",
        prepare=_prepare,
        trial=_trial,
        in_suite=4,
    ),
}
