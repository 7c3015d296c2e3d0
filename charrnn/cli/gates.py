"""`charrnn inspect TEXT --gates`: how often each gate is saturated over a whole text.

The text is read twice, in pieces: first to find characters that the model does not know, before anything is computed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli import texts as text_arguments
from charrnn.cli.output import View, print_pieces, write_arrays, write_page
from charrnn.cli.reading import Part, heading, ids_of, read_part
from charrnn.display.progress import WorkDisplay
from charrnn.display.safe import say
from charrnn.errors import TextError, UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.gates import LEFT, RIGHT, Saturation, gate_kinds, saturation
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.config import DataConfig
from charrnn.text.decoding import pieces_of
from charrnn.text.sources import Source, release
from charrnn.text.vocabulary import Vocabulary, unknown_characters_error

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint

_SLICE = 4096  # characters between two steps of the bar


def show_gates(
    text: str,
    path: Path,
    loaded: Checkpoint,
    view: View,
    *,
    start: int,
    length: int | None,
    split: Part,
    unknown: UnknownPolicy,
) -> None:
    """Reads `text` (of which `length` characters from `start` on are counted, or all) and shows what its gates did."""
    gate_kinds(loaded.model)  # a model without any is refused before the text is read
    most = None if length is None else start + length
    part = None if split == "all" else read_part(text, loaded, split, most)
    with closing(WorkDisplay()) as work:
        if part is not None:
            found = _found(lambda: iter([part]), loaded, unknown, start, work)
        else:
            texts = text_arguments.find([text], glob=None, report=work, config=loaded.data)
            for notice in texts.notices:
                say(f"note: {notice}")
            try:
                found = _found(lambda: _texts(texts.sources, loaded.data, most), loaded, unknown, start, work)
            finally:
                release(texts.sources)
    if found.characters == 0:
        raise TextError(f"there is nothing to read in {text}", "give a text of characters the model knows")
    if view.html is not None:
        from charrnn.display.gates import webpage

        page = webpage(heading(path, "gates"), found)
        write_page(view.html, page)
    if view.npz is not None:
        write_arrays(view.npz, _as_arrays(found))
    if view.as_json:
        print(json.dumps(_as_json(path, found)))
    elif view.is_drawn:
        from charrnn.display.gates import pieces

        print_pieces(pieces(found))


def _found(
    texts: Callable[[], Iterator[str]], loaded: Checkpoint, unknown: UnknownPolicy, start: int, work: WorkDisplay
) -> Saturation:
    vocabulary = loaded.vocabulary
    total = _check(texts(), vocabulary, unknown)
    if 0 < total <= start:
        raise UsageError(f"--from is {start:,}, but the text has {total:,} characters", "start earlier")

    def ids() -> Iterator[Any]:
        done = 0
        for text in texts():
            read = ids_of(text, vocabulary, unknown)
            for place in range(0, len(read), _SLICE):
                yield read[place : place + _SLICE]
                done += len(read[place : place + _SLICE])
                work("reading", min(done, total), total)

    return saturation(make_engine(loaded.model, loaded.parameters), ids(), start)


def _texts(sources: list[Source], config: DataConfig, most: int | None) -> Iterator[str]:
    """The text in pieces, up to `most` characters (byte mode: one character for each byte)."""
    for piece in pieces_of(sources, config, lambda _place, _done: None):
        text = piece.text if most is None else piece.text[:most]
        yield text
        if most is not None:
            most -= len(text)
            if most <= 0:
                return


def _check(texts: Iterator[str], vocabulary: Vocabulary, unknown: UnknownPolicy) -> int:
    """How many characters the model will read. Raises TextError that lists all those it cannot."""
    total, missing = 0, Counter[str]()
    for text in texts:
        total += len(text)
        missing.update(vocabulary.unknown(text))
    if unknown == "skip":
        return total - missing.total()
    strangers = {
        character: count
        for character, count in missing.items()
        if unknown == "error" or vocabulary.nearest(character) is None
    }
    if strangers:
        raise unknown_characters_error(strangers, vocabulary)
    return total


def _as_arrays(found: Saturation) -> dict[str, Any]:
    shares = {
        f"L{gate.layer}.{gate.kind}.{end}": values
        for gate in found.gates
        for end, values in (("right", gate.right), ("left", gate.left))
    }
    return {"characters": found.characters, "left_below": LEFT, "right_above": RIGHT, **shares}


def _as_json(path: Path, found: Saturation) -> dict[str, Any]:
    return {
        "checkpoint": str(path),
        "characters": found.characters,
        "left_below": LEFT,
        "right_above": RIGHT,
        "gates": {
            f"L{gate.layer}.{gate.kind}": {
                "right": [round(fraction, 6) for fraction in gate.right.tolist()],
                "left": [round(fraction, 6) for fraction in gate.left.tolist()],
            }
            for gate in found.gates
        },
    }
