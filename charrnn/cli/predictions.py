"""`charrnn inspect --predictions`: what the model expects after each character."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.cli.output import View, write_arrays, write_page
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Reading
    from charrnn.display.predictions import Column
    from charrnn.neurons.predictions import Guesses, Tally
    from charrnn.neurons.record import Unit
    from charrnn.settings.config import ModelConfig

DEFAULT_GUESSES = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """How many characters, and how: the options."""

    length: int
    guesses: int
    units: list[Unit]
    unknown_are_charged: bool
    view: View


def check(*, predictions: bool, guesses: int | None, units: int) -> int:
    """The number of guesses. Raises UsageError for options that do not go together."""
    if not predictions and guesses is not None:
        raise UsageError("--guesses is for --predictions", "add --predictions, or leave --guesses out")
    if predictions and units > 1:
        raise UsageError(f"--predictions colours the text by one --unit, not by {units}", "name one, or none")
    return DEFAULT_GUESSES if guesses is None else guesses


def show(reading: Reading, shown: Shown) -> None:
    """Draws the grid, writes it as a page, or prints its numbers."""
    import numpy as np

    from charrnn.neurons.predictions import Guesses, Tally, guess

    loaded, start = reading.loaded, reading.start
    unit = shown.units[0] if shown.units else None
    columns: list[Column] = []
    tally, blocks = Tally(), list[Guesses]()
    with np.errstate(over="ignore", invalid="ignore"):  # `guess` says it in a sentence
        for taken in guess(reading.engine, reading.ids, start, shown.length, shown.guesses, unit):
            tally += taken
            blocks += [taken] if shown.view.npz is not None else []
            columns += _columns(taken, reading.text[start + len(columns) :], loaded.vocabulary.characters)
    if shown.view.html is not None:
        _write_page(columns, tally, reading, shown)
    if shown.view.npz is not None:
        write_arrays(shown.view.npz, {**reading.as_arrays(len(columns)), **_arrays(blocks, tally, shown)})
    if shown.view.as_json:
        print(json.dumps(_numbers(columns, tally, reading, shown)))
    elif shown.view.is_drawn:
        from rich.console import Console

        from charrnn.display.predictions import Grid

        console = Console(highlight=False)
        is_bytes = loaded.vocabulary.kind == "bytes"
        console.print(Grid(columns, _scale(unit, loaded.model), is_bytes=is_bytes, palette=shown.view.palette))
        console.print()
        console.print(_summary(tally, shown), soft_wrap=True)


def _columns(taken: Guesses, text: str, characters: str) -> list[Column]:
    import math

    from charrnn.display.predictions import Column

    values = [None] * len(taken.ids) if taken.values is None else taken.values.tolist()
    columns = []
    for place, (ids, likely) in enumerate(zip(taken.ids.tolist(), taken.probabilities.tolist(), strict=True)):
        guesses = [(characters[id_], probability) for id_, probability in zip(ids, likely, strict=True)]
        rank, of_next = int(taken.ranks[place]), float(taken.log_probabilities[place])
        came = None if math.isnan(of_next) else math.exp(of_next)
        columns.append(Column(text[place], guesses, None if rank < 0 else rank, came, values[place]))
    return columns


def _scale(unit: Unit | None, model: ModelConfig) -> Any:
    from charrnn.display.predictions import Scale
    from charrnn.neurons.record import limits, title

    if unit is None:
        return None
    return Scale(title(unit, model), *limits(unit.kind, model))


def _bits(tally: Tally) -> float | None:
    from charrnn.evaluation.score import Score

    return Score(tally.nats, tally.characters).bits_per_character if tally.characters else None


def _summary(tally: Tally, shown: Shown) -> str:
    bits = _bits(tally)
    if bits is None:
        return "no character follows, so there is nothing to compare the guesses with"
    first, among = (f"{100 * hits / tally.characters:.1f} %" for hits in (tally.first, tally.among))
    return (
        f"guessed first {first}, among the {shown.guesses} likeliest {among}; {bits:.4f} bits per character over "
        f"{tally.characters:,} characters" + ("" if shown.unknown_are_charged else ", unknown ones not charged")
    )


def _write_page(columns: list[Column], tally: Tally, reading: Reading, shown: Shown) -> None:
    from charrnn.display.predictions_page import render_grid

    assert shown.view.html is not None
    page = render_grid(
        reading.heading("predictions"),
        columns,
        _summary(tally, shown),
        _scale(shown.units[0] if shown.units else None, reading.loaded.model),
        is_bytes=reading.loaded.vocabulary.kind == "bytes",
        palette=shown.view.palette,
    )
    write_page(shown.view.html, page)


def _arrays(blocks: list[Guesses], tally: Tally, shown: Shown) -> dict[str, Any]:
    """`ranks`: the place of what came next among the `guesses` (ids), -1 where it is not one of them."""
    import numpy as np

    bits, values = _bits(tally), [block.values for block in blocks if block.values is not None]
    return {
        "guesses": np.concatenate([block.ids for block in blocks]),
        "probabilities": np.concatenate([block.probabilities for block in blocks]),
        "ranks": np.concatenate([block.ranks for block in blocks]),
        "next_probability": np.exp(np.concatenate([block.log_probabilities for block in blocks])),
        **{str(unit): np.concatenate(values) for unit in shown.units},
        "scored": tally.characters,
        "guessed_first": tally.first,
        "guessed_among": tally.among,
        "bits_per_character": np.nan if bits is None else bits,
    }


def _numbers(columns: list[Column], tally: Tally, reading: Reading, shown: Shown) -> dict[str, Any]:
    characters = []
    for place, column in enumerate(columns, start=reading.start):
        numbers: dict[str, Any] = {"character": column.character}
        if column.value is not None:
            numbers["value"] = round(column.value, 6)
        numbers["guesses"] = [
            {"character": character, "probability": _rounded(probability)} for character, probability in column.guesses
        ]
        is_known = column.next_probability is not None
        numbers["next"] = reading.text[place + 1] if is_known else None
        numbers["next_probability"] = _rounded(column.next_probability) if column.next_probability is not None else None
        characters.append(numbers)
    body: dict[str, Any] = {"checkpoint": str(reading.path), "from": reading.start}
    if shown.units:
        body["unit"] = str(shown.units[0])
    return {
        **body,
        "characters": characters,
        "scored": tally.characters,
        "guessed_first": tally.first,
        "guessed_among": tally.among,
        "bits_per_character": _bits(tally),
    }


def _rounded(probability: float) -> float:
    """To six digits that count, so that a small one stays one."""
    return float(f"{probability:.6g}")
