"""A power cut at any moment of a run: the last good checkpoint is there, and the files beside it agree with it."""

from __future__ import annotations

import contextlib
import os
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.config_file import is_config
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.metrics import read_metrics
from charrnn.checkpoints.records import agreements
from tests.campaign._crash_states import crash_state
from tests.campaign._tiny_runs import TinyRuns, differs, options
from tests.campaign.campaign import Campaign
from tests.kit.forked import Job, run_signalled
from tests.kit.recorded import Linked, Log, Renamed, Returned, Synced, Wrote, read

_DATED = re.compile(r"it\.\d{4}-\d\d-\d\dT\d{6}(-\d+)?")
_A_RECORDING = 50
"""As many seeds on end look at one recording, so that a few seeds make only one."""
_A_RESUME = 500
"""One in so many states is gone on with to the end of the run."""


class _Kind(NamedTuple):
    options: int
    name: str
    """The run's folder; its parents are made by the run."""
    how: str
    """Begun, gone on with after `killed` calls, or begun anew over an old run."""
    killed: int = 0


_KINDS = (
    _Kind(8, "it", "fresh"), _Kind(0, "it", "new"), _Kind(3, "a/b/it", "new"), _Kind(8, "it", "resume", 90),
    _Kind(2, "it", "resume", 60), _Kind(16, "it", "new"), _Kind(5, "it", "fresh"), _Kind(12, "it", "resume", 120),
)  # fmt: skip


@dataclass
class _Recorded:
    """A recording with what the checks need of it."""

    kind: _Kind
    recording: Log
    old: dict[str, bytes]
    job: Job
    saved: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    """For each checkpoint by its path the moments at which its name got other bytes, and those."""
    loaded: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    """What each content of a checkpoint holds of the training, once it has been read."""


@dataclass
class _Prepared:
    runs: TinyRuns
    recorded: dict[int, _Recorded] = field(default_factory=dict)

    def get(self, number: int) -> _Recorded:
        """Returns a recording, made when it is asked for first."""
        if number not in self.recorded:
            self.recorded[number] = self._record(number)
        return self.recorded[number]

    def _record(self, number: int) -> _Recorded:
        kind, folder = _KINDS[number], self.runs.folder / f"recorded-{number}"
        folder.mkdir()
        old = dict(self.runs.put_old(folder, kind.name)) if kind.how == "fresh" else {}
        more = ["--fresh"] if kind.how == "fresh" else []
        job = self.runs.job(folder, kind.name, options(kind.options), *more)
        if kind.how == "resume":
            run_signalled([job._replace(words=["tests.kit.killed", str(kind.killed), *job.words[1:]])])
        log = self.runs.folder / f"log-{number}.json"
        words = ["tests.kit.recorded", str(log), str(folder), *job.words[1:]]
        result = run_signalled([job._replace(words=words)])[0].result
        assert result.status == 0, result.err
        recording = read(log)
        return _Recorded(kind, recording, old, job, _saves(recording, kind))


def _saves(recording: Log, kind: _Kind) -> dict[str, list[tuple[int, bytes]]]:
    contents: dict[int, bytes] = {}
    names: dict[int, dict[str, int]] = {}
    saved: dict[str, list[tuple[int, bytes]]] = {}
    parents = {0: ""}
    for moment, change in enumerate([*recording.before, *recording.changes], -len(recording.before)):
        if isinstance(change, Wrote):
            contents[change.node] = change.content
        elif isinstance(change, Linked | Renamed):
            for part in (change.lost, change.got) if isinstance(change, Renamed) else (change,):
                if part.node is None:
                    names.get(part.folder, {}).pop(part.name, None)
                    continue
                names.setdefault(part.folder, {})[part.name] = part.node
                path = os.path.join(parents.get(part.folder, "?"), part.name)
                parents[part.node] = path
        # A checkpoint gets its name with all its bytes in it, or has it from the beginning.
        if isinstance(change, Renamed) and change.got.name.endswith(".safetensors"):
            assert change.got.node is not None
            path = os.path.join(parents[change.got.folder], change.got.name)
            saved.setdefault(path, []).append((moment, contents[change.got.node]))
        elif isinstance(change, Wrote) and moment < 0 and kind.how == "resume":
            path = parents[change.node]
            if path.endswith(".safetensors"):
                saved.setdefault(path, []).append((moment, change.content))
    return saved


def _trial(prepared: _Prepared, seed: int, folder: Path, *, is_weak: bool) -> str | None:
    draw = random.Random(seed)
    recorded = prepared.get(seed // _A_RECORDING % len(_KINDS))
    changes = recorded.recording.changes
    syncs = [place for place, change in enumerate(changes) if isinstance(change, Synced)]
    # Right before something is synced most can be lost.
    cut = draw.choice(syncs) if draw.random() < 0.4 else draw.randint(0, len(changes))
    crash_state(recorded.recording, cut, draw, is_weak=is_weak).build(folder)
    where = f"(cut {cut} of {len(changes)}, {recorded.kind.how})"
    if recorded.kind.how == "fresh" and (lost := _old_is_lost(recorded, folder)):
        return f"{lost} {where}"
    is_old = recorded.kind.how == "fresh" and _holds(folder / recorded.kind.name, recorded.old)
    if not is_old and (wrong := _wrong(recorded, folder, cut)):
        return f"{wrong} {where}"
    run = Run(folder / recorded.kind.name)
    with run.locked():
        left = [path.name for path in run.folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    if left:
        return f"left {left[0]} {where}"
    if seed % _A_RESUME == _A_RESUME // 3:
        return _gone_on(prepared, recorded, folder, is_old=is_old)
    return None


def _wrong(recorded: _Recorded, folder: Path, cut: int) -> str | None:
    """Says what is not as it should be in the run's folder before anything has looked after it."""
    run = Run(folder / recorded.kind.name)
    told = {
        change.path
        for change in recorded.recording.changes[:cut]
        if isinstance(change, Returned) and change.path.endswith(".safetensors")
    }
    for path, versions in recorded.saved.items():
        file = folder / path
        began = versions[0][0] < 0
        if not file.exists():
            if path in told or began:
                return f"{path} is missing"
            continue
        returns = [
            moment
            for moment, change in enumerate(recorded.recording.changes[:cut])
            if isinstance(change, Returned) and change.path == path
        ]
        oldest = max((moment for moment, _ in versions if returns and moment < returns[-1]), default=-(10**9))
        content = file.read_bytes()
        if content not in [version for moment, version in versions if moment >= oldest]:
            return f"{path} is not the last one that was saved, nor a later one"
        if content not in recorded.loaded:
            recorded.loaded[content] = checkpoints.load(file, with_state=True).training
    if not run.last.exists():
        return "a best and no last" if run.best.exists() else None
    if not is_config(run.config):
        return "there is no config.json"
    training = recorded.loaded[run.last.read_bytes()]
    problems = [each.problem for each in agreements(run.folder, training) if each.problem]
    if problems:
        return problems[0]
    read_metrics(run.metrics)
    return None


def _holds(folder: Path, files: dict[str, bytes]) -> bool:
    with contextlib.suppress(OSError):
        return all((folder / name).read_bytes() == content for name, content in files.items())
    return False


def _old_is_lost(recorded: _Recorded, folder: Path) -> str | None:
    names = [path for path in folder.iterdir() if path.name == "it" or _DATED.fullmatch(path.name)]
    whole = [path for path in names if _holds(path, recorded.old)]
    return None if len(whole) == 1 else f"the old run is whole under {len(whole)} names of {len(names)}"


def _gone_on(prepared: _Prepared, recorded: _Recorded, folder: Path, *, is_old: bool) -> str | None:
    kind = recorded.kind
    again = ["--fresh"] if is_old else []
    job = prepared.runs.job(folder, kind.name, options(kind.options), *again)
    result = run_signalled([job])[0].result
    if result.status != 0:
        return f"gone on to status {result.status}: {result.err[-300:]!r}"
    return differs(folder / kind.name, prepared.runs.reference(kind.options).contents)


def _ordered(prepared: _Prepared, seed: int, folder: Path) -> str | None:
    return _trial(prepared, seed, folder, is_weak=False)


def _weak(prepared: _Prepared, seed: int, folder: Path) -> str | None:
    return _trial(prepared, seed, folder, is_weak=True)


def _prepare(folder: Path) -> _Prepared:
    shared = folder / "runs"
    shared.mkdir()
    return _Prepared(TinyRuns.prepare(shared))


_CHECKED = (
    "the newest checkpoint whose save had returned, or a later whole one, is there, metrics and samples agree with it, "
    "an old run is whole, the next start leaves nothing over, and what goes on ends as an uninterrupted run."
)

CAMPAIGNS = {
    "power-ordered": Campaign(
        summary=f"The power is cut at a moment of a run; what was not synced is lost, torn or NUL in part: {_CHECKED}",
        prepare=_prepare,
        trial=_ordered,
        in_suite=20,
    ),
    "power-weak": Campaign(
        summary="The power is cut at a moment of a run, and beside what was not synced each change of a folder's "
        f"entries may be missing until that folder is synced (a rename within one folder is a whole): {_CHECKED}",
        prepare=_prepare,
        trial=_weak,
        in_suite=20,
    ),
}
