"""`charrnn inspect --find`: which units know what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli import ablate as ablating
from charrnn.cli.output import View, put, write_arrays
from charrnn.cli.reading import check_length
from charrnn.errors import TextError, UsageError

if TYPE_CHECKING:
    import re

    from charrnn.cli.reading import Reading
    from charrnn.display.report import Piece
    from charrnn.neurons.ablate import Ablation
    from charrnn.neurons.find import Atlas
    from charrnn.neurons.labels import Label

_MUCH = 100_000
_PASSAGE = 600
_WARM_UP = 1000
_MOST_PASSAGES = 12


def check(
    *, is_asked: bool, is_used: bool, labels: Sequence[str], file: Path | None, others: bool
) -> dict[str, re.Pattern[str]]:
    """The user's labels by name. Raises UsageError for options that do not go together; `others`: --unit.

    `is_used` says whether labels are for anything.
    """
    if is_asked and others:
        raise UsageError("--find looks at all units", "leave out --unit")
    if not is_used and (labels or file):
        raise UsageError("--label and --label-file are for --find, --ablate, --card and --probe", "add one of these")
    return _own_labels(labels, file) if is_used else {}


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
    reading: Reading,
    own: dict[str, re.Pattern[str]],
    view: View,
    *,
    ablate: bool,
    browse: bool,
) -> None:
    """Makes the atlas and draws it, or prints its numbers.

    With `ablate` the units that were found are held, on the half of the text that did not choose them.
    """
    import numpy as np

    from charrnn.display.progress import WorkDisplay
    from charrnn.inference.make_engine import make_engine
    from charrnn.neurons.find import make_atlas, untrained_arrays
    from charrnn.neurons.labels import labels_of

    loaded, characters, second = reading.loaded, reading.characters, reading.start + reading.characters // 2
    check_length(characters, "to choose on one half and to test on the other", _MUCH)
    novice = make_engine(loaded.model, untrained_arrays(loaded.model, len(loaded.vocabulary)))
    labels = labels_of(reading.text, own)
    with closing(WorkDisplay()) as work, np.errstate(over="ignore", invalid="ignore"):
        atlas = make_atlas(
            reading.engine,
            novice,
            reading.ids,
            labels,
            start=reading.start,
            progress=lambda done, total: work("reading", done, total),
        )
    if browse and atlas.findings:
        from charrnn.cli.browse import Tour
        from charrnn.cli.browse import browse as show_tour

        show_tour(Tour(reading, atlas, labels, second, view.palette))
        return
    ablations = _ablations(reading, atlas, labels, second) if ablate else []
    if view.npz is not None:
        write_arrays(view.npz, {**_arrays(atlas, characters), **(ablating.arrays(ablations) if ablate else {})})
    if view.as_json:
        numbers = _numbers(atlas, characters, reading.path)
        print(json.dumps({**numbers, "ablations": ablating.numbers(ablations, loaded)} if ablate else numbers))
    from charrnn.display.ablate import use_pieces
    from charrnn.display.find import atlas_pieces
    from charrnn.display.report import Prose

    pieces: list[Piece] = [*atlas_pieces(atlas, characters), *(use_pieces(ablations) if ablations else ())]
    if ablate and not ablations:
        pieces.append(Prose("Nothing was found, so that no unit was held; --unit names one."))
    if view.html is not None:
        pieces += _passages(reading, atlas, labels, second)
    put(pieces, reading.heading("what its units know"), view)


def _ablations(reading: Reading, atlas: Atlas, labels: Sequence[Label], start: int) -> list[Ablation]:
    """What it costs to hold each unit that was found, for the labels it was found for."""
    from charrnn.neurons.record import Unit

    named = {label.name: label for label in labels}
    asked: dict[Unit, list[Label]] = {}
    for finding in atlas.findings:
        if finding.is_found:
            asked.setdefault(finding.unit, []).append(named[finding.label])
    return ablating.measure(reading, asked, start=start) if asked else []


def _passages(reading: Reading, atlas: Atlas, labels: Sequence[Label], start: int) -> list[Piece]:
    """For a page: each unit that was found, over a passage of the second half where its label comes and goes."""
    import numpy as np

    from charrnn.display.webpage import Picture
    from charrnn.neurons.record import limits, record, title

    named: dict[str, Label] = {label.name: label for label in labels}
    pictures: dict[Any, Piece] = {}
    for finding in atlas.findings:
        unit = finding.unit
        if not finding.is_found or unit in pictures or len(pictures) == _MOST_PASSAGES:
            continue
        values = named[finding.label].values
        begins = np.arange(start, max(start + 1, len(reading.ids) - _PASSAGE), _PASSAGE // 2)
        spreads = [values[begin : begin + _PASSAGE].std() for begin in begins]
        begin = int(begins[int(np.argmax(spreads))])
        before = min(begin, _WARM_UP)
        read = record(reading.engine, reading.ids[begin - before : begin + _PASSAGE], [unit.part])
        shown = np.concatenate([taken[unit.part][:, unit.index] for taken in read])[before:]
        marked = [] if finding.is_graded else (values[begin : begin + _PASSAGE] > 0).tolist()
        heading = f"{title(unit, reading.loaded.model)}: {finding.label}"
        heading += "" if finding.is_graded else " (underlined where it holds)"
        pictures[unit] = Picture(
            heading,
            reading.text[begin : begin + _PASSAGE],
            shown.tolist(),
            *limits(unit.kind, reading.loaded.model),
            marked,
        )
    return list(pictures.values())


def _findings(atlas: Atlas) -> list[dict[str, Any]]:
    return [{**asdict(finding), "unit": str(finding.unit), "verdict": finding.verdict} for finding in atlas.findings]


def _arrays(atlas: Atlas, characters: int) -> dict[str, Any]:
    """What each unit tells of each label on both halves, and the findings' fields after a dot."""
    import numpy as np

    findings = _findings(atlas)
    return {
        "characters": characters,
        "units": np.array([str(unit) for unit in atlas.scores.units], np.str_),
        "labels": np.array(atlas.scores.labels, np.str_),
        "first": atlas.scores.first,
        "second": atlas.scores.second,
        **{f"findings.{name}": np.array([finding[name] for finding in findings]) for name in (findings or [{}])[0]},
        "too_rare": np.array(atlas.too_rare, np.str_),
        "strong": atlas.strong,
        "beyond_characters": atlas.beyond_characters,
    }


def _numbers(atlas: Atlas, characters: int, path: Path) -> dict[str, Any]:
    findings = _findings(atlas)
    rest = {"too_rare": atlas.too_rare, "units": atlas.units, "strong": atlas.strong}
    return {
        "checkpoint": str(path),
        "characters": characters,
        "findings": findings,
        **rest,
        "beyond_characters": atlas.beyond_characters,
    }
