"""`charrnn sample --page FILE`: the model in one HTML file that writes in a browser."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.options import refuse_beside
from charrnn.errors import UsageError
from charrnn.settings.checks import PATH, one_of
from charrnn.settings.choices import PageWeights
from charrnn.settings.fields import Record, setting, settings_of
from charrnn.settings.sampling import SamplingConfig

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.display.writing_page import WritingPage
    from charrnn.text.fitting import Reader
    from charrnn.text.vocabulary import Ids, Vocabulary

_CONTROLS = ("temperature", "top_p", "seed", "length")
_MOST_BYTES = 64_000_000
_MEGABYTE = 1_000_000

_option = partial(setting, panel="Output")


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSettings(Record):
    """A page, and what it holds."""

    page: Path | None = _option(None, PATH, "--page", level="everyday", metavar="FILE")
    """Write, instead of text, an HTML file with the model in it, which writes in any browser."""
    page_weights: PageWeights = _option("int8", one_of(PageWeights), "--page-weights")
    """Weights of the recurrence and between layers in the page of --page: int8, a quarter of their size in float32, at
    a cost of about a thousandth of a bit; all others are float32."""
    found: Path | None = _option(None, PATH, "--found", metavar="FILE")
    """File with what inspect --find --json printed, whose units the page of --page offers by name."""

    def check_beside(self, others: Mapping[str, bool], drawing: Mapping[str, Any]) -> None:
        """Raises UsageError for what was asked for beside a page, or for a page that there is none of."""
        from charrnn.cli.output import check_can_be_written

        if self.page is None:
            given = {"--found": self.found is not None, "--page-weights": self.page_weights != "int8"}
            for name, is_given in given.items():
                if is_given:
                    raise UsageError(f"{name} is about the page of --page", "add --page FILE, such as --page page.html")
            return
        settings = settings_of(SamplingConfig)
        of_drawing = {settings[name].flag: True for name in drawing if name not in _CONTROLS}
        refuse_beside("--page writes a page with controls of its own", {**others, **of_drawing})
        check_can_be_written(self.page)

    def write(self, loaded: Checkpoint, path: Path, prime: Ids, config: SamplingConfig, reader: Reader) -> None:
        """Writes the page, and says how large it is. Raises UsageError for a model that no page holds."""
        from charrnn.cli.output import write_page
        from charrnn.display.notice import say
        from charrnn.display.writing_page import WritingPage, most_characters
        from charrnn.inference.page_model import check_can_be_packed, pack
        from charrnn.network.open_engine import check_single
        from charrnn.neurons.record import kinds
        from charrnn.sampling.sampler import prime_ids

        assert self.page is not None
        check_single(loaded, "a page")
        check_can_be_packed(loaded.model)
        vocabulary = loaded.vocabulary
        start = {"empty": prime_ids(vocabulary, []).tolist(), "text": prime_ids(vocabulary, [0])[:-1].tolist()}
        shape = loaded.model
        most = most_characters(shape.num_layers * len(kinds(shape)) * shape.hidden_size)
        _check_room(most - len(start["text"]), len(prime), config.length, vocabulary)
        page = WritingPage(
            heading=f"{Path(os.path.realpath(path)).parent.name}: a model that writes",
            about=f"{_sentence(loaded)} It runs in this file: nothing is loaded, and nothing is sent.",
            model=pack(loaded.model, loaded.parameters, self.page_weights),
            characters={**reading_of(reader), "end": vocabulary.end, "unknown": vocabulary.unknown_symbol},
            start=start,
            settings={
                "prime": _text(loaded, prime),
                "temperature": config.temperature,
                "top_p": 1.0 if config.top_p is None else config.top_p,
                "seed": str(config.seed_number),
                "length": config.length,
            },
            most=most,
            found=[] if self.found is None else _read_found(self.found, loaded, path),
        )
        if page.num_bytes > _MOST_BYTES:
            coarse = replace(page, model=pack(loaded.model, loaded.parameters, "int8"))
            raise UsageError(
                f"the page would have {_size(page)}, and browsers open more than {_MOST_BYTES // _MEGABYTE} MB badly",
                f"leave --page-weights out: with int8 the page has {_size(coarse)}"
                if coarse.num_bytes <= _MOST_BYTES
                else None,
                "train a smaller model, with this one as its teacher",
            )
        say(f"note: the page has {_size(page)}, with --page-weights {self.page_weights}")
        write_page(self.page, page.html())


def _check_room(room: int, primed: int, length: int, vocabulary: Vocabulary) -> None:
    """Raises UsageError for a prime that the page would cut, or a length that its text would not hold."""
    from charrnn.display.writing_page import most_read
    from charrnn.wording import count

    prime = count(primed, "byte" if vocabulary.kind == "bytes" else "character")
    longest = most_read(room)
    if primed > longest:
        raise UsageError(
            f"the prime has {prime}, and the page of this model reads at most {longest:,}",
            "give a shorter --prime or --prime-file",
        )
    left = room - primed
    if length > left:
        after = f" after a prime of {prime}" if primed else ""
        raise UsageError(
            f"--length is {length:,}{after}, and the page of this model has room for {left:,}",
            f"give --length {left} or less, or write the text with charrnn sample without --page",
        )


def _size(page: WritingPage) -> str:
    return f"{page.num_bytes / _MEGABYTE:,.1f} MB"


def _sentence(loaded: Checkpoint) -> str:
    from charrnn.wording import an, count

    model, read = loaded.model, loaded.corpus
    shape = f"{an(model.cell)} of {count(model.num_layers, 'layer')} with {count(model.hidden_size, 'unit')}"
    return f"This is {shape} that was trained on {read['name']} ({read['characters']:,} characters)."


def reading_of(reader: Reader) -> dict[str, Any]:
    """Returns how a text becomes ids, as page/text.js takes it: the characters, and what is done to a text before."""
    from charrnn.text.decoding import LINE_ENDS

    vocabulary, data = reader.vocabulary, reader.data
    kinds = reader.line_ends.kinds() if vocabulary.kind == "text" else []
    # Others become the line end that the model knows, where it knows one.
    newlines = kinds[0] if data.newlines == "keep" and len(kinds) == 1 else data.newlines
    return {
        "kind": vocabulary.kind,
        "points": vocabulary.code_points.tolist(),
        "lineEnd": None if newlines == "keep" else LINE_ENDS[newlines].decode(),
        "lowercase": data.lowercase,
        "normalize": data.normalize,
    }


def _text(loaded: Checkpoint, prime: Ids) -> str:
    """Returns the text of a prime as the page reads it: bytes that are not UTF-8 are halves of UTF-16 pairs in it."""
    if loaded.vocabulary.kind == "bytes":
        return bytes(prime.tolist()).decode("utf-8", "surrogateescape")
    return loaded.vocabulary.decode(prime)


def _read_found(file: Path, loaded: Checkpoint, path: Path) -> list[tuple[str, str]]:
    """Returns the units that `inspect --find --json` found, each with its labels. Raises UsageError for other files.

    Says so where they were found in another checkpoint than the one at `path`.
    """
    from charrnn.display.notice import say
    from charrnn.files import explained
    from charrnn.neurons.record import parse_unit

    with explained(file, "reading"):
        text = file.read_text("utf-8", "replace")
    try:
        content = json.loads(text)
        told, findings = Path(str(content["checkpoint"])), [*content["findings"]]
        said = [(str(one["unit"]), str(one["label"])) for one in findings if one["verdict"] == "found"]
        if "strong" not in content:  # --recurrence has findings of another kind
            raise KeyError("strong")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{file} does not hold what inspect --find --json prints",
            "write it with charrnn inspect TEXT --find --json > found.json",
        ) from error
    if told.exists() and not told.samefile(path):
        say(f"note: {file} is about {told}, and this page holds {path}, whose units may know other things")
    if not said:
        say(f"note: {file} names no unit that was found")
    labels: dict[str, list[str]] = {}
    for unit, label in said:
        labels.setdefault(str(parse_unit(unit, loaded.of_units, "--found")), []).append(label)
    return [(unit, ", ".join(names)) for unit, names in labels.items()]
