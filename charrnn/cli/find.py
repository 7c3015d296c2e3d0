"""`charrnn inspect --find`: for each label of the text, the unit that tells it best (the atlas)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli import ablate, browse
from charrnn.cli.inspect_options import LABEL, LABEL_FILE, UNIT
from charrnn.cli.output import columns
from charrnn.cli.view import Given, Option, Result, View

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.display.report import Section
    from charrnn.neurons.ablate import Ablation
    from charrnn.neurons.find import Atlas
    from charrnn.neurons.labels import Label

_MUCH = 100_000
_PASSAGE = 600
_MOST_PASSAGES = 12


def _measure(subject: Subject, asked: Given) -> Result | Callable[[], None]:
    """Makes the atlas: for each label, the unit that tells it best.

    With --ablate the units that were found are also held at their means, on the half of the text that did not choose
    them.
    """
    from charrnn.display import ablate as costs
    from charrnn.display.find import curve_pieces, pieces
    from charrnn.display.report import Prose
    from charrnn.neurons.find import make_atlas

    labels = subject.labels(asked, "to choose on one half and to test on the other", _MUCH)
    characters, second = subject.characters, subject.start + subject.characters // 2
    atlas = make_atlas(subject.engine, subject.novice, subject.ids, labels, start=subject.start, report=subject.report)
    if asked.browse and atlas.findings:
        return lambda: browse.show(browse.Tour(subject, atlas, labels, second, asked.colours))
    ablations = _ablations(subject, atlas, labels, second) if asked.ablate else []

    def sections(on_page: bool) -> list[Section]:
        curves = curve_pieces(atlas) if on_page else ()
        said: list[Section] = [*pieces(atlas, characters), *curves, *(costs.use_pieces(ablations) if ablations else ())]
        if asked.ablate and not ablations:
            said.append(Prose("Nothing was found, so no unit was held. Name one with --unit."))
        return [*said, *(_passages(subject, atlas, labels, second, asked) if on_page else ())]

    held = {"ablations": ablate.numbers(ablations, subject)} if asked.ablate else {}
    return Result(
        subject,
        "what its units know",
        sections,
        lambda: {**_numbers(atlas, characters), **held},
        lambda: {**_arrays(atlas, characters), **(ablate.arrays(ablations) if asked.ablate else {})},
    )


def _ablations(subject: Subject, atlas: Atlas, labels: Sequence[Label], start: int) -> list[Ablation]:
    """Measures what it costs to hold each unit that was found, for the labels it was found for."""
    from charrnn.neurons.record import Unit

    named = {label.name: label for label in labels}
    wanted: dict[Unit, list[Label]] = {}
    for finding in atlas.findings:
        if finding.is_found:
            wanted.setdefault(finding.unit, []).append(named[finding.label])
    return ablate.measure(subject, wanted, start=start) if wanted else []


def _passages(subject: Subject, atlas: Atlas, labels: Sequence[Label], start: int, asked: Given) -> list[Section]:
    """Returns pictures of each unit that was found, over a passage of the second half in which its label changes."""
    import numpy as np

    from charrnn.display.heat import Picture
    from charrnn.neurons.record import limits, record_passage, title

    named: dict[str, Label] = {label.name: label for label in labels}
    pictures: dict[Any, Section] = {}
    for finding in atlas.findings:
        unit = finding.unit
        if not finding.is_found or unit in pictures or len(pictures) == _MOST_PASSAGES:
            continue
        values = named[finding.label].values
        begins = np.arange(start, max(start + 1, len(subject.ids) - _PASSAGE), _PASSAGE // 2)
        spreads = [values[begin : begin + _PASSAGE].std() for begin in begins]
        begin = int(begins[int(np.argmax(spreads))])
        shown = record_passage(subject.engine, subject.ids, unit.part, begin, begin + _PASSAGE)[:, unit.index]
        marked = [] if finding.is_graded else (values[begin : begin + _PASSAGE] > 0).tolist()
        heading = f"{title(unit, subject.loaded.of_units)}: {finding.label}"
        heading += "" if finding.is_graded else " (underlined where it holds)"
        text = subject.text[begin : begin + _PASSAGE]
        pictures[unit] = Picture(
            heading, text, shown.tolist(), *limits(unit.kind, subject.loaded.of_units), marked, asked.colours
        )
    return list(pictures.values())


def _findings(atlas: Atlas) -> list[dict[str, Any]]:
    """Returns the fields of each finding, those of its k-curve among them."""
    return [
        {
            **asdict(finding),
            "unit": str(finding.unit),
            "verdict": finding.verdict,
            "k": finding.curve.k,
            "dense": finding.curve.dense,
            "dense_low": finding.curve.low,
            "dense_high": finding.curve.high,
            "dense_p_value": finding.curve.p_value,
            "curve": [*finding.curve.scores],
            "first_units": [*map(str, finding.curve.first)],
        }
        for finding in atlas.findings
    ]


def _arrays(atlas: Atlas, characters: int) -> dict[str, Any]:
    """Returns the effects of all units for all labels on both halves, and an array for each field of the findings."""
    import numpy as np

    return {
        "characters": characters,
        "units": np.array([str(unit) for unit in atlas.scores.units], np.str_),
        "labels": np.array(atlas.scores.labels, np.str_),
        "first": atlas.scores.first,
        "second": atlas.scores.second,
        **columns("findings", [_without_none(finding) for finding in _findings(atlas)]),
        "curve_units": np.array(_counts(atlas), np.int64),
        "too_rare": np.array(atlas.too_rare, np.str_),
        "strong": atlas.strong,
        "beyond_characters": atlas.beyond_characters,
    }


def _counts(atlas: Atlas) -> tuple[int, ...]:
    """Returns the numbers of units for which all k-curves have scores."""
    return atlas.findings[0].curve.counts if atlas.findings else ()


def _without_none(finding: dict[str, Any]) -> dict[str, Any]:
    """Returns the finding with NaN for what is not known: arrays have no null."""
    numbers = {"low", "high", "p_value", "enough", "f1", "threshold", "is_above", "k"}
    numbers |= {"dense_low", "dense_high", "dense_p_value"}
    return {
        name: float("nan" if value is None else value) if name in numbers else value for name, value in finding.items()
    }


def _numbers(atlas: Atlas, characters: int) -> dict[str, Any]:
    rest = {name: getattr(atlas, name) for name in ("too_rare", "units", "strong", "beyond_characters")}
    return {"characters": characters, "findings": _findings(atlas), "curve_units": [*_counts(atlas)], **rest}


VIEW = View(
    "Find",
    Option(
        "--find",
        bool,
        "Find the units that know something: every unit against a library of labels, chosen on one half of the text "
        "and scored on the other, beside chance, an untrained model and the last three characters, and how few units "
        "together are enough.",
    ),
    _measure,
    options=(LABEL, LABEL_FILE, ablate.ABLATE, browse.BROWSE),
    length=200_000,
    alone=("--find looks at all units", (UNIT,)),
    check=browse.check,
    # The terminal gets a table only; pages and --browse also draw coloured passages.
    is_coloured=lambda asked: asked.browse or asked.html is not None,
    shows="Which units know something about the text, and how sure that is.",
)
