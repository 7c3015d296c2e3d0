"""`charrnn inspect TEXT --select REGEX`: which units are on in the spans that a pattern selects, and where else."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import UNIT, UNITS
from charrnn.cli.output import columns, rounded
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.select import Selection, SpanTally

_THRESHOLD = 0.3  # neurons.select.THRESHOLD, which loads numpy


def _check(asked: Given) -> None:
    if asked.threshold is not None and not math.isfinite(asked.threshold):
        raise UsageError(f"--threshold is {asked.threshold}", "give a number from 0.01 to 0.99")
    if not asked.select:
        raise UsageError("--select is empty", "give a regular expression, such as --select '[0-9]+'")
    from charrnn.neurons.select import parse_pattern

    parse_pattern(asked.select)


def _measure(subject: Subject, asked: Given) -> Result:
    """Chooses units on the first half of the spans, and reports them on the second."""
    from charrnn.display.select import pieces
    from charrnn.neurons.select import find_spans, parse_pattern, select

    text, start, pattern = subject.text, subject.start, asked.select
    spans = find_spans(text, parse_pattern(pattern), start)
    found = select(
        subject.engine,
        subject.ids,
        spans,
        threshold=asked.threshold or _THRESHOLD,
        start=start,
        with_matches=asked.match,
    )

    return Result(
        subject,
        pattern,
        lambda _: pieces(found, text, pattern, start),
        lambda: _numbers(found, text, pattern, start),
        lambda: _arrays(found, subject.characters),
    )


def _numbers(found: Selection, text: str, pattern: str, start: int) -> dict[str, Any]:
    halves = ("chosen", "reported")
    numbers: dict[str, Any] = {
        "pattern": pattern,
        "characters": len(text) - start,
        **{name: getattr(found, name) for name in ("spans", "threshold", "units")},
        "choices": [
            {
                "unit": str(choice.unit),
                "is_low": choice.is_low,
                **{half: _tally(getattr(choice, half)) for half in halves},
            }
            for choice in found.choices
        ],
        "together": list(map(str, found.together)),
    }
    if found.matches is not None:
        numbers["matches"] = [{**asdict(match), "text": text[match.start : match.end]} for match in found.matches]
    return numbers


def _arrays(found: Selection, characters: int) -> dict[str, Any]:
    """Returns arrays: the chosen units, the fields of their tallies on both halves of the spans, and the matches."""
    import numpy as np

    return {
        "characters": characters,
        "threshold": found.threshold,
        "units": np.array([str(choice.unit) for choice in found.choices], np.str_),
        "is_low": np.array([choice.is_low for choice in found.choices], bool),
        **columns("chosen", [_tally(choice.chosen) for choice in found.choices], float),
        **columns("reported", [_tally(choice.reported) for choice in found.choices], float),
        "matches": np.array([[match.start, match.end] for match in found.matches or []], np.int64).reshape(-1, 2),
    }


def _tally(tally: SpanTally) -> dict[str, Any]:
    shares = {name: getattr(tally, name) for name in ("share", "base", "precision", "score", "lift")}
    return {**asdict(tally), **rounded(shares)}


VIEW = View(
    "Selection",
    Option(
        "--select",
        str,
        "Find the units that are on throughout what this regular expression matches (its group 1 where it has one) "
        "and off just before and just after: chosen on the first half of the matches, reported on the second.",
        more={"show_default": False, "metavar": "REGEX"},
    ),
    _measure,
    options=(
        Option(
            "--match",
            bool,
            "With --select: show the 20 best other places of the text where the same units behave so.",
        ),
        Option(
            "--threshold",
            float,
            "With --select: a unit is on from this value up, or from minus it down.",
            more={"min": 0.01, "max": 0.99, "show_default": str(_THRESHOLD)},
        ),
    ),
    length=200_000,
    alone=("--select looks through all units", (UNIT, UNITS)),
    check=_check,
    shows="Which units are on exactly where a pattern matches.",
)
