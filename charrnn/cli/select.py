"""`charrnn inspect TEXT --select REGEX`: which units are on in the spans that a pattern selects, and where else."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.options import refuse_beside
from charrnn.cli.output import View, print_pieces, write_arrays, write_page
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Reading
    from charrnn.neurons.select import Choice, Selection, Tally

_PANEL = "Selection"
_THRESHOLD = 0.3  # neurons.selection.THRESHOLD, which loads numpy

SELECT = typer.Option(
    "--select",
    help="Find the units that are on throughout what this regular expression matches (its group 1 where it has one) "
    "and off just before and just after: chosen on the first half of the matches, reported on the second.",
    show_default=False,
    metavar="REGEX",
    rich_help_panel=_PANEL,
)
MATCH = typer.Option(
    "--match",
    help="With --select: show the 20 best other places of the text where the same units behave so.",
    rich_help_panel=_PANEL,
)
THRESHOLD = typer.Option(
    "--threshold",
    min=0.01,
    max=0.99,
    help="With --select: a unit is on from this value up, or from minus it down.",
    show_default=str(_THRESHOLD),
    rich_help_panel=_PANEL,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; None where it was not said."""

    pattern: str | None
    with_matches: bool
    threshold: float | None


def check(request: Request, others: dict[str, bool]) -> None:
    """Raises UsageError for options that do not go together; `others` says which of the rest were given."""
    if request.pattern is None:
        for name, is_given in (("--match", request.with_matches), ("--threshold", request.threshold is not None)):
            if is_given:
                raise UsageError(f"{name} is for --select", "add --select REGEX, or leave it out")
        return
    refuse_beside("--select looks through all units", others)
    if request.threshold is not None and not math.isfinite(request.threshold):
        raise UsageError(f"--threshold is {request.threshold}", "give a number from 0.01 to 0.99")
    if not request.pattern:
        raise UsageError("--select is empty", "give a regular expression, such as --select '[0-9]+'")
    from charrnn.neurons.select import parse_pattern

    parse_pattern(request.pattern)


def show(reading: Reading, request: Request, view: View) -> None:
    """Selects, and draws, prints or writes what was found."""
    import numpy as np

    from charrnn.neurons.select import find_spans, parse_pattern, select

    assert request.pattern is not None
    text, start = reading.text, reading.start
    spans = find_spans(text, parse_pattern(request.pattern), start)
    with np.errstate(over="ignore", invalid="ignore"):  # `select` says it in a sentence
        found = select(
            reading.engine,
            reading.ids,
            spans,
            threshold=request.threshold or _THRESHOLD,
            start=start,
            with_matches=request.with_matches,
        )
    from charrnn.display.select import Shown, pieces, webpage

    shown = Shown(found, text, request.pattern, start)
    if view.html is not None:
        write_page(view.html, webpage(reading.heading(request.pattern), shown))
    if view.npz is not None:
        write_arrays(view.npz, _arrays(found, reading.characters))
    if view.is_drawn:
        print_pieces(pieces(shown))
    if view.as_json:
        print(json.dumps(_numbers(found, text, reading.path, request.pattern, start)))


def _numbers(found: Selection, text: str, path: Path, pattern: str, start: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "checkpoint": str(path),
        "pattern": pattern,
        "characters": len(text) - start,
        "spans": found.spans,
        "threshold": found.threshold,
        "units": found.units,
        "choices": [_choice(choice) for choice in found.choices],
        "together": [str(choice) for choice in found.together],
    }
    if found.matches is not None:
        numbers["matches"] = [{**asdict(match), "text": text[match.start : match.end]} for match in found.matches]
    return numbers


def _arrays(found: Selection, characters: int) -> dict[str, Any]:
    """The chosen units, what they do in both halves of the spans by the tally's fields, and the matches."""
    import numpy as np

    def tallies(each: list[Tally]) -> dict[str, Any]:
        return (
            {name: np.array([_tally(tally)[name] for tally in each], float) for name in _tally(each[0])} if each else {}
        )

    chosen, reported = ([getattr(choice, half) for choice in found.choices] for half in ("chosen", "reported"))
    matches = found.matches or []
    return {
        "characters": characters,
        "threshold": found.threshold,
        "units": np.array([str(choice.unit) for choice in found.choices], np.str_),
        "is_low": np.array([choice.is_low for choice in found.choices], bool),
        **{f"chosen.{name}": array for name, array in tallies(chosen).items()},
        **{f"reported.{name}": array for name, array in tallies(reported).items()},
        "matches": np.array([[match.start, match.end] for match in matches], np.int64).reshape(-1, 2),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "unit": str(choice.unit),
        "is_low": choice.is_low,
        "chosen": _tally(choice.chosen),
        "reported": _tally(choice.reported),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    rounded = {name: round(getattr(tally, name), 6) for name in ("share", "base", "precision", "score")}
    return {**asdict(tally), **rounded, "lift": None if tally.lift is None else round(tally.lift, 6)}
