"""`charrnn inspect RUN --verify`: whether every file of runs is whole, and what training would do with them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.cli.output import print_pieces
from charrnn.errors import CheckpointError
from charrnn.wording import count

_SCHEMA = 1
"""The version of the JSON that is printed here."""


def verify(paths: Sequence[Path], *, as_json: bool) -> None:
    """Checks folders of runs and checkpoint files, and prints what is found.

    Raises CheckpointError where anything is damaged, after all of it was told.
    """
    from charrnn.checkpoints.verify import verify_file, verify_run
    from charrnn.display.verify import drawing, plain

    found = []
    for number, path in enumerate(paths):
        found.append(verify_run(path) if os.path.isdir(path) else verify_file(path))
        if as_json:
            continue
        if number:
            print()
        if sys.stdout.isatty() or "COLUMNS" in os.environ:
            print_pieces(drawing(found[-1]))
        else:
            print(plain(found[-1]), end="")
        sys.stdout.flush()
    if as_json:
        print(json.dumps({"schema": _SCHEMA, "runs": [_facts(each) for each in found]}))
    if damaged := sum(each.damaged for each in found):
        what = "one thing is" if damaged == 1 else f"{damaged:,} things are"
        raise CheckpointError(
            f"{what} not as {'it' if damaged == 1 else 'they'} should be, in {count(len(found), 'place')} looked at",
            "what is ok can be used; charrnn help resume says what can be done about the rest",
        )


def _facts(found: Any) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "damaged": found.damaged,
        "findings": [{"file": each.file, "verdict": each.verdict, "said": each.said} for each in found.findings],
        "training": found.is_training,
        "process": found.process,
        "resume": found.resume,
    }
