"""Checks every file of a run whole, against itself and against the others, without changing anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from charrnn.checkpoints.checkpoint import Checkpoint, load
from charrnn.checkpoints.config_file import is_config, settings_in
from charrnn.checkpoints.folder import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    SAMPLES,
    Run,
    folder_size,
    is_member,
    is_set_aside,
    kept_step,
)
from charrnn.checkpoints.lineage import known_texts
from charrnn.checkpoints.lock import LOCK, is_training
from charrnn.checkpoints.metrics import Entry, entry_of, is_validation
from charrnn.checkpoints.records import Agreement, agreements
from charrnn.checkpoints.resuming import holder, would_resume
from charrnn.errors import CharrnnError, CheckpointError, ResourceError
from charrnn.files import read_file
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.settings.fields import Record, settings_of
from charrnn.settings.settings_file import option_name
from charrnn.text.union import covers
from charrnn.wording import count

Verdict = Literal["ok", "note", "damaged"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a file, in a sentence without its name."""

    file: str
    verdict: Verdict
    said: str


@dataclass(slots=True)
class Verified:
    """What was found of a run, or of a checkpoint file alone."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    is_training: bool = False
    process: int | None = None
    """The number of the process that trains there, where the system tells it."""
    resume: str | None = None
    """What training would do in the folder, in a phrase."""

    @property
    def damaged(self) -> int:
        """How many findings tell of damage."""
        return sum(finding.verdict == "damaged" for finding in self.findings)


def verify_file(path: Path) -> Verified:
    """Returns what is found of a checkpoint file."""
    return Verified(path, [_checkpoint(path)[0]])


def verify_run(folder: Path) -> Verified:
    """Returns what is found of a run in its folder. Nothing that is wrong raises an error."""
    found = Verified(folder, is_training=is_training(folder))
    found.process = holder(folder) if found.is_training else None
    findings, run = found.findings, Run(folder)
    # First `last`: a run that goes on meanwhile adds to what it says.
    finding, last = _checkpoint(run.last)
    records: list[Agreement] = []
    if last is None and not os.path.lexists(run.last):
        is_whole = not os.path.lexists(run.config) and not os.path.lexists(run.metrics)
        finding = Finding(LAST, "note" if is_whole else "damaged", "it is missing")
    findings.append(finding)
    findings.append(_best(run, last))
    for path in sorted(folder.glob("*.safetensors")):
        if kept_step(path) is not None or is_member(path):
            finding, kept = _checkpoint(path)
            findings.append(finding if kept is None or last is None else _of_one_run(finding, kept, last))
    findings.append(_config(run, last))
    if last is not None:
        of_records, records = _records(folder, last)
        findings += of_records
    # A file that is not as `last` says, or of which it says nothing, cannot be compared line by line.
    if last is None or any(each.problem is None for each in records if each.name == METRICS):
        findings += _metrics(run.metrics, last, records)
    findings += _beside(folder, is_running=found.is_training)
    found.resume = would_resume(run, last, findings[0].said, records, found.is_training, found.process)
    return found


def _checkpoint(path: Path) -> tuple[Finding, Checkpoint | None]:
    try:
        loaded = load(path, with_state=True)
    except (CheckpointError, ResourceError) as error:
        return Finding(path.name, "damaged", error.message.replace(str(path), "it")), None
    kept = kept_step(path)
    expected = {BEST: "best", LAST: "last"}.get(path.name, loaded.kind if kept is None else "step")
    expected = "member" if is_member(path) else expected
    step = loaded.progress["step"]
    if loaded.kind != expected:
        return Finding(path.name, "damaged", f"it is a checkpoint of the kind {loaded.kind}, by its contents"), None
    if kept is not None and kept != step:
        return Finding(path.name, "damaged", f"it is of step {step:,}, by its contents"), None
    arrays = [*loaded.parameters.values(), *loaded.state.values()]
    size = sum(array.nbytes for array in arrays)
    said = f"step {step:,}; {count(len(arrays), 'array')} of {size:,} bytes, all finite; the digest is right"
    return Finding(path.name, "ok", said), loaded


def _of_one_run(finding: Finding, loaded: Checkpoint, last: Checkpoint) -> Finding:
    """Returns the finding, or another where a checkpoint is not of the same run as the last one."""
    earlier = known_texts(last.lineage)
    is_known = covers(last.vocabulary, loaded.vocabulary) if earlier else loaded.vocabulary == last.vocabulary
    is_same = {
        "model": _fixed(loaded.model) == _fixed(last.model),
        "vocabulary": is_known,
        "data": loaded.data == last.data,
    }
    for what, same in is_same.items():
        if not same:
            return Finding(finding.file, "damaged", f"it has another {what} than {LAST}")
    if loaded.corpus["sha256"] not in {last.corpus["sha256"], *earlier}:
        return Finding(finding.file, "damaged", f"it was trained on another text than {LAST}")
    return finding


def _fixed(model: ModelConfig) -> dict[str, Any]:
    """Returns the settings of a model that no run changes on its way."""
    return {name: getattr(model, name) for name, declared in settings_of(ModelConfig).items() if declared.fixed}


def _best(run: Run, last: Checkpoint | None) -> Finding:
    if not os.path.lexists(run.best):
        if last is None or not last.progress["history"]:
            return Finding(BEST, "note", "it is missing: nothing was validated yet")
        return Finding(
            BEST, "damaged", f"it is missing, and {LAST} says that step {last.progress['best_step']:,} was best"
        )
    finding, best = _checkpoint(run.best)
    if best is None or last is None:
        return finding
    step, best_step = best.progress["step"], last.progress["best_step"]
    # A process that was killed between the two saves has left a later best, which a run that then took another way has
    # not reached again.
    is_better = _is_better(best.progress, last.progress)
    said = f"it is of step {step:,}, and {LAST} says that step {best_step:,} was best"
    if step != best_step and step <= last.progress["step"] and not is_better:
        return Finding(BEST, "damaged", said)
    finding = _of_one_run(finding, best, last)
    if finding.verdict == "ok" and step != best_step and is_better:
        why = "it is the one to use, and was saved by a process that ended before it could save what it knew"
        return Finding(BEST, "note", f"{said}: {why}")
    return finding


def _is_better(found: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a best is better than the one that is known; where nothing is held out the later one is."""
    nats, least = found["best_nats"], known["best_nats"]
    if nats is None or least is None:
        return nats is least and bool(found["step"] > known["best_step"])
    return bool(nats < least)


def _config(run: Run, last: Checkpoint | None) -> Finding:
    if not os.path.lexists(run.config):
        return Finding(CONFIG, "note", "it is missing: a command must name the text to go on")
    if not is_config(run.config):
        return Finding(CONFIG, "damaged", "it cannot be read, or is not that of a run")
    if last is not None:
        written = settings_in(run.config)
        for record in _records_of(last):
            for name, declared in settings_of(type(record)).items():
                value, said = getattr(record, name), written.get(option_name(declared))
                if not declared.may_change and value != said:
                    shown = f"{option_name(declared)} is {said!a:.40}, and in {LAST} {value!a:.40}"
                    return Finding(CONFIG, "damaged", shown)
    return Finding(CONFIG, "ok", f"it can be read, and says what {LAST} says" if last else "it can be read")


def _records_of(last: Checkpoint) -> Iterator[Record]:
    yield last.model
    yield last.data
    try:
        yield TrainingConfig.from_dict(last.training["training"])
    except (CharrnnError, KeyError, TypeError):
        return


def _records(folder: Path, last: Checkpoint) -> tuple[list[Finding], list[Agreement]]:
    try:
        found = agreements(folder, last.training)
    except (ValueError, KeyError, TypeError) as error:
        return [Finding(LAST, "damaged", f"it does not say what {METRICS} and {SAMPLES} held: {error}")], []
    findings = []
    for each in found:
        said = f"{count(each.expected, 'byte')}, whose digest is that in {LAST}"
        if each.found > each.expected:
            said += f"; {count(each.found - each.expected, 'byte')} written since are cut off when the run goes on"
        if each.problem is None:
            findings.append(Finding(each.name, "ok", said))
        else:
            findings.append(Finding(each.name, "damaged", each.problem.removeprefix(f"{each.name} ")))
    return findings, found


def _metrics(path: Path, last: Checkpoint | None, records: Sequence[Agreement]) -> Iterator[Finding]:
    """Yields what is found of the metrics' own lines, and of the validations in them beside those that `last` holds."""
    size = next((each.expected for each in records if each.name == METRICS), None)  # more was written after `last`
    try:
        lines = read_file(path, size, follows_links=False).splitlines(keepends=True)
    except FileNotFoundError:
        return
    except (OSError, MemoryError) as error:
        yield Finding(METRICS, "damaged", f"cannot be read: {getattr(error, 'strerror', None) or 'out of memory'}")
        return
    read: list[Entry] = []
    wrong: str | None = None
    for number, line in enumerate(lines, 1):
        entry = entry_of(line)
        if entry is None or not line.endswith(b"\n"):
            wrong = wrong or f"line {number:,} cannot be read"
        elif read and entry["step"] < read[-1]["step"]:
            wrong = wrong or f"line {number:,} is of step {entry['step']:,}, and the one before of a later step"
        else:
            read.append(entry)
    if wrong is None and last is not None:
        wrong = _other_history(read, last.progress)
    said = f"{count(len(read), 'line')}, {count(sum(map(is_validation, read)), 'validation')}; steps rise"
    said += "; the losses and the best are those in last.safetensors" if last is not None else ""
    yield Finding(METRICS, "ok", said) if wrong is None else Finding(METRICS, "damaged", wrong)


def _other_history(read: Sequence[Entry], progress: Mapping[str, Any]) -> str | None:
    kept = [(step, nats) for step, _, nats in progress["history"] if nats is not None]
    found = [(entry["step"], entry["validation_nats"]) for entry in read if is_validation(entry)]
    if found != kept:
        other = next((ours for ours, theirs in zip(found, kept, strict=False) if ours != theirs), None)
        at = f", first at step {other[0]:,}" if other else f": {len(found):,}, and {len(kept):,} there"
        return f"its validations are other ones than those in {LAST}{at}"
    since = progress.get("distilled_from", 0)  # a student takes the place of what was better before it
    least = min((nats for step, nats in kept if step > since), default=None)
    if least is not None and least != progress["best_nats"]:
        return f"the lowest loss is {least}, and {LAST} says {progress['best_nats']}"
    return None


def _beside(folder: Path, *, is_running: bool) -> Iterator[Finding]:
    """Yields what lies in the folder beside the run's files, and the runs that --fresh has set aside."""
    for path in sorted(folder.glob(".*")):
        if path.name == LOCK:
            continue
        try:
            size = folder_size(path) if path.is_dir() and not path.is_symlink() else path.lstat().st_size
        except FileNotFoundError:  # a run that goes on has written it meanwhile
            continue
        except OSError as error:
            yield Finding(path.name, "note", f"it cannot be looked at: {error.strerror}")
            continue
        what = "is being written" if is_running else "is left over: training removes what it has left itself"
        yield Finding(path.name, "note", f"{count(size, 'byte')}; it {what}")
    try:
        others = Run(folder).other_files()
    except OSError as error:
        yield Finding(folder.name, "note", f"what else is in the folder cannot be listed: {error.strerror}")
        others = []
    for path in others:
        yield Finding(path.name, "note", "it is no file of a run")
    whole = Path(os.path.abspath(folder))
    for path in sorted(whole.parent.glob(f"{_escaped(whole.name)}.*")):
        if is_set_aside(path) and path.is_dir():
            yield Finding(path.name, "note", f"{count(folder_size(path), 'byte')}, beside it, set aside by --fresh")


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
