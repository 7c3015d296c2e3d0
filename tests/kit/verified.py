"""A whole run in a folder, and what `inspect --verify` finds of it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.checkpoints.config_file import Origin, write_config
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.records import FILES
from charrnn.settings.config import TrainingConfig
from charrnn.settings.settings_file import values_of
from tests.kit.command import Command
from tests.kit.run_folders import BUDGET, COUNTERS
from tests.kit.tiny import tiny

FOLDER = Path("checkpoints/a")
RUN = Run(FOLDER)
LINES = [
    {"step": 0, "characters": 0, "validation_nats": 2.25},
    {"step": 10, "characters": 400, "train_nats": 2.0, "learning_rate": 0.01},
    {"step": 20, "characters": 800, "train_nats": 2.0, "validation_nats": 1.75},
    {"step": 40, "characters": 1600, "train_nats": 1.5},
]


def make_run() -> None:
    """A whole run, stopped at step 40 of 60."""
    FOLDER.mkdir(parents=True)
    Path("text.txt").write_text("a text\n")
    RUN.metrics.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    RUN.samples.write_text("=== step 20, epoch 0.50 ===\nabc\n\n")
    save(RUN.last, last_of_run())
    best = tiny("best")
    save(RUN.best, replace(best, progress={**best.progress, "step": 20}))
    save(RUN.kept(40), replace(best, kind="step"))
    last = last_of_run()
    settings = {**values_of(last.model), **values_of(last.data), **values_of(TrainingConfig())}
    write_config(RUN.config, Origin([os.path.abspath("text.txt")]), settings)


def last_of_run() -> Checkpoint:
    marks = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (RUN.metrics, RUN.samples)
    }
    budget = {**BUDGET["budget"], "steps": 60}
    kept = {**BUDGET, "budget": budget, "counters": COUNTERS, "training": TrainingConfig().to_dict(), FILES: marks}
    last = tiny("last")
    return replace(
        last, training=kept, progress={**last.progress, "epoch": 0.5}, environment={"threads": 1, "device": "cpu"}
    )


def findings(command: Command, *words: str, status: int) -> dict[str, list[tuple[str, str]]]:
    result = command("inspect", *(words or (str(FOLDER),)), "--verify", "--json")
    assert result.status == status, result
    told = json.loads(result.out)
    assert told["schema"] == 1
    found: dict[str, list[tuple[str, str]]] = {}
    for run in told["runs"]:
        assert run["damaged"] == sum(each["verdict"] == "damaged" for each in run["findings"])
        for each in run["findings"]:
            found.setdefault(each["file"], []).append((each["verdict"], each["said"]))
        found.setdefault("resume", []).append(("", run["resume"] or ""))
    return found
