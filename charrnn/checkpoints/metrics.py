"""The one reader of metrics.jsonl: for the curves of `inspect`, the arrays of `charrnn.curve`, and where a run stands.

A power cut may have torn the file's last line, and other programs may have written into it: what this program would not
have written is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from charrnn.files import read_file

Entry = Mapping[str, Any]
"""What one line says, by name; it always has a step."""


def read_metrics(path: Path) -> list[Entry]:
    """Returns the lines that say where in the run they were written, in the order of the steps; none without a file, or
    where a pipe has its name."""
    lines: list[Entry] = []
    with contextlib.suppress(OSError):
        lines = [entry for line in read_file(path).splitlines() if (entry := entry_of(line)) is not None]
    return sorted(lines, key=lambda line: line["step"])


def entry_of(line: bytes) -> Entry | None:
    """Returns what a line says; None where a run would not have written it so."""
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(line)
        if _is_placed(values):
            return cast(Entry, values)
    return None


def _is_placed(values: object) -> bool:
    return isinstance(values, dict) and is_number(values.get("step")) and is_number(values.get("characters", 0.0))


def is_report(line: Entry) -> bool:
    """Returns whether a line tells of the training since the report before; those of validations do not."""
    return "learning_rate" in line


def is_validation(line: Entry) -> bool:
    """Returns whether a line tells of a validation."""
    return "validation_nats" in line


def is_number(value: object, bound: float = 1e18) -> bool:
    """Returns whether a value from a file is a finite number below `bound`; no counter or loss is as large as 1e18."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < bound
