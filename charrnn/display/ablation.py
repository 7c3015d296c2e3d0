"""What units cost when they stand still, as tables.

Knows costs. Refuses to know how they were measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from charrnn.display.safe import visible, visible_character
from charrnn.neurons.ablation import Ablation, Cost, Use

USED, NOT_SHOWN = "encoded, and used", "encoded, not shown to be used"
_MOST_ROWS = 12
_MEANING = (
    "Bits that a character costs more while the unit is held at its mean: the characters that end the label (the "
    "closing quote, the line feed), with a 95 % interval; those inside it; all others. other units: the most that "
    "holding another of the same layer and kind costs in the first column. used: more at the ends or inside than "
    "elsewhere, beyond chance over all questions of this table, and more than the other units do."
)


def draw_uses(ablations: Sequence[Ablation]) -> Iterator[Table | Text]:
    """Below an atlas: whether the model uses what its units tell, a row for each label."""
    table = _table("unit")
    rows = [(one, use) for one in ablations for use in one.uses]
    for one, use in sorted(rows, key=lambda pair: -pair[1].margin):
        table.add_row(visible(use.label), str(one.unit), *_row(use), style="bold" if use.is_used else "")
    yield Text()
    yield table
    yield Text()
    yield Text(_MEANING)
    used = sum(use.is_used for _, use in rows)
    yield Text(f"{used} of {len(rows)} {USED}; {len(rows) - used} {NOT_SHOWN}.")


def draw_ablation(one: Ablation, characters: Sequence[str]) -> Iterator[Table | Text]:
    """A unit by itself; `characters` are the vocabulary's, by id."""
    overall = one.overall
    yield Text(
        f"{one.unit} held at its mean, {one.held_at:+.3f}: {_bits(overall)} bits per character over "
        f"{overall.characters:,} characters (95 %: {_short(overall.low)} to {_short(overall.high)})",
        "bold",
    )
    if one.dearest:
        total = sum(bits * count for _, bits, count in one.dearest)
        shares = (
            f"{named(characters[id_])} {_short(bits)} ({bits * count / total:.0%})" for id_, bits, count in one.dearest
        )
        yield Text("dearest characters, with their shares of what these cost: " + ", ".join(shares))
    shown = sorted(one.uses, key=lambda use: -use.margin)[:_MOST_ROWS]
    if not shown:
        yield Text("No label of the library holds in this text often enough to say more.")
        return
    table = _table()
    for use in shown:
        table.add_row(visible(use.label), *_row(use), style="bold" if use.is_used else "")
    yield Text()
    yield table
    if len(one.uses) > len(shown):
        rest = [use.label for use in one.uses if use.is_used and use not in shown]
        more = f"; of them used: {visible(', '.join(rest))}" if rest else ", none of them used"
        yield Text(f"{len(one.uses) - len(shown)} more labels cost less at their ends{more}")


def meaning() -> Text:
    """What the columns are."""
    return Text(_MEANING)


def named(character: str) -> str:
    """A character as one speaks of it in a line: quoted, so that a space is seen."""
    return {"\n": "line feed", " ": "space", "\t": "tab"}.get(character) or f"'{visible_character(character)}'"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("label", overflow="fold")
    for name in (*columns, "ends", "95 %", "inside", "elsewhere", "other units"):
        table.add_column(name, justify="right", no_wrap=name != "other units")
    table.add_column("verdict", no_wrap=True)
    return table


def _row(use: Use) -> tuple[str, ...]:
    at_ends = use.ends.characters > 0
    return (
        _bits(use.ends),
        f"{_short(use.ends.low)} {_short(use.ends.high)}" if at_ends else "",
        _bits(use.inside),
        _bits(use.outside),
        _short(use.compared),
        "used" if use.is_used else "not shown",
    )


def _bits(cost: Cost) -> str:
    return _short(cost.bits) if cost.characters else "none"


def _short(bits: float) -> str:
    """As +.034, -.002, +1.23.

    >>> _short(0.0341), _short(-0.0004), _short(1.234), _short(0.99996)
    ('+.034', '-.000', '+1.23', '+1.00')
    """
    if math.isnan(bits):
        return ""
    shown = f"{bits:+.3f}"
    return f"{bits:+.2f}" if abs(float(shown)) >= 1 else shown.replace("0.", ".", 1)
