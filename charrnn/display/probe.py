"""Shows the scores of a probe and its baselines, as a table and some sentences."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.report import Columns, Prose, Row
from charrnn.display.safe import visible
from charrnn.neurons.probe import Probe, ProbeScore

_HEADINGS = ("accuracy", "95 %", "AUC", "features")


def pieces(found: Probe, asked: str, kind: str) -> Iterator[Prose | Columns]:
    """Yields the table of scores, and below it its explanation. It fits into 80 columns.

    `asked` names the label that was probed for; `kind` says what was classified: places or texts.
    """
    training, validation, test = found.parts
    yield Prose(
        f"{_one_line(asked)}: learned on {training:,} {kind}, C chosen on {validation:,}, accuracy on {test:,} others"
    )
    rows = [
        Row(("the state", *_cells(found.score, f" of {found.units:,}")), "bold"),
        Row((f"{found.best_unit} alone", *_cells(found.alone))),
        *(Row((score.name, *_cells(score))) for score in found.baselines),
    ]
    yield Columns(("told by", *_HEADINGS), rows, words=(0,))
    yield from map(Prose, _sentences(found))


def _cells(score: ProbeScore, of: str = "") -> tuple[str, str, str, str]:
    features = "" if score.features is None else f"{score.features:,}{of}"
    return _percent(score.accuracy), f"{_percent(score.low)} to {_percent(score.high)}", f"{score.auc:.3f}", features


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _one_line(name: str) -> str:
    return visible(name, kept="")


def _sentences(found: Probe) -> Iterator[str]:
    if found.heaviest:
        listed = ", ".join(
            f"{one.unit} {one.weight:+.2f}" + (f" ({_one_line(one.towards)})" if len(found.classes) > 2 else "")
            for one in found.heaviest
        )
        towards = "" if len(found.classes) > 2 else f" towards {_one_line(found.classes[1])}"
        yield f"Heaviest units, by weight{towards} for one standard deviation: {listed}."
    else:
        yield "No unit has a weight: whatever the state knows of this did not help on the validation part."
    yield (
        f"The state against the best of the others, {found.best_baseline}: {_points(found.difference)} points "
        f"(95 %: {_points(found.low)} to {_points(found.high)}). {_verdict(found)}."
    )
    if len(found.classes) > 2:
        yield f"{len(found.classes)} classes, one against the rest each; AUC and features are over all of them."


def _verdict(found: Probe) -> str:
    if found.low > 0:
        return "It knows more than they tell"
    if found.high < 0:
        return "It tells less than they do"
    return "That is no more than chance may give"
