"""`charrnn inspect TEXT --recurrence -c RUN -c RUN`: which found units come back in runs with other seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import LABEL, LABEL_FILE, UNIT, UNITS
from charrnn.cli.output import columns
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import TextError, UsageError
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.find import Atlas
    from charrnn.neurons.recurrence import Recurrence

_MUCH = 100_000


def _check(asked: Given) -> None:
    if len(asked.runs) < 2:
        raise UsageError(
            f"--recurrence looks for the units of one run in others, and {count(len(asked.runs), 'run')} "
            f"{'is' if len(asked.runs) == 1 else 'are'} named",
            "name two or more, trained with different seeds: charrnn inspect TEXT --recurrence -c RUN -c RUN",
        )


def _measure(subject: Subject, asked: Given) -> Result:
    """Finds the units of the first run that know something, and seeks them in each other run."""
    from charrnn.display.recurrence import pieces
    from charrnn.neurons.find import make_atlas
    from charrnn.neurons.recurrence import Other, recurrence

    labels = subject.labels(asked, "to choose on one half and to test on the other", _MUCH)
    others = _others(subject, asked.runs[1:])
    names = _names([subject.path, *(other.path for other in others)])
    atlas = make_atlas(subject.engine, subject.novice, subject.ids, labels, start=subject.start, report=subject.report)
    found = recurrence(
        subject.engine,
        subject.ids,
        atlas,
        labels,
        [Other(name, *each) for name, each in zip(names[1:], _engines(others), strict=True)],
        start=subject.start,
        report=subject.report,
    )
    characters = subject.characters
    return Result(
        subject,
        "which of its units come back in other runs",
        lambda _: pieces(found, names[0], characters),
        lambda: _numbers(found, atlas, others, characters),
        lambda: _arrays(found, characters),
    )


def _others(subject: Subject, runs: Sequence[Path]) -> list[Subject]:
    """Returns the other runs with the same text. Raises UsageError where two are one, and TextError where one does not
    read the same characters."""
    import os
    from dataclasses import replace

    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint

    others: list[Subject] = []
    for run in runs:
        path = find_checkpoint(run)
        if any(os.path.samefile(path, one.path) for one in (subject, *others) if os.path.exists(path)):
            raise UsageError(f"{run} is named twice", "name runs that were trained with different seeds")
        other = replace(subject, loaded=checkpoints.load(path), path=path)
        if other.text != subject.text:
            raise TextError(
                f"{subject.path} and {path} do not read the same characters of {subject.argument}: they decode it "
                "differently, leave out different ones that they do not know, or their runs cut it differently",
                "compare runs that were trained on the same corpus with the same settings for its text",
            )
        others.append(other)
    return others


def _engines(others: Sequence[Subject]) -> Iterator[tuple[Any, Any, Any]]:
    """Yields the engine of each run, that of an untrained model, and the text's ids; runs of one shape and vocabulary
    share the untrained model."""
    novices: dict[Any, Any] = {}
    for one in others:
        shape = one.loaded.model, one.loaded.members, tuple(one.names_of_ids)
        if shape not in novices:
            novices[shape] = one.novice
        yield one.engine, novices[shape], one.ids


def _names(paths: Sequence[Path]) -> list[str]:
    """Returns a name for each checkpoint: that of its folder, or its path where several would have the same name."""
    import os

    names = [Path(os.path.realpath(path)).parent.name for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def _numbers(found: Recurrence, atlas: Atlas, others: Sequence[Subject], characters: int) -> dict[str, Any]:
    return {
        "characters": characters,
        "others": [{"run": name, "checkpoint": str(one.path)} for name, one in zip(found.runs, others, strict=True)],
        "findings": [
            {
                **{name: getattr(one.finding, name) for name in ("label", "is_graded", "effect")},
                "unit": str(one.finding.unit),
                "found": one.finding.verdict,
                "returns": [
                    {**asdict(each), "unit": str(each.unit), "known_to": str(each.known_to)} for each in one.returns
                ],
                **{name: getattr(one, name) for name in ("back", "known", "verdict")},
            }
            for one in found.recurring
        ],
        "not_found": [one.label for one in atlas.findings if all(one is not each.finding for each in found.recurring)],
        "states": {"units": len(found.states), "universal": found.universal, "in_some": found.in_some},
    }


def _arrays(found: Recurrence, characters: int) -> dict[str, Any]:
    """Returns the partners of all states in each other run, a row for each, and the fields of the found units'
    returns."""
    import numpy as np

    rows = [
        {"label": one.finding.label, "found": str(one.finding.unit), **asdict(each), "unit": str(each.unit)}
        for one in found.recurring
        for each in one.returns
    ]
    return {
        "characters": characters,
        "runs": np.array(found.runs, np.str_),
        "states": np.array([str(unit) for unit in found.states], np.str_),
        "partners": np.array([[str(unit) for unit in units] for units in found.partners], np.str_),
        **{name: getattr(found, name) for name in ("r", "untrained", "comes_back")},
        **columns("returns", [{**row, "known_to": str(row["known_to"])} for row in rows]),
    }


VIEW = View(
    "Find",
    Option(
        "--recurrence",
        bool,
        "Find the units of the first run that know something, and see which come back in the other runs of -c, trained "
        "with other seeds: by their correlation on the same text, beside chance and an untrained model.",
    ),
    _measure,
    options=(LABEL, LABEL_FILE),
    compares=True,
    length=200_000,
    alone=("--recurrence looks at all units", (UNIT, UNITS)),
    check=_check,
)
