"""`charrnn inspect TEXT --gates`: how often each gate is saturated over a whole text.

The text is read twice, in pieces: first to find characters that the model does not know, before anything is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import UNIT
from charrnn.cli.output import rounded
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.gates import Saturation
    from charrnn.settings.config import DataConfig
    from charrnn.text.sources import Source

_SLICE = 4096  # characters between two steps of the bar


def _measure(subject: Subject, asked: Given) -> Result:
    from charrnn.cli import texts as text_arguments
    from charrnn.cli.reading import fitting, read_part
    from charrnn.display.gates import pieces
    from charrnn.display.notice import say
    from charrnn.neurons.gates import gate_kinds
    from charrnn.text.sources import release

    loaded, most = subject.loaded, None if asked.length is None else subject.start + asked.length
    gate_kinds(loaded.model)  # a model without gates is refused before the text is read
    part = None if subject.split == "all" else read_part(subject.argument, loaded, subject.split, most)
    if part is not None:
        found = _saturation(subject, lambda: iter([part]))
    else:
        texts = text_arguments.find([subject.argument], glob=None, report=subject.report, config=loaded.data)
        for notice in texts.notices:
            say(f"note: {notice}")
        try:
            data = fitting(texts.sources, loaded, most)
            found = _saturation(subject, lambda: _beginning(texts.sources, data, most))
        finally:
            release(texts.sources)
    if found.characters == 0:
        raise TextError(f"there is nothing to read in {subject.argument}", "give a text of characters the model knows")
    return Result(
        subject,
        "gates",
        lambda on_page: pieces(found, on_page=on_page),
        lambda: _numbers(found),
        lambda: _arrays(found),
    )


def _saturation(subject: Subject, texts: Callable[[], Iterator[str]]) -> Saturation:
    """Measures gate saturation over texts that come in pieces and are read twice.

    Raises TextError that lists all characters which the model does not know.
    """
    from charrnn.cli.reading import ids_of
    from charrnn.neurons.gates import saturation

    vocabulary, total, missing = subject.loaded.vocabulary, 0, Counter[str]()
    for text in texts():
        total += len(text)
        missing.update(vocabulary.unknown(text))
    vocabulary.check_unknown(missing, subject.unknown)
    total -= missing.total() if subject.unknown == "skip" else 0
    if total:
        subject.check_start(total)

    def ids() -> Iterator[Any]:
        done = 0
        for text in texts():
            read = ids_of(text, vocabulary, subject.unknown)
            for place in range(0, len(read), _SLICE):
                yield read[place : place + _SLICE]
                done += len(read[place : place + _SLICE])
                subject.report("reading", min(done, total), total)

    return saturation(subject.engine, ids(), subject.start)


def _beginning(sources: list[Source], config: DataConfig, most: int | None) -> Iterator[str]:
    """Yields the text in pieces, up to `most` characters (byte mode: one character for each byte)."""
    from charrnn.text.decoding import pieces_of

    for piece in pieces_of(sources, config, lambda _place, _done: None):
        text = piece.text[:most]
        yield text
        if most is not None:
            most -= len(text)
            if most <= 0:
                return


def _facts(found: Saturation) -> dict[str, Any]:
    from charrnn.neurons.gates import LEFT, RIGHT

    return {"characters": found.characters, "left_below": LEFT, "right_above": RIGHT}


def _numbers(found: Saturation) -> dict[str, Any]:
    gates = {f"L{gate.layer}.{gate.kind}": {"right": gate.right, "left": gate.left} for gate in found.gates}
    return {**_facts(found), "gates": rounded(gates)}


def _arrays(found: Saturation) -> dict[str, Any]:
    ends = ("right", "left")
    shares = {f"L{gate.layer}.{gate.kind}.{end}": getattr(gate, end) for gate in found.gates for end in ends}
    return {**_facts(found), **shares}


VIEW = View(
    "Gates",
    Option(
        "--gates",
        bool,
        "Instead of colouring the text: how often each gate of an lstm or a gru is as good as open (above 0.9) or "
        "shut (below 0.1).",
    ),
    _measure,
    length=None,
    alone=("--gates is a picture of its own", (UNIT,)),
    shows="How often each gate of the cell is open or shut.",
)
