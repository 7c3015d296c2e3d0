"""Tables of what it costs to hold units at their means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from charrnn.display.find import short
from charrnn.display.report import Columns, Prose, Row
from charrnn.neurons.ablate import Ablation, Cost, Use

USED, NOT_SHOWN = "encoded, and used", "encoded, not shown to be used"
_MOST_ROWS = 12
_COLUMNS = ("ends", "95 %", "inside", "elsewhere", "other units", "verdict")
_MEANING = (
    "Bits that a character costs more while the unit is held at its mean: the characters that end the label (the "
    "closing quote, the line feed), with a 95 % interval; those inside it; all others. other units: the most that "
    "holding another of the same layer and kind costs at the ends (inside, where these are too few). used: more at the "
    "ends than elsewhere, beyond chance over all questions asked, and more than the other units do; used inside: only "
    "there; too few: fewer than 20 ends, or in fewer than ten of fifty stretches of the text."
)


def use_pieces(ablations: Sequence[Ablation]) -> Iterator[Prose | Columns]:
    """Yields a table of whether the model uses what its units tell, a row for each label, to stand below an atlas."""
    rows = sorted(((one, use) for one in ablations for use in one.uses), key=lambda pair: -pair[1].margin)
    yield Columns(
        ("label", "unit", *_COLUMNS),
        [Row((use.label, str(one.unit), *_row(use)), "bold" if use.is_used else "") for one, use in rows],
    )
    yield meaning()
    used = sum(use.is_used for _, use in rows)
    few = sum(use.verdict == "too few" for _, use in rows)
    yield Prose(
        f"{used} of {len(rows)} {USED}; {len(rows) - used - few} {NOT_SHOWN}"
        + (f"; {few} with too few ends to tell." if few else ".")
    )


def ablation_pieces(one: Ablation, characters: Sequence[str]) -> Iterator[Prose | Columns]:
    """Yields sentences and tables of what holding one unit costs; `characters` are the vocabulary's, by id."""
    overall = one.overall
    yield Prose(f"{one.unit} held at its mean, {one.held_at:+.3f}", is_heading=True)
    yield Prose(
        f"{_bits(overall)} bits per character over {overall.characters:,} characters (95 %: {_short(overall.low)} to "
        f"{_short(overall.high)}). " + _dearest(one, characters)
    )
    shown = sorted(one.uses, key=lambda use: -use.margin)[:_MOST_ROWS]
    if not shown:
        yield Prose("No label of the library holds in this text often enough to say more.")
        return
    rows = [Row((use.label, *_row(use)), "bold" if use.is_used else "") for use in shown]
    yield Columns(("label", *_COLUMNS), rows)
    if len(one.uses) > len(shown):
        rest = [use.label for use in one.uses if use.is_used and use not in shown]
        more = f"; of them used: {', '.join(rest)}" if rest else ", none of them used"
        yield Prose(f"{len(one.uses) - len(shown)} more labels cost less there{more}.")


def _dearest(one: Ablation, characters: Sequence[str]) -> str:
    if not one.dearest:
        return "No character costs more."
    total = sum(bits * count for _, bits, count in one.dearest)
    shares = (
        f"{named(characters[id_])} {_short(bits)} ({bits * count / total:.0%})" for id_, bits, count in one.dearest
    )
    return "The dearest, with their shares of what these cost: " + ", ".join(shares) + "."


def meaning() -> Prose:
    """Returns the explanation of the tables' columns."""
    return Prose(_MEANING)


def named(character: str) -> str:
    """Returns how a sentence names a character: by its name, or quoted."""
    return {"\n": "line feed", " ": "space", "\t": "tab"}.get(character) or f"'{character}'"


def _row(use: Use) -> tuple[str, ...]:
    at_ends = use.ends.characters > 0
    return (
        _bits(use.ends),
        f"{_short(use.ends.low)} {_short(use.ends.high)}" if at_ends else "",
        _bits(use.inside),
        _bits(use.outside),
        _short(use.compared),
        use.verdict,
    )


def _bits(cost: Cost) -> str:
    return _short(cost.bits) if cost.characters else "none"


def _short(bits: float) -> str:
    return "" if math.isnan(bits) else short(bits, "+")
