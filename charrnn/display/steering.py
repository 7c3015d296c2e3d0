"""Shows what holding units changed in the text that the model writes, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.ablate import named
from charrnn.display.report import Prose
from charrnn.display.table import Columns, Row
from charrnn.neurons.steering import Change, Steered
from charrnn.wording import count


def pieces(
    found: Steered, held: str, length: int, bits: tuple[float, float], *, may_end: bool = False
) -> Iterator[Prose | Columns]:
    """Yields the table and its explanation; `bits` are the free model's bits per character on free and held texts.

    Texts that `may_end` have at most `length` characters.
    """
    yield Prose(
        f"{held} against the free model, {count(found.pairs, 'pair')} of texts of "
        f"{'at most ' * may_end}{count(length, 'character')}",
        is_heading=True,
    )
    rows = [Row(_cells(change), "bold" if change.is_change else "dim") for change in found.changes]
    yield Columns(("label", "free", "held", "change", "95 %"), rows, words=(0,))
    changed = ", ".join(
        f"{named(character)} {before:.1%} to {after:.1%}" for character, before, after in found.characters
    )
    yield Prose(f"The shares of these characters changed most: {changed}.")
    yield Prose(
        f"To the free model a character costs {bits[0]:.3f} bits in its own texts and {bits[1]:.3f} bits in those "
        "with the units held."
    )
    sure = sum(change.is_change for change in found.changes)
    yield Prose(
        "The columns free and held have the share of the characters where a label holds, or the mean of a degree. Both "
        f"texts of a pair are drawn with the same random numbers. {sure} of {count(len(found.changes), 'label')} "
        "changed beyond chance, all taken together (bold)."
        + ("" if found.can_tell else " So few pairs cannot show that of any label; give more with --count.")
    )


def _cells(change: Change) -> tuple[str, ...]:
    form = ".2f" if change.is_graded else ".1%"
    low, high, difference = (_signed(each, form) for each in (change.low, change.high, change.difference))
    return (change.label, format(change.free, form), format(change.held, form), difference, f"{low} {high}")


def _signed(value: float, form: str) -> str:
    """Returns a value with its sign, unless it rounds to zero."""
    shown = format(abs(value), form)
    return shown if not shown.strip("0.%") else ("+" if value > 0 else "-") + shown
