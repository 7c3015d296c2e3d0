"""Shows the scores of a probe and its baselines, as a table and some sentences."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.report import Prose
from charrnn.display.safe import visible
from charrnn.display.table import Columns, Row
from charrnn.neurons.probe import Probe, ProbeScore

_HEADINGS = ("accuracy", "95 %", "AUC", "features")


def pieces(found: Probe, asked: str, kind: str) -> Iterator[Prose | Columns]:
    """Yields the table of scores, and below it its explanation. It fits into 80 columns.

    `asked` names the label that was probed for; `kind` says what was classified: places or texts.
    """
    training, validation, test = found.parts
    yield Prose(
        f"{_one_line(asked)}: the probe was trained on {training:,} {kind}, its C was chosen on {validation:,}, and "
        f"its accuracy is that on {test:,} others."
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
    ends = "?" if score.low is None or score.high is None else f"{_percent(score.low)} to {_percent(score.high)}"
    return _percent(score.accuracy), ends, f"{score.auc:.3f}", features


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
        yield f"The units with the largest weights{towards}, for one standard deviation, are {listed}."
    else:
        yield "No unit has a weight: whatever the state knows of this did not help on the validation part."
    yield (
        f"The accuracy of the state is {_points(found.difference).lstrip('+-')} points "
        f"{'below' if found.difference < 0 else 'above'} the best of the others, {found.best_baseline}"
        f"{_ends(found)}. {_verdict(found)}."
    )
    if len(found.classes) > 2:
        yield (
            f"There are {len(found.classes)} classes, and each is told from the rest; AUC and features are over all of "
            "them."
        )


def _ends(found: Probe) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" (95 %: {_points(found.low)} to {_points(found.high)})"


def _verdict(found: Probe) -> str:
    if found.low is None or found.high is None:
        return "What they get right changes too slowly along this text to say how sure that is"
    if found.low > 0:
        return "The state knows more than they tell"
    if found.high < 0:
        return "The state tells less than they do"
    return "That is no more than chance may give"
