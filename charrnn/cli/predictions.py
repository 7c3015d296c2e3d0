"""`charrnn inspect --predictions`: what the model expects after each character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.display.predictions import Column
    from charrnn.display.report import Section
    from charrnn.neurons.predictions import Guesses, GuessTally
    from charrnn.neurons.record import Unit

GUESSES = Option(
    "--guesses",
    int,
    "With --predictions: how many guesses for each character.",
    more={"min": 1, "show_default": "5"},
)
_GUESSES = 5
_LENGTH = 600


def _check(asked: Given) -> None:
    if len(asked.unit or []) > 1:
        raise UsageError(f"--predictions colours the text by one --unit, not by {len(asked.unit)}", "name one, or none")


def _measure(subject: Subject, asked: Given) -> Result:
    """Reads the text, and keeps the guesses after each of its characters."""
    from charrnn.display.predictions import Grid, Scale
    from charrnn.display.report import Prose
    from charrnn.neurons.predictions import Guesses, GuessTally, guess
    from charrnn.neurons.record import limits, title

    units, number, start = subject.units(asked.unit), asked.guesses or _GUESSES, subject.start
    unit = units[0] if units else None
    vocabulary = subject.loaded.vocabulary
    columns: list[Column] = []
    tally, blocks = GuessTally(), list[Guesses]()
    for taken in guess(subject.engine, subject.ids, start, asked.length or _LENGTH, number, unit):
        tally += taken
        blocks.append(taken)
        columns += _columns(taken, subject.shown[start + len(columns) :], vocabulary.names)

    def sections(_on_page: bool) -> list[Section]:
        model = subject.loaded.of_units
        scale = Scale(title(unit, model), *limits(unit.kind, model)) if unit else None
        are_charged = asked.unknown == "error" or vocabulary.kind == "bytes" or not tally.characters
        sentence = _sentence(tally, number) + ("" if are_charged else "; those it does not know are not counted")
        return [Grid(columns, scale, vocabulary.kind == "bytes", asked.colours), Prose(f"{sentence}.")]

    return Result(
        subject,
        "predictions",
        sections,
        lambda: _numbers(columns, tally, subject, unit),
        lambda: {**subject.as_arrays(len(columns)), **_arrays(blocks, tally, unit)},
    )


def _columns(taken: Guesses, text: Sequence[str], characters: Sequence[str]) -> list[Column]:
    from charrnn.display.predictions import Column

    values = [None] * len(taken.ids) if taken.values is None else taken.values.tolist()
    columns = []
    for place, (ids, likely) in enumerate(zip(taken.ids.tolist(), taken.probabilities.tolist(), strict=True)):
        guesses = [(characters[id_], probability) for id_, probability in zip(ids, likely, strict=True)]
        rank, of_next = int(taken.ranks[place]), float(taken.log_probabilities[place])
        came = None if math.isnan(of_next) else math.exp(of_next)
        columns.append(Column(text[place], guesses, None if rank < 0 else rank, came, values[place]))
    return columns


def _bits(tally: GuessTally) -> float | None:
    from charrnn.evaluation.score import TextScore

    return TextScore(tally.nats, tally.characters).bits_per_character if tally.characters else None


def _sentence(tally: GuessTally, guesses: int) -> str:
    bits = _bits(tally)
    if bits is None:
        return "No character follows, so there is nothing to compare the guesses with"
    first, among = (f"{100 * hits / tally.characters:.1f} %" for hits in (tally.first, tally.among))
    some = f"One of the first {guesses} was right for {among}.\n" if guesses > 1 else ""
    return (
        f"The first guess was right for {first} of {count(tally.characters, 'character')}.\n{some}"
        f"A character cost the model {bits:.4f} bits"
    )


def _arrays(blocks: list[Guesses], tally: GuessTally, unit: Unit | None) -> dict[str, Any]:
    """Returns arrays: `guesses` (ids), `ranks` (the next character's place among them, or -1), the scores and more."""
    import numpy as np

    def joined(name: str) -> Any:
        return np.concatenate([getattr(block, name) for block in blocks])

    bits = _bits(tally)
    return {
        "guesses": joined("ids"),
        "probabilities": joined("probabilities"),
        "ranks": joined("ranks"),
        "next_probability": np.exp(joined("log_probabilities")),
        **({str(unit): joined("values")} if unit else {}),
        **_scored(tally),
        "bits_per_character": np.nan if bits is None else bits,
    }


def _numbers(columns: list[Column], tally: GuessTally, subject: Subject, unit: Unit | None) -> dict[str, Any]:
    characters = []
    for place, column in enumerate(columns, start=subject.start):
        came = column.next_probability
        characters.append(
            {
                "character": column.character,
                **({} if column.value is None else {"value": round(column.value, 6)}),
                "guesses": [
                    {"character": character, "probability": _rounded(probability)}
                    for character, probability in column.guesses
                ],
                "next": None if came is None else subject.shown[place + 1],
                "next_probability": None if came is None else _rounded(came),
            }
        )
    return {
        "from": subject.start,
        **({"unit": str(unit)} if unit else {}),
        "characters": characters,
        **_scored(tally),
        "bits_per_character": _bits(tally),
    }


def _scored(tally: GuessTally) -> dict[str, int]:
    return {"scored": tally.characters, "guessed_first": tally.first, "guessed_among": tally.among}


def _rounded(probability: float) -> float:
    """Returns a probability with six significant digits, so that a small one does not become 0."""
    return float(f"{probability:.6g}")


VIEW = View(
    "Predictions",
    Option(
        "--predictions",
        bool,
        "Show what the model expects after each character: its likeliest guesses, in a grid.",
    ),
    _measure,
    options=(GUESSES,),
    beyond=1,  # the character after the last one shown is guessed too
    check=_check,
    is_coloured=lambda _asked: True,
    shows="What the model expects after each character, as a grid of guesses.",
)
