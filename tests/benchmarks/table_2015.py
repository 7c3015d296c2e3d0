"""The one-layer rows of the table of Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078): War and Peace.

There every row has about as many parameters as an lstm of 64, 128, 256 or 512 units that reads one-hot characters: 44,
121, 373 and 1,270 thousand. Here characters are embedded, in 64 numbers, so each cell gets the number of units that
comes nearest to that count; an lstm of "64" has 64, a gru 76, an rnn 136.

The text has CR LF for each LF (3,258,225 characters, theirs 3,258,246), is cut 80 / 10 / 10 and read by the paper's
recipe (`--preset karpathy2015`): RMSprop at 0.002, 100 lanes, windows of 100, 50 epochs. What is scored is the test
part, streamed, by the best weights of the validations. The paper chose each model's dropout by validation; a row has
none, or what `with_dropout` gives it. The paper's gru has its reset gate before the product; each of
its rows is there twice, with the gate there and with charrnn's own.

Knows the rows. Refuses to know how they are trained and scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from charrnn.cells.parameters import parameter_shapes
from charrnn.settings.config import ModelConfig
from tests.benchmarks.target import Target

SYMBOLS = 83
"""Of War and Peace with CR LF."""
EMBEDDING = 64
THOUSANDS = {64: 44, 128: 121, 256: 373, 512: 1270}
"""The table's sizes, and how many thousand parameters a row of each has."""
CELLS = {
    "lstm": ("--cell", "lstm"),
    "gru": ("--cell", "gru"),
    "gru-before": ("--cell", "gru", "--reset-gate", "before"),
    "rnn": ("--cell", "rnn"),
}
NATS = {
    "lstm": {64: 1.449, 128: 1.277, 256: 1.189, 512: 1.161},
    "gru": {64: 1.398, 128: 1.230, 256: 1.198, 512: 1.170},
    "rnn": {64: 1.446, 128: 1.417, 256: 1.342},
}
"""The paper's test cross-entropies, in nats a character; it has none of an rnn of the largest size."""
_TEXT = ("--corpus", "{}/warandpeace.txt", "--validation-fraction", "0.1", "--test-fraction", "0.1",
         "--preset", "karpathy2015")  # fmt: skip
_FIGURE = ("test", "streamed", "nats")
_DROPPING = "-dropout-"

Row = dict[str, Any]


def parameters(cell: str, units: int) -> int:
    """How many numbers a model of one layer has."""
    config = ModelConfig(cell=cell, num_layers=1, hidden_size=units, embedding_size=EMBEDDING)
    return sum(math.prod(shape) for shape in parameter_shapes(config, SYMBOLS).values())


def units_for(cell: str, size: int) -> int:
    """The units with which the cell's parameters come nearest to those of the table's rows of this size."""
    wanted, above = 1000 * THOUSANDS[size], 1
    while parameters(cell, above) < wanted:
        above += 1
    return min(above - 1, above, key=lambda units: abs(parameters(cell, units) - wanted))


def _rows() -> Iterator[Target]:
    for size in THOUSANDS:
        for name, words in CELLS.items():
            there = NATS[words[1]].get(size)
            marks = {} if there is None else {f"{there:.3f} nats": _FIGURE}
            shape = ("--layers", "1", "--hidden", str(units_for(words[1], size)), "--embedding", str(EMBEDDING))
            yield Target(f"2015-{size}-{name}", _TEXT, (*words, "--newlines", "crlf", *shape, "--epochs", "50"), marks)


ROWS = tuple(_rows())
"""By size, and in each size by cell."""


def with_dropout(target: Target, dropout: float) -> Target:
    """The same row with dropout, under a name that says so."""
    options = (*target.options, "--dropout", f"{dropout:g}")
    return replace(target, name=f"{target.name}{_DROPPING}{dropout:g}", options=options)


def markdown(found: Iterable[Row]) -> str:
    """The rows that are in a record, beside the paper's figures."""
    head = "| size there | cell | units | parameters | dropout | epochs | precision | there, nats | here, nats |\n"
    lines = [head, "| ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n"]
    rows = {row["name"]: row for row in found}.values()
    for target in ROWS:
        for row in rows:
            if row["name"].partition(_DROPPING)[0] != target.name:
                continue
            size, cell = target.name.split("-", 2)[1:]
            there = next((mark.split()[0] for mark in target.marks), "")
            model, nats = row["model"], row["test"]["streamed"]["nats"]
            lines.append(
                f"| {size} | {' '.join(CELLS[cell])} | {model['hidden_size']} | {row['parameters']:,} "
                f"| {model['dropout']:g} | {row['epochs']:.4g} | {row['precision']} | {there} | {nats:.4f} |\n"
            )
    return "".join(lines)
