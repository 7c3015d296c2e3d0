"""The runs in a folder and where each stands, told by the headers of its checkpoints and by its metrics.

No array is read, so that many large runs are listed in less than a second.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from charrnn.checkpoints.checkpoint import read_metadata
from charrnn.checkpoints.curves import Curves, curves_of
from charrnn.checkpoints.folder import BEST, LAST, METRICS, is_set_aside
from charrnn.checkpoints.lock import is_training
from charrnn.checkpoints.metrics import Entry, is_number, read_metrics
from charrnn.errors import CheckpointError

State = Literal["running", "finished", "stopped", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a run without reading its weights."""

    folder: Path
    state: State
    """A damaged run is one whose checkpoints are all damaged, or the one to go on from is."""
    is_aside: bool
    """Whether `train --fresh` has set the run aside."""
    bytes: int
    """The size of the files in the folder."""
    changed: float
    """The time when the run last wrote a checkpoint or metrics, in seconds since 1970."""
    problem: str | None = None
    """What is damaged, in a sentence."""
    corpus: str | None = None
    model: Mapping[str, Any] | None = None
    """The model's settings by name."""
    members: int = 1
    """How many models of these settings the best checkpoint is of."""
    step: int | None = None
    characters: float | None = None
    seconds: float | None = None
    best_nats: float | None = None
    best_step: int | None = None
    curves: Curves = Curves()

    @property
    def name(self) -> str:
        """The folder's name, also where its path ends without one."""
        return self.folder.name if self.folder.name not in ("", "..") else Path(os.path.abspath(self.folder)).name


def is_run(path: Path) -> bool:
    """Returns whether a path is the folder of a run."""
    # os.path's questions have an answer for every name; Path's raise an OSError for one that is too long.
    return any(os.path.isfile(path / name) for name in (BEST, LAST))


def is_checkpoint(path: Path) -> bool:
    """Returns whether a path is that of a checkpoint file, by its name."""
    return path.suffix == ".safetensors" and os.path.isfile(path)


def run_named(path: Path) -> str | None:
    """Returns what a path names where a text belongs: "a run" or "a checkpoint"; None where it is neither."""
    return "a run" if is_run(path) else "a checkpoint" if is_checkpoint(path) else None


def runs_in(folder: Path) -> list[Path]:
    """Returns the runs that lie directly in a folder, by name; the folder may be missing."""
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and is_run(path))
    return []


def standing(folder: Path) -> Standing:
    """Returns where a run stands. A damaged file is told of in `problem`; none raises an error."""
    is_running = is_training(folder)  # asked first: what a run that has ended wrote last is then seen
    found, problems = _headers(folder)
    last, best = found.get(LAST), found.get(BEST)
    known = last or best
    is_aside = is_set_aside(folder)
    size, changed = _on_disk(folder)
    common: dict[str, Any] = {
        "folder": folder, "is_aside": is_aside, "bytes": size, "changed": changed,
        "problem": "; ".join(problems) or None,
    }  # fmt: skip
    if known is None:
        return Standing(state="running" if is_running else "damaged", **common)
    progress, lines = known["progress"], read_metrics(folder / METRICS)
    curves = curves_of(lines, progress)
    newest = max(
        (line for line in lines if _is_later(line, progress)),
        key=lambda line: line["step"],
        default=progress,
    )
    best_nats, best_step = progress["best_nats"], progress["best_step"]
    is_lower = curves.best is not None and (best_nats is None or curves.best.nats < best_nats)
    if curves.best is not None and is_lower and "distilled_from" not in progress:  # a student is what it is
        best_nats, best_step = curves.best.nats, curves.best.step
    state: State = "stopped"
    if is_running:
        state = "running"
    elif LAST not in found and (folder / LAST).exists():
        state = "damaged"
    elif last is not None and is_finished(progress, last["training"]):
        state = "finished"
    return Standing(
        state=state, corpus=known["corpus"]["name"], model=known["model"], step=newest["step"],
        members=(best or known)["members"],
        characters=newest["characters"], seconds=newest["seconds"], best_nats=best_nats, best_step=best_step,
        curves=curves, **common,
    )  # fmt: skip


def _headers(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Returns the metadata of the checkpoints that can be read, by file name, and what is wrong with the others."""
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for name in (LAST, BEST):
        if os.path.isfile(folder / name):
            try:
                found[name] = read_metadata(folder / name)
            except CheckpointError as error:
                problems.append(error.message)
    return found, problems


def _is_later(line: Entry, progress: Mapping[str, Any]) -> bool:
    """Returns whether a line of metrics tells of a later moment than the checkpoint."""
    places = (line.get(name) for name in ("step", "characters", "seconds"))
    return all(map(is_number, places)) and line["step"] > progress["step"]


def is_finished(progress: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
    """Returns whether a run has used its budget or its patience, and has been validated and has written since.

    `training/pace.py` decides this for a run that goes on, where the text is known; here it is read off what the
    checkpoint remembers. What is missing or odd counts as not finished.
    """
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        if (course := training.get("course")) is not None:  # of several members
            return course["is_over"] is True
        counters, budget, patience = training["counters"], training["budget"], training["run"]["patience"]
        every, step = training["run"]["sample_every"], counters["step"]
        has_sample = counters["sampled_step"] == step or (every is not None and (not every or step % every))
        if counters["validated_step"] != step or not has_sample:
            return False
        if patience is not None and counters["without_gain"] >= patience:
            return True
        if budget["steps"] is not None:
            return bool(counters["step"] >= budget["steps"])
        if budget["epochs"] is not None:
            return bool(progress["epoch"] >= budget["epochs"] - 1e-6)  # the epoch is rounded to six decimals
        seconds = budget["minutes"] * 60
        return bool(counters["seconds"] >= max(seconds - counters["validation_cost"], 0.5 * seconds))
    return False


def _on_disk(folder: Path) -> tuple[int, float]:
    """Returns the size of the folder's files in bytes, and the time of the run's last change."""
    size, changed = 0, 0.0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                if entry.is_file():
                    found = entry.stat()
                    size += found.st_size
                    if entry.name in (BEST, LAST, METRICS):
                        changed = max(changed, found.st_mtime)
    return size, changed
