"""A run is killed, once or several times, and the same command goes on to the same end."""

from __future__ import annotations

import random
import re
import signal
from pathlib import Path

from tests.campaign._tiny_runs import KINDS, NAME, TinyRuns, differs, files, options
from tests.campaign.campaign import Campaign
from tests.kit.forked import Job, run_signalled

_DATED = re.compile(r"it\.\d{4}-\d\d-\d\dT\d{6}(-\d+)?")
_MOST_CALLS = 160
_MOST_SECONDS = 1.5
"""Between the first call of a run that is killed by the clock, and its end, in a process that has all imported."""


def _killed(job: Job, draw: random.Random, seconds: float) -> Job:
    """The same command, killed by the clock, or right before one of the calls that change a file."""
    if draw.random() < 0.5:
        return job._replace(signal=signal.SIGKILL, after=draw.uniform(0.0, seconds))
    call = draw.randrange(1, 40) if draw.random() < 0.4 else draw.randrange(1, _MOST_CALLS)
    return job._replace(words=["tests.kit.killed", str(call), *job.words[1:]])


def _trial(runs: TinyRuns, seed: int, folder: Path) -> str | None:
    draw = random.Random(seed)
    kind, is_fresh = draw.randrange(KINDS), draw.random() < 0.25
    reference = runs.reference(kind)
    old = runs.put_old(folder, NAME) if is_fresh else {}
    job = runs.job(folder, NAME, options(kind), *(["--fresh"] if is_fresh else []))
    seconds = min(reference.seconds, _MOST_SECONDS)
    for _ in range(draw.choice([1, 1, 2, 3])):
        status, said = (ended := run_signalled([_killed(job, draw, seconds)])[0].result).status, ended.err
        if status not in (0, -signal.SIGKILL):
            return f"ended with {status}, not killed: {said[-300:]!r}"
        if is_fresh and (lost := _old_is_lost(folder, old)):
            return f"killed, {lost}"
    ended = run_signalled([job])[0].result
    if ended.status != 0:
        return f"went on to status {ended.status}: {ended.err[-300:]!r}"
    if "Traceback" in ended.err or " is damaged" in ended.err or " lacks " in ended.err:
        return f"went on and said {ended.err[-300:]!r}"
    if is_fresh and (lost := _old_is_lost(folder, old)):
        return f"gone on, {lost}"
    others = [path for path in folder.iterdir() if path.name != NAME]
    for path in others:
        if not is_fresh or not _DATED.fullmatch(path.name):
            return f"left {path.name} beside the run"
        if strange := [name for name in files(path) if name.startswith(".")]:
            return f"left {strange[0]} in {path.name}"
    return differs(folder / NAME, reference.contents)


def _old_is_lost(folder: Path, old: dict[str, bytes]) -> str | None:
    """Says so where the old run is not whole under exactly one of the names that it may have."""
    names = [path for path in folder.iterdir() if path.name == NAME or _DATED.fullmatch(path.name)]
    whole = [path for path in names if old.items() <= _all_files(path).items()]
    return None if len(whole) == 1 else f"the old run is whole under {len(whole)} names of {len(names)}"


def _all_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


CAMPAIGNS = {
    "crash": Campaign(
        summary="A run of a random kind, at times a --fresh over an old one, is killed (SIGKILL) once or several "
        "times, by the clock or right before a call that changes a file; the same command then ends with the bytes "
        "of an uninterrupted run, the run set aside is whole, and nothing is left over.",
        prepare=TinyRuns.prepare,
        trial=_trial,
        in_suite=3,
    )
}
