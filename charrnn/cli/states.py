"""`charrnn inspect TEXT --states WHAT --npz FILE`: what units do, as arrays: at each character, or a vector a line."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import UNIT, UNITS
from charrnn.cli.options import refuse_beside
from charrnn.cli.view import Given, Option, Result, Streamed, View
from charrnn.errors import ResourceError, TextError, UsageError
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.record import Unit
    from charrnn.settings.config import ModelConfig
    from charrnn.text.vocabulary import Ids, Vocabulary

_ALL, _DOCUMENTS = "all", "documents"
_ROWS = 256
"""Vectors that are written at a time."""


def _check(asked: Given) -> None:
    words = _words(asked)
    if not all(words):
        raise UsageError(f"--states is {asked.states!r}", "name all, or units, layers and kinds with commas between")
    if asked.npz is None:
        raise UsageError("--states makes arrays, and no file for them was named", "add --npz FILE")
    refuse_beside(
        "--states makes arrays, and no picture", {"--html": asked.html is not None, "--svg": asked.svg is not None}
    )


def _words(asked: Given) -> list[str]:
    words = (word.strip() for word in asked.states.split(","))
    return [word.lower() if word.lower() in (_ALL, _DOCUMENTS) else word for word in words]


def _measure(subject: Subject, asked: Given) -> Result:
    """Reads the text, says how large the arrays will be, and leaves making them to their writer."""
    import numpy as np

    from charrnn.cli.whole_text import whole_text

    words = _words(asked)
    units = _units([word for word in words if word != _DOCUMENTS] or [_ALL], subject.loaded.of_units)
    with whole_text(subject, asked.length) as text:
        ids = np.concatenate(list(text.pieces()))
    make = _documents if _DOCUMENTS in words else _characters
    more, streamed, rows = make(subject, ids, units)
    _say_size(asked.npz, streamed, f"{rows} x {count(len(units), 'unit')}")
    names = np.array(list(map(str, units)), np.str_)
    return Result(
        subject,
        "states",
        lambda _on_page: (),
        lambda: {
            "characters": len(ids) - subject.start,
            "units": names.tolist(),
            "shapes": {name: list(shape) for name, shape in streamed.shapes.items()},
        },
        lambda: {
            "ids": ids[subject.start :],
            "from": subject.start,
            "code_points": subject.loaded.vocabulary.code_points,
            "units": names,
            "is_tanh": _is_tanh(units, subject.loaded.of_units),
            **more,
        },
        streamed,
    )


def _units(words: list[str], model: ModelConfig) -> list[Unit]:
    """Returns the units that the words name, each once, in their order. Raises UsageError where there are none."""
    from charrnn.neurons.record import units_named

    named = [units_named(word, model, "--states") for word in words]
    return list(dict.fromkeys(unit for units in named for unit in units))


def _is_tanh(units: list[Unit], model: ModelConfig) -> Any:
    """Returns whether the tanh of a unit stands for its value, (N,)."""
    import numpy as np

    from charrnn.neurons.record import is_unbounded

    return np.array([is_unbounded(unit.kind, model) for unit in units], bool)


def _characters(subject: Subject, ids: Ids, units: list[Unit]) -> tuple[dict[str, Any], Streamed, str]:
    """Makes an array with a row for each character from the first one that is measured on."""
    from charrnn.neurons.states import states_of

    rows = len(ids) - subject.start

    def pieces() -> Iterator[tuple[Any]]:
        with _bar() as bar:
            for block in states_of(subject.engine, ids, units, subject.start, bar):
                yield (block,)

    return {}, Streamed({"states": (rows, len(units))}, pieces), count(rows, "character")


def _documents(subject: Subject, ids: Ids, units: list[Unit]) -> tuple[dict[str, Any], Streamed, str]:
    """Makes two arrays with a row for each line: after its last character, and the mean over all its characters.

    Each line is read from the zero state, after what `sample` reads before a prime: a line feed.
    """
    import numpy as np

    from charrnn.neurons.states import lines_in, vectors_of
    from charrnn.sampling.sampler import prime_ids

    vocabulary = subject.loaded.vocabulary
    read = ids[subject.start :]
    before = prime_ids(vocabulary, read[:1])[:-1]
    end = vocabulary.end
    breaks = (_id_of("\n", vocabulary), _id_of("\r", vocabulary)) if end is None else (end, None)
    lines = lines_in(read, *breaks)
    number = len(lines.starts)
    if not number:
        raise TextError(f"all lines of {subject.argument} are empty", "name a text with documents in it")
    shape = (number, len(units))

    def pieces() -> Iterator[tuple[Any, Any]]:
        texts = (read[start : start + length] for start, length in zip(*lines, strict=True))
        vectors, done = vectors_of(subject.engine, texts, units, before), 0
        with _bar() as bar:
            while some := list(itertools.islice(vectors, _ROWS)):
                yield np.stack([last for last, _ in some]), np.stack([mean for _, mean in some])
                done += len(some)
                bar("reading documents", done, number)

    places = {"starts": lines.starts + subject.start, "lengths": lines.lengths}
    return places, Streamed({"last": shape, "mean": shape}, pieces), count(number, "document")


def _bar() -> Any:
    from charrnn.display.progress import WorkDisplay

    return WorkDisplay()


def _id_of(character: str, vocabulary: Vocabulary) -> int | None:
    return int(vocabulary.lookup(character)[0]) if character in vocabulary else None


def _say_size(file: Path, streamed: Streamed, said: str) -> None:
    """Says how large the arrays will be. Raises ResourceError where the file's disk has no room for them."""
    from charrnn.display.notice import say
    from charrnn.display.runs import size_of

    needed, size = streamed.num_bytes, size_of(streamed.num_bytes)
    if not file.exists() or file.is_file():
        free = shutil.disk_usage(os.path.dirname(os.path.realpath(file))).free
        if needed > free:
            raise ResourceError(
                f"{said} take {size}, and the disk of {file} has {size_of(free)} left",
                "name fewer units, such as --states L1.h",
                "--length reads less of the text",
                "or name a file on another disk",
            )
    say(f"note: {said} take {size}")


VIEW = View(
    "States",
    Option(
        "--states",
        str,
        "Write what units do into the file that --npz names, a row for each character: all (all states, the default "
        "beside documents), or with commas between them units (L2.c17), layers (L2), kinds (h, c or a gate) and a "
        "layer's kinds (L2.c). With documents: two vectors for each line, which is read by itself.",
        more={"show_default": False, "metavar": "WHAT"},
    ),
    _measure,
    length=None,
    alone=("--states names its units itself", (UNIT, UNITS)),
    check=_check,
    shows="What units do at every character or line, as arrays.",
)
