"""What training would do in a run's folder, told without torch and without doing it."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import read_origin
from charrnn.checkpoints.folder import LAST, Run
from charrnn.checkpoints.lock import LOCK
from charrnn.checkpoints.records import Agreement
from charrnn.checkpoints.runs import is_finished
from charrnn.errors import UsageError
from charrnn.native.window import find_library
from charrnn.wording import count

_LOCKS = Path("/proc/locks")


def would_resume(
    run: Run, last: Checkpoint | None, problem: str, records: Sequence[Agreement], is_running: bool, process: int | None
) -> str:
    """Returns in a phrase what `train FOLDER` would do; `problem` says what is wrong where there is no `last`."""
    if is_running:
        return f"refused, since {'another process' if process is None else f'process {process}'} is training there"
    if last is None:
        what = f"{LAST} {problem[3:]}" if problem.startswith("it ") else f"{LAST}: {problem}"
        return f"refused, since there is nothing to go on from: {what}"
    try:
        run.check_files()
    except UsageError as error:
        return f"refused, since {error.message}"
    step = f"step {last.progress['step']:,}"
    if (missing := _missing_text(run.config)) is not None:
        return f"refused until a command names the text, from {step} on: {missing}"
    if is_finished(last.progress, last.training):
        more = "a larger budget goes on from there"
        return f"finished at {step}" if "course" in last.training else f"finished at {step}; {more}"
    reasons = [*_differences(last.environment)]
    reasons += [f"{each.name} is mended" for each in records if each.problem is not None]
    if reasons:
        return f"approximate from {step}: {', '.join(reasons)}"
    return f"exact from {step}{_with(last.environment)}"


def _missing_text(config: Path) -> str | None:
    origin = read_origin(config)
    if origin is None:
        return "config.json does not say where it lies"
    if "-" in origin.texts:
        return "it came on standard input or from Python"
    gone = (path for path in origin.texts if os.path.isabs(path) and not os.path.lexists(path))
    return next((f"{path} is not there" for path in gone), None)


def _differences(then: Mapping[str, Any]) -> Iterator[str]:
    """Yields what has changed of that which a resume's exactness depends on, as far as it is known without torch."""
    now: dict[str, Any] = {"machine": platform.machine(), "compiled": find_library() is not None}
    with contextlib.suppress(PackageNotFoundError):
        now["torch"] = version("torch")
    for name, value in now.items():
        if name in then and then[name] != value:
            yield f"{name} {then[name]} -> {value}"


def _with(environment: Mapping[str, Any]) -> str:
    device, threads = environment.get("device"), environment.get("threads")
    if not isinstance(device, str) or type(threads) is not int:
        return ""
    return f", on {device} with {count(threads, 'thread')}, as before"


def holder(folder: Path) -> int | None:
    """Returns the number of the process that holds the lock of a run's folder; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ours = {_as_the_kernel_has_it(os.stat(path)) for path in (folder, folder / LOCK)}
        for line in _LOCKS.read_text().splitlines():
            # 1: FLOCK ADVISORY WRITE 4242 fd:01:131072 0 EOF
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].lower() in ours and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _as_the_kernel_has_it(found: os.stat_result) -> str:
    # A number of a file is one of its disk's, and another disk may have a file of the same number.
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
