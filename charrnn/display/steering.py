"""What steering changed, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from charrnn.display.ablate import named
from charrnn.display.report import Columns, Prose, Row
from charrnn.neurons.steering import Change, Steered


def pieces(found: Steered, held: str, length: int, bits: tuple[float, float]) -> Iterator[Prose | Columns]:
    """Yields the table and what it means; `bits` are what a character of free and held texts costs the free model."""
    yield Prose(
        f"{held} against the free model, {found.pairs} pairs of texts of {length:,} characters", is_heading=True
    )
    rows = [Row(_cells(change), "bold" if change.is_change else "dim") for change in found.changes]
    yield Columns(("label", "free", "held", "change", "95 %"), rows, words=(0,))
    changed = ", ".join(
        f"{named(character)} {_percent(before)} to {_percent(after)}" for character, before, after in found.characters
    )
    yield Prose(f"Characters: {changed}.")
    yield Prose(
        f"By the free model a character costs {bits[0]:.3f} bits in its own texts, {bits[1]:.3f} in those with the "
        "units held."
    )
    sure = sum(change.is_change for change in found.changes)
    yield Prose(
        f"Share of the characters where a label holds, for degrees the mean; both texts of a pair are drawn with the "
        f"same random numbers. {sure} of {len(found.changes)} labels changed beyond chance (bold), all taken together."
        + ("" if found.can_tell else " So few pairs cannot show that of any: give more with --count.")
    )


def _cells(change: Change) -> tuple[str, ...]:
    show = _number if change.is_graded else _percent
    low, high, difference = (_signed(each, show) for each in (change.low, change.high, change.difference))
    return (change.label, show(change.free), show(change.held), difference, f"{low} {high}")


def _signed(value: float, show: Callable[[float], str]) -> str:
    """Returns a value with its sign, unless it rounds to zero."""
    shown = show(abs(value))
    return shown if not shown.strip("0.%") else ("+" if value > 0 else "-") + shown


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _number(value: float) -> str:
    return f"{value:.2f}"
