"""The tests that need a GPU, a process for each test function and several at once.

What breaks a process (a CUDA context after an illegal access, a crash, a test that hangs) leaves the other functions
alone. Plugins that are installed beside pytest are not loaded: they may warn, and here a warning is an error.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.benchmarks.command import ROOT
from tests.benchmarks.gpu import processes
from tests.benchmarks.gpu.processes import Ended, Job
from tests.benchmarks.gpu.reports import FILE

TESTS = "tests/network/test_gpu.py"
AT_ONCE = 6
ONE = 170.0  # seconds for a test function with all its cases
COLLECTING = 60.0
_WIDEST = 300  # characters of a failure's first line

Row = dict[str, Any]

_WORDS = (
    *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.benchmarks.gpu.reports"),
    *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-m", "gpu", "-q", "--tb=short", "--color=no"),
)
# Options and plugins from the outside may be such as this pytest does not know.
_ENVIRONMENT = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "",
    "PYTEST_PLUGINS": "",
    "PYTHONUNBUFFERED": "1",
}


def run(log: Path, deadline: float, *, tests: str = TESTS, at_once: int = AT_ONCE, seconds: float = ONE) -> Row:
    """Counts by outcome, the failures and the skipped by name, and what was not run; all that was said is in `log`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (ended,) = processes.run([_job(folder, "found", COLLECTING, tests, "--collect-only")], deadline=deadline)
        log.write_bytes((folder / "found.log").read_bytes() if (folder / "found.log").exists() else b"")
        cases = _by_function([row["test"] for row in _reports(folder / "found") if row["outcome"] == "found"])
        summary = Summary(cases)
        if ended.status or not cases:
            how = f"exit status {ended.status}" if ended.how == "ended" else ended.how
            summary.trouble = f"no tests were collected from {tests}: {how}"
        jobs = [_job(folder, f"{n:03}", seconds, function) for n, function in enumerate(cases)]
        for ended in processes.run(jobs, at_once=at_once, deadline=deadline):
            with open(log, "ab") as file:
                file.write(
                    f"\n===== {ended.job.words[-1].partition('::')[2]}: {_how(ended)}, {ended.seconds:.1f} s\n".encode()
                )
                file.write(ended.job.log.read_bytes() if ended.job.log.exists() else b"")
            summary.add(ended, _reports(folder / ended.job.name))
        return summary.row()


def _job(folder: Path, name: str, seconds: float, *words: str) -> Job:
    words = (*_WORDS, *words[1:], words[0])
    environment = {**_ENVIRONMENT, FILE: str(folder / name)}
    return Job(name=name, words=words, seconds=seconds, log=folder / f"{name}.log", environment=environment)


def _by_function(cases: list[str]) -> dict[str, list[str]]:
    """The cases of each function; the one with most cases comes first, since it is the last to end."""
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(case.partition("[")[0], []).append(case)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _how(ended: Ended) -> str:
    if ended.has_crashed:
        return f"crashed by signal {-(ended.status or 0)}"
    return ended.how if ended.how != "ended" else f"exit status {ended.status}"


def _reports(path: Path) -> list[Row]:
    """What a process has written through the plugin; its last line may be cut."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


class Summary:
    """Outcomes as they come."""

    def __init__(self, cases: dict[str, list[str]]) -> None:
        self._cases = cases
        self._outcomes: dict[str, str] = {}
        self._why: dict[str, str] = {}
        self._functions: list[Row] = []
        self.trouble: str | None = None
        """What kept the whole from running."""

    def add(self, ended: Ended, seen: list[Row]) -> None:
        """A function's process has ended: each of its cases has an outcome now."""
        function = ended.job.words[-1]
        for row in seen:
            if row["outcome"] in ("passed", "failed", "skipped"):
                outcome = "errors" if row["outcome"] == "failed" and row["when"] != "call" else row["outcome"]
                self._note(row["test"], outcome, row.get("why"))
        how = _how(ended)
        if ended.how == "timed out" or (ended.how == "ended" and ended.status not in (0, 1)):
            last = [row["test"] for row in seen if row["outcome"] == "begun"][-1:] or self._cases[function]
            self._note(last[0], "timed out" if ended.how == "timed out" else "errors", f"its process: {how}")
        for case in self._cases[function]:
            if case not in self._outcomes:
                self._note(case, "not run", f"its process: {how}")
        self._functions.append(
            {"function": function.partition("::")[2], "how": how, "seconds": round(ended.seconds, 1)}
        )

    def _note(self, case: str, outcome: str, why: str | None) -> None:
        """A worse outcome stays: a test that failed, and then its teardown too, has failed."""
        if self._outcomes.get(case) not in ("failed", "errors", "timed out"):
            self._outcomes[case] = outcome
            if why is not None:
                self._why[case] = (why.strip().splitlines() or [""])[0][:_WIDEST]

    def row(self) -> Row:
        """JSON-ready."""
        counted = Counter(self._outcomes.values())
        names = ("passed", "failed", "skipped", "errors", "timed out", "not run")
        row: Row = {"counts": {name: counted[name] for name in names}, "functions": self._functions}
        row["failures"] = self._told("failed", "errors", "timed out")
        row |= {"skipped": self._told("skipped"), "left out": self._told("not run")}
        if self.trouble:
            row["failed"] = self.trouble
        elif row["failures"]:
            row["failed"] = f"{len(row['failures'])} tests"
        return row

    def _told(self, *outcomes: str) -> list[Row]:
        return [
            {"test": case.partition("::")[2], "outcome": outcome, "why": self._why.get(case, "")}
            for case, outcome in self._outcomes.items()
            if outcome in outcomes
        ]
