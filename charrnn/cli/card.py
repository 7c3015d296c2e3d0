"""`charrnn inspect --unit L2.c17 --card`: all that can be said of a unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli import ablate as ablating
from charrnn.cli.output import View, put, write_arrays
from charrnn.cli.reading import check_length
from charrnn.errors import UsageError

if TYPE_CHECKING:
    import re

    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.reading import Reading
    from charrnn.neurons.card import Card
    from charrnn.neurons.record import Unit

CARD = typer.Option(
    "--card",
    help="For each --unit all that can be said of it: what it tells, where it is highest and lowest, how long it "
    "remembers, which characters it makes likelier, what its gates do, and its price (--ablate).",
    rich_help_panel="Text",
)


def check(*, is_asked: bool, units: Sequence[str]) -> None:
    """Raises UsageError where there is no unit to describe."""
    if is_asked and not units:
        raise UsageError("--card needs a unit", "name it with --unit, such as --unit L2.c17; --find finds some")


def show(reading: Reading, units: Sequence[Unit], own: dict[str, re.Pattern[str]], view: View) -> None:
    """Makes a card of each unit and draws it, or prints its numbers."""
    import numpy as np

    from charrnn.display.card import card_pieces
    from charrnn.display.progress import WorkDisplay
    from charrnn.neurons.card import make_card
    from charrnn.neurons.labels import labels_of
    from charrnn.neurons.record import title

    loaded, text, characters = reading.loaded, reading.text, reading.characters
    check_length(characters, "to know a unit by", ablating.LENGTH)
    labels, cards = labels_of(text, own), []
    with closing(WorkDisplay()) as work, np.errstate(over="ignore", invalid="ignore"):
        for unit in units:
            cards.append(
                make_card(
                    loaded.model,
                    loaded.parameters,
                    unit,
                    reading.ids,
                    labels,
                    start=reading.start,
                    progress=lambda done, total, unit=unit: work(f"holding {unit} and others", done, total),  # type: ignore[misc]
                )
            )
    if view.npz is not None:
        of_units = {str(card.unit): card.values for card in cards}
        prices = ablating.arrays([card.ablation for card in cards])
        write_arrays(view.npz, {**reading.as_arrays(), **of_units, **prices})
    if view.as_json:
        print(
            json.dumps(
                {"checkpoint": str(reading.path), "characters": characters, "cards": _numbers(cards, loaded, text)}
            )
        )
    names = ablating.characters_of(loaded)
    pieces = [piece for card in cards for piece in card_pieces(card, text, names, title(card.unit, loaded.model))]
    put(pieces, reading.heading(", ".join(map(str, units))), view)


def _numbers(cards: Sequence[Card], loaded: Checkpoint, text: str) -> list[dict[str, Any]]:
    characters = ablating.characters_of(loaded)

    def moved(card: Card) -> dict[str, Any]:
        return {
            name: [{"character": characters[one.id], "low": one.low, "high": one.high} for one in each]
            for name, each in (("promoted", card.promoted), ("demoted", card.demoted))
        }

    def contexts(card: Card) -> dict[str, Any]:
        return {
            name: [
                {
                    "place": place,
                    "value": float(card.values[place - card.start]),
                    "text": text[max(0, place - 40) : place + 1],
                }
                for place in each
            ]
            for name, each in (("highest", card.highest), ("lowest", card.lowest))
        }

    return [
        {
            "unit": str(card.unit),
            "mean": float(card.values.mean()),
            "counts": card.counts.tolist(),
            "memory": card.memory,
            "labels": [asdict(told) for told in card.told],
            **contexts(card),
            "gates": [asdict(gate) for gate in card.gates],
            "held_low": card.held_low,
            "held_high": card.held_high,
            **moved(card),
            "ablation": ablating.numbers([card.ablation], loaded)[0],
        }
        for card in cards
    ]
