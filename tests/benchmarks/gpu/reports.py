"""A plugin of pytest that writes each test's outcome to a file as soon as it is known, for `suite.py`.

    CHARRNN_TEST_REPORTS=FILE python -m pytest -p tests.benchmarks.gpu.reports ...

A line of JSON says that a test begins, one how each of its phases (setup, call, teardown) ended if that is worth a
word. So the outcomes of a process that crashes or hangs are known up to the test that did it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

FILE = "CHARRNN_TEST_REPORTS"

_names: dict[str, str] = {}
"""Of each test: what pytest calls it, and what it is found by from any folder."""


def _write(row: dict[str, Any]) -> None:
    if FILE in os.environ:
        with open(os.environ[FILE], "a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _write({"test": _names[nodeid], "outcome": "begun"})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A phase has ended; a phase that passes is worth a word only if it is the test itself."""
    if report.when == "call" or not report.passed:
        row: dict[str, Any] = {"test": _names[report.nodeid], "when": report.when, "outcome": report.outcome}
        if report.skipped:
            place = report.longrepr
            reason = place[2] if isinstance(place, tuple) else getattr(report, "wasxfail", "")
            row["why"] = str(reason).removeprefix("Skipped: ")
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            row["why"] = crash.message if crash else str(report.longrepr)
        _write({**row, "seconds": round(report.duration, 2)})


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there to be run, before anything runs."""
    for item in session.items:
        _names[item.nodeid] = f"{item.path}::{item.nodeid.partition('::')[2]}"
        _write({"test": _names[item.nodeid], "outcome": "found"})
