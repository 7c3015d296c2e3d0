"""Tables of what it costs to hold units at their means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from charrnn.display.find import NOT_KNOWN, short
from charrnn.display.report import Prose
from charrnn.display.table import Columns, Row
from charrnn.neurons.ablate import Ablation, Cost, Use
from charrnn.wording import count

_MOST_ROWS = 12
_COLUMNS = ("ends", "95 %", "inside", "elsewhere", "other units", "verdict")
_MEANING = (
    "The numbers are bits that a character costs more while the unit is held at its mean. The column ends has the "
    "characters that end the label (the closing quote, the line feed), with a 95 % interval; inside has those within "
    "it, and elsewhere all others.",
    "The column other units has the most that holding another unit of the same layer and kind costs at the ends "
    "(inside, where the ends are too few).",
    "The verdict is used where the ends cost more than elsewhere, beyond chance over all questions asked, and more "
    "than with the other units. It is used inside where only the inside does, and too few where there are fewer than "
    "20 ends, or ends in fewer than ten of fifty stretches of the text, or where their cost changes too slowly along "
    "the text for an interval (?).",
)


def use_pieces(ablations: Sequence[Ablation]) -> Iterator[Prose | Columns]:
    """Yields a table of whether the model uses what its units tell, a row for each label, to stand below an atlas."""
    rows = sorted(((one, use) for one in ablations for use in one.uses), key=lambda pair: -pair[1].margin)
    yield Columns(
        ("label", "unit", *_COLUMNS),
        [Row((use.label, str(one.unit), *_row(use)), "bold" if use.is_used else "") for one, use in rows],
    )
    yield from meaning()
    used = sum(use.is_used for _, use in rows)
    few = sum(use.verdict == "too few" for _, use in rows)
    other = len(rows) - used - few
    yield Prose(
        f"Of {count(len(rows), 'label')} that units tell, {used} {_is(used)} encoded and used; "
        f"{other} {_is(other)} encoded, but not shown to be used"
        + (f"; {few} {'has' if few == 1 else 'have'} too few ends to tell." if few else ".")
    )


def ablation_pieces(one: Ablation, characters: Sequence[str]) -> Iterator[Prose | Columns]:
    """Yields sentences and tables of what holding one unit costs; `characters` are the vocabulary's, by id."""
    overall = one.overall
    yield Prose(f"{one.unit} held at its mean, {one.held_at:+.3f}", is_heading=True)
    yield Prose(
        f"This changes the cost of a character by {_bits(overall)} bits, over {count(overall.characters, 'character')} "
        f"(95 %: {_ends(overall, ' to ')}). " + _dearest(one, characters)
    )
    shown = sorted(one.uses, key=lambda use: -use.margin)[:_MOST_ROWS]
    if not shown:
        yield Prose("No label of the library holds in this text often enough to say more.")
        return
    rows = [Row((use.label, *_row(use)), "bold" if use.is_used else "") for use in shown]
    yield Columns(("label", *_COLUMNS), rows)
    if len(one.uses) > len(shown):
        rest = [use.label for use in one.uses if use.is_used and use not in shown]
        more = f"; of them the model uses {', '.join(rest)}" if rest else ", and the model uses none of them"
        left = len(one.uses) - len(shown)
        yield Prose(f"{count(left, 'more label')} {'costs' if left == 1 else 'cost'} less there{more}.")


def _dearest(one: Ablation, characters: Sequence[str]) -> str:
    if not one.dearest:
        return "No character costs more while the unit is held."
    total = sum(bits * count for _, bits, count in one.dearest)
    shares = (
        f"{named(characters[id_])} {_short(bits)} ({bits * count / total:.0%})" for id_, bits, count in one.dearest
    )
    return "The cost of these characters rises most, each with its share of their total: " + ", ".join(shares) + "."


def meaning() -> Iterator[Prose]:
    """Yields the explanation of the tables' columns, a paragraph each."""
    yield from map(Prose, _MEANING)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def named(character: str) -> str:
    """Returns how a sentence names a character: by its name, or quoted."""
    return {"\n": "line feed", " ": "space", "\t": "tab"}.get(character) or f"'{character}'"


def _row(use: Use) -> tuple[str, ...]:
    return (
        _bits(use.ends),
        _ends(use.ends, " ") if use.ends.characters else "",
        _bits(use.inside),
        _bits(use.outside),
        _short(use.compared),
        use.verdict,
    )


def _bits(cost: Cost) -> str:
    return _short(cost.bits) if cost.characters else "none"


def _ends(cost: Cost, between: str) -> str:
    return NOT_KNOWN if math.isnan(cost.low) else f"{_short(cost.low)}{between}{_short(cost.high)}"


def _short(bits: float) -> str:
    # What rounds to zero has no minus.
    return "" if math.isnan(bits) else short(bits if abs(bits) >= 0.0005 else 0.0, "+")
