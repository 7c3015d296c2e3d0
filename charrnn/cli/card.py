"""`charrnn inspect --unit L2.c17 --card`: everything that is measured of one unit, on one card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli import ablate
from charrnn.cli.inspect_options import LABEL, LABEL_FILE
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.display.report import Section
    from charrnn.neurons.card import Card, Moved


def _check(asked: Given) -> None:
    if not asked.unit:
        raise UsageError("--card needs a unit", "name it with --unit, such as --unit L2.c17; --find finds some")


def _measure(subject: Subject, asked: Given) -> Result:
    """Makes a card of each unit that was named."""
    from charrnn.display import card as display
    from charrnn.neurons.card import make_card
    from charrnn.neurons.record import title

    units, loaded = subject.units(asked.unit), subject.loaded
    labels = subject.labels(asked, "to know a unit by", ablate.LENGTH)
    cards = [
        make_card(
            loaded.model,
            loaded.parameters,
            unit,
            subject.ids,
            labels,
            start=subject.start,
            end=loaded.vocabulary.end,
            report=subject.report,
        )
        for unit in units
    ]

    def sections(_on_page: bool) -> list[Section]:
        return [
            piece
            for card in cards
            for piece in display.pieces(
                card, subject.text, subject.names_of_ids, title(card.unit, loaded.of_units), asked.colours
            )
        ]

    return Result(
        subject,
        ", ".join(map(str, units)),
        sections,
        lambda: {"characters": subject.characters, "cards": _numbers(cards, subject)},
        lambda: {
            **subject.as_arrays(),
            **{str(card.unit): card.values for card in cards},
            **ablate.arrays([card.ablation for card in cards]),
        },
    )


def _numbers(cards: Sequence[Card], subject: Subject) -> list[dict[str, Any]]:
    def moved(characters: Sequence[Moved]) -> list[dict[str, Any]]:
        return [{"character": subject.names_of_ids[one.id], "low": one.low, "high": one.high} for one in characters]

    def contexts(card: Card, places: Sequence[int]) -> list[dict[str, Any]]:
        values = [float(card.values[place - card.start]) for place in places]
        texts = [subject.text[max(0, place - 40) : place + 1] for place in places]
        return [
            {"place": place, "value": value, "text": text}
            for place, value, text in zip(places, values, texts, strict=True)
        ]

    return [
        {
            "unit": str(card.unit),
            "mean": float(card.values.mean()),
            "counts": card.counts.tolist(),
            "memory": card.memory,
            "labels": list(map(asdict, card.told)),
            "highest": contexts(card, card.highest),
            "lowest": contexts(card, card.lowest),
            "gates": list(map(asdict, card.gates)),
            "held_low": card.held_low,
            "held_high": card.held_high,
            "promoted": moved(card.promoted),
            "demoted": moved(card.demoted),
            "ablation": ablate.numbers([card.ablation], subject)[0],
        }
        for card in cards
    ]


VIEW = View(
    "Card",
    Option(
        "--card",
        bool,
        "For each --unit all that can be said of it: what it tells, where it is highest and lowest, how long it "
        "remembers, which characters it makes likelier, what its gates do, and its price (--ablate).",
    ),
    _measure,
    options=(LABEL, LABEL_FILE),
    length=ablate.LENGTH,
    check=_check,
    is_coloured=lambda _asked: True,
    shows="All that can be said of each --unit, on one page.",
)
