"""Tables and sentences of a circuit: its units, its losses, and those of random sets of as many."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from charrnn.display.find import short
from charrnn.display.report import Prose
from charrnn.display.safe import visible
from charrnn.display.table import Columns, Row
from charrnn.neurons.circuit import Circuit, Losses
from charrnn.wording import count

_MOST_ROWS = 20
_LOSSES = (
    "The losses are bits per character, over the characters that end the label (the closing quote, the line feed). The "
    "target is the loss of the whole model and {within:g} times what its units are worth there (by how much the loss "
    "is higher with all of them held), or times that loss where it is more."
)
_HELD = (
    "A unit that is held is read as its mean over the first half. So the circuit is a network of its own, of so many "
    "units and no others."
)
_UNITS = (
    "The column cost has the bits by which the loss on the first half rises when that unit is held as well: each of "
    "them breaks the target. The column mean has what it is held at then."
)


def pieces(found: Circuit, within: float) -> Iterator[Prose | Columns]:
    """Yields the result in a sentence, a table of losses, how the test came out, a table of units, and explanations."""
    yield Prose(_result(found))
    yield Columns(("loss at the ends", "first half", "second half"), list(_losses(found)), words=(0,))
    yield Prose(" ".join(_tested(found)))
    if found.members:
        rows = [Row((str(one.unit), short(one.cost, "+"), short(one.mean))) for one in found.members[:_MOST_ROWS]]
        yield Columns(("unit", "cost", "mean"), rows, words=(0,))
        if rest := [str(one.unit) for one in found.members[_MOST_ROWS:]]:
            yield Prose(f"{'Another unit is' if len(rest) == 1 else 'The other units are'} {', '.join(rest)}.")
    yield Prose(_LOSSES.format(within=within))
    yield Prose(_HELD)
    if found.members:
        yield Prose(_UNITS)


def _result(found: Circuit) -> str:
    label, units, many = visible(found.label, kept=""), count(found.units, "unit"), len(found.members)
    if not many:
        return f"{label}: no circuit is needed, for the loss at its ends is kept with all {units} held at their means."
    return (
        f"{label}: {many:,} of {units} {'keeps' if many == 1 else 'keep'} the loss where it ends, with all others held "
        "at their means."
    )


def _losses(found: Circuit) -> Iterator[Row]:
    def row(name: str, first: str, second: str, weight: str = "") -> Row:
        return Row((name, first, second), "bold" if weight else "")

    a, b, random = found.first, found.second, found.random
    yield row("the whole model", _bits(a.whole), _bits(b.whole))
    yield row("the target", _bits(a.target), _bits(b.target))
    yield row("the circuit", _bits(a.circuit), _bits(b.circuit), "bold")
    if random:
        yield row(f"the best of {len(random)} random sets", "", _bits(random[0]))
        yield row("the median random set", "", _bits(median(random)))
    yield row("all units held", _bits(a.held), _bits(b.held))
    yield row("ends that were read", f"{a.ends:,}", f"{b.ends:,}")


def _tested(found: Circuit) -> Iterator[str]:
    second = found.second
    missed = second.circuit - second.target
    kept = _share(second, second.circuit)
    yield (
        f"On the second half, which did not choose it, the circuit {'keeps' if second.is_kept else 'misses'} the target"
        + ("" if second.is_kept else f" by {_bits(missed)} bits")
        + (f", with {kept} of what all units are worth." if kept else ".")
    )
    if found.random:
        under = sum(loss <= second.target for loss in found.random)
        middle = _share(second, median(found.random))
        yield (
            f"Of {len(found.random)} random sets of as many units {under or 'none'} {'keeps' if under < 2 else 'keep'} "
            "it" + (f", and the median one has {middle}." if middle else ".")
        )


def _share(losses: Losses, loss: float) -> str:
    share = losses.faithfulness(loss)
    return "" if share is None else f"{share:.0%}"


def _bits(loss: float) -> str:
    return f"{loss:.3f}"
