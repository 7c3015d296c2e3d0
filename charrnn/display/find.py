"""Shows the atlas, the best unit for each label, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from charrnn.display.report import Prose
from charrnn.display.table import Columns, Row
from charrnn.neurons.autocorrelated import FEWEST_STRETCHES
from charrnn.neurons.card import Told
from charrnn.neurons.contexts import CONTEXT
from charrnn.neurons.find import Atlas, Finding
from charrnn.neurons.sparse_probe import SHARE
from charrnn.wording import count

RHO = "\u03c1"
NOT_KNOWN = "?"
"""Stands for an interval of what changes too slowly for the text's length."""


def pieces(atlas: Atlas, characters: int) -> Iterator[Prose | Columns]:
    """Yields the table of the atlas, its explanation, and what was not found. It fits into 80 columns."""
    rows = [
        Row(cells_of(finding), "bold" if finding.is_found else "" if finding.is_discovery else "dim")
        for finding in atlas.findings
    ]
    yield Columns(NAMES, rows, essential=ESSENTIAL)
    yield from map(Prose, _words(atlas, characters))


NAMES = ("label", "unit", "tells", "95 %", "F1", "k", f"last {CONTEXT}", "new net", "verdict")
_NAMED = 4  # units of a label's k-curve
ESSENTIAL = (0, 1, 2, -1)
"""The columns that a narrow terminal shows: the label, the unit, what it tells, the verdict."""


def cells_of(finding: Finding) -> tuple[str, ...]:
    """Returns the cells of a finding, for a table whose columns are `NAMES`."""
    name = f"{'-' if is_low(finding) else ''}{finding.unit}"
    effect, interval, characters = telling(finding)
    f1 = "" if finding.f1 is None else short(finding.f1)
    k = "" if finding.curve.k is None else f"{finding.curve.k:,}"
    novice = _alone(finding.untrained, finding)
    return finding.label, name, effect, interval, f1, k, characters, novice, finding.verdict


def curve_pieces(atlas: Atlas) -> Iterator[Prose | Columns]:
    """Yields the k-curves of the labels that the state tells clearly, as a table."""
    told = [finding for finding in atlas.findings if finding.curve.is_told]
    if not told:
        return
    counts = told[0].curve.counts
    yield Prose("How few units tell it", is_heading=True)
    rows = [
        Row(
            [
                finding.label,
                ", ".join(map(str, finding.curve.first[: min(finding.curve.k or 0, _NAMED)])),
                *(_score(score, finding) for score in finding.curve.scores),
            ],
            "bold" if finding.curve.k == 1 else "",
        )
        for finding in told
    ]
    names = ("label", "its units", *(f"{number:,}" for number in counts[:-1]), f"all {counts[-1]:,}")
    yield Columns(names, rows, words=(0, 1))
    yield Prose(
        f"Each number is the AUC (for degrees, Spearman's {RHO}), on the half of the text that did not choose and fit "
        "it, of a linear probe of as many units of the state as the column says: the best one, and then those that add "
        f"most to it. Its units are the first of the k that are enough, at most {_NAMED}. Labels that even all units "
        "together do not tell clearly are left out."
    )


def _score(score: float, finding: Finding) -> str:
    return RHO + short(score) if finding.is_graded else short((1 + score) / 2)


def told(effect: float, finding: Finding) -> str:
    """Returns an effect for the finding's label in words, such as AUC .996, or rho -.893."""
    if finding.is_graded:
        return f"{RHO} {short(effect)}"
    return f"AUC {short((1 + abs(effect)) / 2)}{', low where it holds' if effect < 0 else ''}"


def short(number: float, sign: Literal["", "+"] = "") -> str:
    """Returns a number with three digits and, if `sign` is "+", with a plus sign where it is above zero.

    >>> short(0.9961), short(-0.893), short(0.9999), short(0.0341, "+"), short(1.234, "+")
    ('.996', '-.893', '1.00', '+.034', '+1.23')
    """
    shown = f"{number:{sign}.3f}"
    return f"{number:{sign}.2f}" if abs(float(shown)) >= 1 else shown.replace("0.", ".", 1)


def is_low(found: Finding | Told) -> bool:
    """Returns whether the unit is low where the label holds."""
    return found.effect < 0 and not found.is_graded


def telling(found: Finding | Told) -> tuple[str, str, str]:
    """Returns the effect, its interval and the effect of the last characters, in the usual form for readers.

    That is rho with its sign, or an AUC that is mirrored where needed so that the unit's own is above one half.
    """
    turn = -1 if is_low(found) else 1
    effect, *ends = (
        each if found.is_graded else (1 + turn * each) / 2
        for each in (found.effect, found.low, found.high)
        if each is not None
    )
    return (
        (RHO if found.is_graded else "") + short(effect),
        " ".join(map(short, sorted(ends))) or NOT_KNOWN,
        _alone(found.from_characters, found),
    )


def _alone(effect: float, found: Finding | Told) -> str:
    """Returns the size of an effect as rho or AUC, without regard to its sign."""
    return short(abs(effect) if found.is_graded else (1 + abs(effect)) / 2)


def _words(atlas: Atlas, characters: int) -> Iterator[str]:
    yield (
        f"The column tells has the AUC of the unit (for degrees, Spearman's {RHO}) on the half of the text that did "
        "not choose it, with its 95 % interval. A minus before a unit means that it is low where the label holds, and "
        f"one before {RHO} that the unit falls as the degree grows."
    )
    yield (
        "F1 is that of the unit at the threshold that is best on the first half, and k the number of units of the "
        f"state (1, 2, 4, ...) whose linear probe tells {SHARE * 100:.0f} % of what a probe of all of them tells "
        "beyond chance: 1 is local, many is spread out. It is empty where all of them together tell nothing clearly, "
        "and where they and the label change too slowly for this text to say."
    )
    yield (
        f"The column last {CONTEXT} has what the last {CONTEXT} characters tell, and new net what the same search "
        "finds in an untrained model."
    )
    yield (
        "The verdict is found, or says why not: characters or new net (they tell as much), chance, weak (too "
        "little or too unsure), or too slow."
    )
    found = sum(finding.is_found for finding in atlas.findings)
    yield (
        f"{found} of {count(len(atlas.findings), 'label')} {'was' if found == 1 else 'were'} found over "
        f"{count(characters, 'character')}. Of the units that beat chance, no more than one in twenty is expected to "
        "do so by luck."
    )
    if slow := [finding for finding in atlas.findings if finding.is_too_slow]:
        listed = ", ".join(f"{finding.label} ({finding.enough:,})" for finding in slow)
        yield (
            f"{count(len(slow), 'label')} {'is' if len(slow) == 1 else 'are'} too slow for this text: the unit and the "
            f"label change so slowly that half of the text counts as fewer than {FEWEST_STRETCHES} independent "
            "stretches, which tell neither chance nor an interval. The number behind each says how many characters "
            f"might be enough: {listed}."
        )
    rest = atlas.units - atlas.strong
    yield (
        f"Of {count(atlas.units, 'signal')} (states and gates), {atlas.strong:,} {_verb(atlas.strong, 'tell')} "
        f"some label with an AUC of 0.9 or a |{RHO}| of 0.8, {atlas.beyond_characters:,} of them better than the last "
        f"{CONTEXT} characters do; "
        f"{rest:,} ({rest / max(atlas.units, 1):.0%}) {_verb(rest, 'answer')} to none of these labels."
    )
    if atlas.too_rare:
        yield f"These labels are too rare in this text to say anything: {', '.join(atlas.too_rare)}."


def _verb(number: int, verb: str) -> str:
    return verb + "s" * (number == 1)
