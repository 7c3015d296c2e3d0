"""`charrnn inspect --find`: which units know what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.output import print_pieces
from charrnn.errors import TextError, UsageError

if TYPE_CHECKING:
    import re

    from charrnn.checkpoint import Checkpoint
    from charrnn.neurons.atlas import Atlas

_SHORTEST = 200


def check(*, is_asked: bool, labels: Sequence[str], file: Path | None, others: bool) -> dict[str, re.Pattern[str]]:
    """The user's labels by name. Raises UsageError for options that do not go together; `others`: --html, --unit."""
    if is_asked and others:
        raise UsageError("--find prints a table of all units", "leave out --html and --unit; --json gives the numbers")
    if not is_asked and (labels or file):
        raise UsageError("--label and --label-file are for --find and --probe", "add one of them, or leave them out")
    return _own_labels(labels, file) if is_asked else {}


def _own_labels(said: Sequence[str], file: Path | None) -> dict[str, re.Pattern[str]]:
    """Of the options, then of the lines of a file."""
    from charrnn.files import explained
    from charrnn.neurons.labels import parse_label

    lines = list(said)
    if file is not None:
        with explained(file, "reading the labels in"):
            raw = file.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise TextError(f"the labels in {file} are not UTF-8: {error}", "save the file as UTF-8") from error
        lines += [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    labels = dict(parse_label(line) for line in lines)
    if len(labels) < len(lines):
        raise UsageError("two labels have the same name", "give each its own")
    return labels


def show(
    engine: Any,
    ids: Any,
    text: str,
    loaded: Checkpoint,
    path: Path,
    own: dict[str, re.Pattern[str]],
    *,
    start: int,
    as_json: bool,
) -> None:
    """Makes the atlas and draws it, or prints its numbers. `text` are the characters of `ids`, one for each."""
    import numpy as np

    from charrnn.inference.engine import make_engine
    from charrnn.neurons.atlas import make_atlas, untrained_arrays
    from charrnn.neurons.labels import labels_of

    characters = len(ids) - start
    if characters < _SHORTEST:
        raise TextError(
            f"the text has {characters:,} characters, too few to choose on one half and to test on the other",
            f"give {_SHORTEST} or more; a hundred thousand say much",
        )
    novice = make_engine(loaded.model, untrained_arrays(loaded.model, len(loaded.vocabulary)))
    with np.errstate(over="ignore", invalid="ignore"):
        atlas = make_atlas(engine, novice, ids, labels_of(text, own), start=start)
    if as_json:
        print(json.dumps(_numbers(atlas, characters, path)))
        return
    from charrnn.display.atlas import draw_atlas

    print_pieces(draw_atlas(atlas, characters))


def _numbers(atlas: Atlas, characters: int, path: Path) -> dict[str, Any]:
    findings = [
        {**asdict(finding), "unit": str(finding.unit), "verdict": finding.verdict} for finding in atlas.findings
    ]
    rest = {"too_rare": atlas.too_rare, "units": atlas.units, "strong": atlas.strong}
    return {
        "checkpoint": str(path),
        "characters": characters,
        "findings": findings,
        **rest,
        "beyond_characters": atlas.beyond_characters,
    }
