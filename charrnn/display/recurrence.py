"""Tables of which units that were found in one run come back in others."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.find import RHO, short
from charrnn.display.report import Prose
from charrnn.display.table import Columns, Row
from charrnn.neurons.recurrence import EXCESS, QUANTILE, SHIFTS, Recurrence, Recurring, Return
from charrnn.wording import count

_NAMES = ("label", "unit", "r", "chance", "new net", "comes back", "known", "verdict")
_ESSENTIAL = (0, 1, 5, -1)


def pieces(found: Recurrence, run: str, characters: int) -> Iterator[Prose | Columns]:
    """Yields the table of what came back, that of the partners, and their explanation; `run` is the first run."""
    others = count(len(found.runs), "other run")
    if found.recurring:
        yield Columns(_NAMES, [_row(one) for one in found.recurring], essential=_ESSENTIAL)
        yield Prose("Partners, and their correlations with the unit", is_heading=True)
        yield Columns(
            ("label", run, *found.runs),
            [Row((one.finding.label, str(one.finding.unit), *map(_partner, one.returns))) for one in found.recurring],
            (0,),
        )
        yield from map(Prose, _meaning(found))
    else:
        yield Prose(f"No unit of {run} was found to tell a label, so none was sought in {others}.")
    whole, labels = sum(one.verdict == "of the task" for one in found.recurring), len(found.recurring)
    if labels:
        yield Prose(
            f"Of {count(labels, 'label')} that a unit of {run} tells, {whole} {'has' if whole == 1 else 'have'} a unit "
            f"that comes back in {_all(len(found.runs))}, over {count(characters, 'character')}."
        )
    states = len(found.states)
    yield Prose(
        f"Of all {count(states, 'state')} of {run}, {found.universal:,} ({found.universal / states:.1%}) "
        f"{'comes' if found.universal == 1 else 'come'} back in {_all(len(found.runs))}"
        + (f", and {found.in_some:,} ({found.in_some / states:.1%}) in some of them." if len(found.runs) > 1 else ".")
    )


def _row(one: Recurring) -> Row:
    rs = sorted(abs(each.r) for each in one.returns)
    cells = (
        one.finding.label,
        str(one.finding.unit),
        _range(rs[0], rs[-1]),
        short(max(each.chance for each in one.returns)),
        short(max(abs(each.untrained) for each in one.returns)),
        f"{one.back} of {len(one.returns)}",
        f"{one.known} of {len(one.returns)}",
        one.verdict,
    )
    return Row(cells, "bold" if one.verdict == "of the task" else "" if one.back else "dim")


def _range(low: float, high: float) -> str:
    return short(low) if short(low) == short(high) else f"{short(low)} {short(high)}"


def _partner(each: Return) -> str:
    named = f"{each.unit} {short(each.r)}"
    return named if each.comes_back else f"({named})"


def _all(others: int) -> str:
    return "the other run" if others == 1 else f"all {others} other runs"


def _meaning(found: Recurrence) -> Iterator[str]:
    yield (
        "The partner of a unit in another run is the unit there that correlates most with it on the first half of the "
        "text. The column r has the size of their correlation on the second half, lowest and highest over the other "
        "runs."
    )
    yield (
        f"The column chance has the highest correlation with any unit there when one of the two texts is turned round, "
        f"which {QUANTILE:.0%} of {SHIFTS} shifts stay below, and new net that of the partner in an untrained model; "
        "both are the most of the other runs."
    )
    yield (
        f"A unit comes back where r is above chance, exceeds new net by {short(EXCESS)}, and the partner tells the "
        f"label too (AUC above .75 or |{RHO}| above .5, and better than the last characters and an untrained unit). "
        "Partners that do not are in brackets. The column known has in how many other runs any unit tells the label so."
    )
    yield "The verdict is of the task where the unit comes back in all other runs, and of the run where in none."
    if slow := [one.finding.label for one in found.recurring if one.finding.is_too_slow]:
        yield f"The text is too short to say how sure these findings are by themselves: {', '.join(slow)}."
