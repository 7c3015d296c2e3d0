"""Shows the card of a unit: what the unit tells, where it is highest, how long it remembers, and what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charrnn.display.ablate import ablation_pieces, meaning, named
from charrnn.display.find import NOT_KNOWN, RHO, is_low, telling
from charrnn.display.heat import Picture
from charrnn.display.palette import RAMP, SAFE, Palette
from charrnn.display.report import Prose, Section
from charrnn.display.safe import symbol
from charrnn.display.table import Columns, Row
from charrnn.neurons.card import READ, Card, Moved
from charrnn.neurons.contexts import CONTEXT
from charrnn.wording import count

_BEFORE, _AFTER = 40, 16
_PASSAGE = 400


def pieces(card: Card, text: str, characters: Sequence[str], title: str, palette: Palette = SAFE) -> Iterator[Section]:
    """Yields the sections of the card; `text` is what the model read, `characters` are the vocabulary's, by id."""
    low, high = card.limits
    yield Prose(title, is_heading=True)
    yield Prose(_distribution(card, low, high))
    yield from _labels(card)
    yield from _contexts(card, text)
    yield from _characters(card, characters)
    if card.gates:
        rows = [Row((gate.kind, f"{gate.mean:+.3f}", f"{gate.left:.0%}", f"{gate.right:.0%}")) for gate in card.gates]
        yield Prose("What its gates do", is_heading=True)
        yield Columns(("gate", "mean", "near its low end", "near its high end"), rows, words=(0,))
    yield from ablation_pieces(card.ablation, characters)
    yield from meaning()
    begin = max(card.start, card.highest[0] - _PASSAGE // 2)
    end = min(begin + _PASSAGE, card.start + len(card.values))
    values = card.values[begin - card.start : end - card.start].tolist()
    yield Picture(f"{title}, around where it is highest", text[begin:end], values, low, high, palette=palette)


def _distribution(card: Card, low: float, high: float) -> str:
    most = max(1, int(card.counts.max()))
    # Every bin that is not empty gets a visible bar, so that rare extremes are not missed.
    bars = "".join(RAMP[0 if not times else max(1, round(times / most * 8))] for times in card.counts.tolist())
    bars = bars.replace(" ", "\xa0")  # a page would draw several spaces as one
    if card.values.min() == card.values.max():
        memory = "It never moves."
    elif card.memory is None:
        memory = "Its autocorrelation does not fall below 1/e within 2,000 characters."
    else:
        memory = f"Its autocorrelation falls below 1/e after {count(card.memory, 'character')}."
    return (
        f"{low:+g} |{bars}| {high:+g}\nThis is how often it has which value over "
        f"{count(len(card.values), 'character')}. Its mean is {card.values.mean():+.3f}; 5 % of its values lie below "
        f"{card.held_low:+.3f} and 5 % above {card.held_high:+.3f}. {memory}"
    )


def _labels(card: Card) -> Iterator[Section]:
    yield Prose("What it tells", is_heading=True)
    if not card.told:
        yield Prose("No label of the library holds often enough in both halves of this text.")
        return
    rows = [Row((told.label + (" (low)" if is_low(told) else ""), *telling(told))) for told in card.told]
    yield Columns(("label", "tells", "95 %", f"last {CONTEXT}"), rows, words=(0,))
    yield Prose(
        f"The column tells has its AUC (for degrees, {RHO}) on the half of the text that did not choose these labels. "
        f"A label with (low) is one where it is low. The column last {CONTEXT} has what the last {CONTEXT} characters "
        "tell."
        + (
            f" Where the interval is {NOT_KNOWN}, the unit and the label change too slowly for this text to tell it."
            if any(told.low is None for told in card.told)
            else ""
        )
    )


def _contexts(card: Card, text: str) -> Iterator[Section]:
    for heading, places in (("Where it is highest", card.highest), ("Where it is lowest", card.lowest)):
        yield Prose(heading, is_heading=True)
        rows = []
        for place in places:
            value = float(card.values[place - card.start])
            around = (text[max(0, place - _BEFORE) : place + 1], text[place + 1 : place + 1 + _AFTER])
            context = "\u25c2".join("".join(map(symbol, part.replace("\r", ""))) for part in around)
            rows.append(Row((context, f"{value:+.3f}", f"{place:,}")))
        yield Columns(("read \u25c2 still to come", "value", "place"), rows, words=(0,))


def _characters(card: Card, characters: Sequence[str]) -> Iterator[Section]:
    yield Prose("What it does", is_heading=True)
    for how, moved in (("likelier", card.promoted), ("less likely", card.demoted)):
        if moved:
            changes = ", ".join(_change(one, characters) for one in moved)
            yield Prose(f"When it is high, these characters are {how}: {changes}.")
    if not card.promoted and not card.demoted:
        yield Prose("Held high or low, it moves no character's probability to speak of.")
        return
    yield Prose(
        f"These are mean probabilities over the first {count(min(READ, len(card.values)), 'character')}, with the "
        f"unit held at {card.held_low:+.3f} and at {card.held_high:+.3f}."
    )


def _change(one: Moved, characters: Sequence[str]) -> str:
    return f"{named(characters[one.id])} {_percent(one.low)} to {_percent(one.high)}"


def _percent(share: float) -> str:
    """Returns a share in per cent, such as 8.1 %, 0.02 %.

    >>> _percent(0.0814), _percent(0.00021), _percent(0.4), _percent(1e-7)
    ('8.1 %', '0.021 %', '40 %', '0.00001 %')
    """
    percent = share * 100
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 1 else f"{_two(percent)} %"


def _two(number: float) -> str:
    """Returns a number with two significant digits and without an exponent."""
    rounded = f"{float(f'{number:.2g}'):.6f}".rstrip("0").rstrip(".")
    return rounded or "0"
