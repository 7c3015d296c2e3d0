"""A table of how much of the change in an answer units carry, from activation patching."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from charrnn.display.find import NOT_KNOWN, short, told
from charrnn.display.report import Prose
from charrnn.display.safe import symbol
from charrnn.display.table import Columns, Row
from charrnn.neurons.find import Finding
from charrnn.neurons.pairs import Pair, PairMaker
from charrnn.neurons.patch import Carried, Mean, Patching, Place
from charrnn.wording import count

_AROUND, _LONGEST, _EXAMPLES = 16, 20, 3
_MOST_NAMES = 3
_MEANING = (
    "The column taken out has the share of the change that comes about when only these states are those of the changed "
    "text while the text is read as it stands: how much is lost without them. The column put in has the share that is "
    "won back when the changed text is read with these states of the text as it stands: how much they are enough for. "
    "Each has its 95 % interval over the pairs.",
    "Where one unit alone holds what the model knows, both are 1; for a unit that is not read for it, both are 0.",
)


def pieces(
    found: Patching,
    maker: PairMaker,
    pairs: Sequence[Pair],
    made: int,
    text: str,
    names: Mapping[Place, str],
    finding: Finding | None,
) -> Iterator[Prose | Columns]:
    """Yields what was changed and asked for, what that changes, and the table of shares.

    `made` is the number of all pairs in the text, `names` are those of units, and `finding` is what the search found
    where no unit was named.
    """
    yield Prose(f"What carries {maker.name}", is_heading=True)
    yield Prose(f"{maker.says} Some of the places:")
    shown = [pairs[(2 * number + 1) * len(pairs) // (2 * _EXAMPLES)] for number in range(_EXAMPLES)]
    yield Columns(
        ("before [stands/put in] between \u25c2 asked for", "place"),
        [Row((_passage(pair, text), f"{pair.place:,}")) for pair in shown],
        words=(0,),
    )
    yield Prose(_change(found, pairs, made))
    if finding is not None:
        yield Prose(_search(found.carried[0].places[0], names, finding))
    rows = []
    for one, several in zip(found.carried, found.random, strict=True):
        called = f"the {len(one.places)} best units" if finding and len(one.places) > 1 else _named(one, names)
        rows.append(Row((called, *_cells(one.taken_out), *_cells(one.put_in)), "bold"))
        if several:
            rows += _random(several)
    yield Columns(("states exchanged", "taken out", "95 %", "put in", "95 %"), rows, words=(0,))
    yield from map(Prose, _MEANING)


def _passage(pair: Pair, text: str) -> str:
    old, after = text[pair.place : pair.place + len(pair.new)], pair.place + len(pair.new)
    between = "".join(map(symbol, text[after : pair.asked]))
    if len(between) > 2 * _LONGEST:
        between = f"{between[:_LONGEST]} ... {between[-_LONGEST:]}"
    before = "".join(map(symbol, text[max(0, pair.place - _AROUND) : pair.place]))
    changed = "/".join("".join(map(symbol, part)) for part in (old, pair.new))
    return f"{before}[{changed}]{between}\u25c2{symbol(text[pair.asked])}"


def _change(found: Patching, pairs: Sequence[Pair], made: int) -> str:
    original, changed = found.answers.mean(1).tolist()
    distance = round(median(pair.asked - pair.place for pair in pairs))
    taken = count(len(pairs), "pair") + (f", at random out of {made:,}" if made > len(pairs) else "")
    said = (
        f"In {taken}, the question comes {count(distance, 'character')} after the change (median). The log-odds of the "
        f"character that is asked for are {original:+.2f} nats in the text as it stands and {changed:+.2f} in the "
        f"changed one: a change of {found.change.value:.2f} (95 %: {found.change.low:.2f} to {found.change.high:.2f})."
    )
    if found.is_shown and found.change.value < 0:
        said += " The model expects it more in the changed text."
    if not found.is_shown:
        said += " That is no more than chance, so there is nothing that units could carry."
    return said


def _search(place: Place, names: Mapping[Place, str], finding: Finding) -> str:
    return (
        f"The states of {names[place]} tell the label best on the first half of the text; the pairs are of the second. "
        f"(--find answers there with {finding.unit}, {told(finding.effect, finding)}, {finding.verdict}.)"
    )


def _named(one: Carried, names: Mapping[Place, str]) -> str:
    listed = [names[place] for place in one.places]
    if len(listed) <= _MOST_NAMES:
        return ", ".join(listed)
    return f"{', '.join(listed[:_MOST_NAMES])} and {count(len(listed) - _MOST_NAMES, 'unit')} more"


def _random(several: Sequence[Carried]) -> Iterator[Row]:
    """Yields a row with the mean share of random sets, and one with the largest."""
    size = len(several[0].places)
    what = f"{count(len(several), 'random unit')}" if size == 1 else f"{count(len(several), 'random set')} of {size}"
    shares = [[one.taken_out.value for one in several], [one.put_in.value for one in several]]
    means, most = ([of(each) for each in shares] for of in (_mean, _largest))
    for title, (out, into) in ((f"{what}, mean", means), (f"{what}, largest", most)):
        yield Row((title, _share(out), "", _share(into), ""))


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares)


def _largest(shares: Sequence[float]) -> float:
    return max(shares, key=abs)


def _cells(mean: Mean) -> tuple[str, str]:
    if math.isnan(mean.value):
        return NOT_KNOWN, NOT_KNOWN
    return _share(mean.value), f"{_share(mean.low)} {_share(mean.high)}"


def _share(share: float) -> str:
    # What rounds to zero has no minus.
    return NOT_KNOWN if math.isnan(share) else short(share if abs(share) >= 0.0005 else 0.0)
