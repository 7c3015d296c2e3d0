"""Reading the model and the text that a command is given, and turning the text into the model's ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import own_labels
from charrnn.cli.view import Given
from charrnn.errors import TextError, UsageError
from charrnn.settings.choices import SplitName, UnknownPolicy
from charrnn.wording import count

if TYPE_CHECKING:
    import re

    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.neurons.labels import Label
    from charrnn.neurons.record import Report, Unit
    from charrnn.settings.config import DataConfig
    from charrnn.text.sources import Source
    from charrnn.text.vocabulary import Ids, Vocabulary

_SHORTEST = 200


@dataclass(frozen=True, eq=False)
class Subject:
    """What `inspect` looks at: a model, and a text that is read when it is first asked for."""

    loaded: Checkpoint
    path: Path
    """The path of the checkpoint."""
    argument: str
    """The command-line argument that names the text."""
    start: int = 0
    """The place of the first character that is measured; the model also reads everything before it."""
    length: int | None = None
    """The number of characters to read from `start` on; None means all of them."""
    split: SplitName = "all"
    unknown: UnknownPolicy = "error"
    report: Report = lambda _doing, _done, _total: None
    """The function that is told about the progress of long work."""

    @cached_property
    def engine(self) -> Any:
        """The engine that runs the checkpoint's model."""
        from charrnn.inference.make_engine import make_engine

        return make_engine(self.loaded.model, self.loaded.parameters, end=self.loaded.vocabulary.end)

    @cached_property
    def novice(self) -> Any:
        """The engine of an untrained model of the same shape, for comparison."""
        from charrnn.cells.members import joined
        from charrnn.inference.make_engine import make_engine
        from charrnn.neurons.untrained import untrained_arrays

        model, vocabulary = self.loaded.model, self.loaded.vocabulary
        drawn = [untrained_arrays(model, len(vocabulary), seed) for seed in range(self.loaded.members)]
        return make_engine(model, joined(drawn), end=vocabulary.end)

    @cached_property
    def text(self) -> str:
        """The whole text that is read; in byte mode it has one character for each byte. Raises TextError if empty.

        Where a document ends there is a line end.
        """
        from charrnn.text.encoding import without_marks

        return without_marks(self._read, self.loaded.vocabulary, "\n")

    @cached_property
    def _read(self) -> str:
        assert self.length is not None
        read = self.first(self.start + self.length)
        if not read:
            raise TextError(f"there is nothing to read in {self.argument}", "give a text of characters the model knows")
        self.check_start(len(read))
        return read

    @cached_property
    def shown(self) -> Sequence[str]:
        """The characters of the text as they are listed: the end of a document by its name."""
        from charrnn.text.vocabulary import END_NAME

        vocabulary = self.loaded.vocabulary
        if vocabulary.end is None:
            return self.text
        return [
            END_NAME if is_end else character
            for character, is_end in zip(self.text, (self.ids == vocabulary.end).tolist(), strict=True)
        ]

    def first(self, characters: int) -> str:
        """Returns the first `characters` characters of the text, or fewer where it is shorter; of documents with the
        marks of their ends."""
        return read_text(self.argument, self.loaded, self.unknown, characters, self.split)

    def check_start(self, characters: int) -> None:
        """Raises UsageError where a text of `characters` characters ends before `start`."""
        if characters <= self.start:
            raise UsageError(
                f"--from is {self.start:,}, but the text has {count(characters, 'character')}", "start earlier"
            )

    @cached_property
    def ids(self) -> Any:
        """An id for each character of the text."""
        return ids_of(self._read, self.loaded.vocabulary)

    @property
    def characters(self) -> int:
        """The number of characters that are measured: those from `start` on."""
        return len(self.ids) - self.start

    def check_length(self, purpose: str, much: int) -> None:
        """Raises TextError where there are too few characters to measure; `much` is the number that would be enough."""
        if self.characters < _SHORTEST:
            raise TextError(
                f"the text has {count(self.characters, 'character')}, too few {purpose}",
                f"give {_SHORTEST} or more; {much:,} say much",
            )

    def labels(self, asked: Given, purpose: str, much: int) -> list[Label]:
        """Returns the built-in labels of the text and the user's own. Raises TextError as `check_length` does."""
        from charrnn.neurons.labels import labels_of

        own = self.own_labels(asked)
        self.check_length(purpose, much)
        return labels_of(self.text, own)

    def own_labels(self, asked: Given) -> dict[str, re.Pattern[str]]:
        """Returns the patterns of the user's labels by name, as they are for the text of this model."""
        return own_labels(asked, are_bytes=self.loaded.vocabulary.kind == "bytes")

    def units(self, names: list[str] | None) -> list[Unit]:
        """Returns the units with these names, each once. Raises UsageError where the model has no such unit."""
        from charrnn.neurons.record import parse_unit

        return list(dict.fromkeys(parse_unit(name, self.loaded.of_units) for name in names or []))

    @cached_property
    def names_of_ids(self) -> list[str]:
        """The vocabulary's characters in the order of their ids, and the name of a document's end; in byte mode there
        is one for each byte value."""
        return self.loaded.vocabulary.names

    def as_arrays(self, count: int | None = None) -> dict[str, Any]:
        """Returns the characters from `start` on, or the first `count` of them, as arrays for an .npz file.

        The arrays are `ids`, the place in the text where they begin, and the code point (or byte) of each id; the end
        of a document has the last id, and no code point.
        """
        taken = self.ids[self.start : None if count is None else self.start + count]
        return {"ids": taken, "from": self.start, "code_points": self.loaded.vocabulary.code_points}


def ids_of(text: str, vocabulary: Vocabulary, unknown: UnknownPolicy = "error") -> Ids:
    """Returns the ids of a text, of documents with marks; in byte mode it must have one character for each byte."""
    import numpy as np

    from charrnn.text.encoding import encode_cut

    if vocabulary.has_end:
        return encode_cut(text, vocabulary, unknown)
    if vocabulary.kind == "bytes":
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return vocabulary.encode(text, unknown)


def fitting(
    sources: Sequence[Source],
    loaded: Checkpoint,
    length: int | None = None,
    what: str = "the text",
    data: DataConfig | None = None,
) -> DataConfig:
    """Returns how the model reads a text, or its first `length` characters, and says where that is not as its own.

    `data` says how its own was read, where that is not what the run says.
    """
    from charrnn.display.notice import say
    from charrnn.text.cutting import Cutting
    from charrnn.text.decoding import pieces_of
    from charrnn.text.encoding import without_marks
    from charrnn.text.fitting import Look, Reader
    from charrnn.text.traits import CountedLineEnds

    reader = Reader.of(data or loaded.data, loaded.vocabulary, loaded.corpus)

    def look(data: DataConfig) -> Look:
        line_ends, missing, left = CountedLineEnds(), Counter[str](), length
        for piece in Cutting(data, sources)(pieces_of(list(sources), data, lambda _place, _done: None)):
            text = piece.text[:left]
            line_ends.see(text.encode())
            missing.update(reader.vocabulary.missing(without_marks(text, reader.vocabulary)))
            if left is not None and (left := left - len(text)) <= 0:
                break
        return Look(missing, line_ends.found())

    data, notes = reader.fitting(look, what)
    for note in notes:
        say(f"note: {note}")
    return data


def read_text(argument: str, loaded: Checkpoint, unknown: UnknownPolicy, length: int, split: SplitName = "all") -> str:
    """Returns the first `length` characters of a text, as the model knows them (byte mode: a character for each byte).

    With `split`, they are the first characters of that part of the text, which is cut as the run cut its corpus. A text
    of documents has the marks of their ends.
    """
    from charrnn.cli.texts import find
    from charrnn.text.cutting import Cutting
    from charrnn.text.decoding import read_beginning
    from charrnn.text.encoding import decode_cut, encode_cut
    from charrnn.text.sources import release

    if split != "all":
        read = read_part(argument, loaded, split, length)
    else:
        texts = find([argument], glob=None, report=lambda _doing, _done, _total: None, config=loaded.data)
        try:
            data = fitting(texts.sources, loaded, length)
            read = read_beginning(texts.sources, data, length, Cutting(data, texts.sources))
        finally:
            release(texts.sources)
    if loaded.vocabulary.kind == "bytes":
        return read
    if loaded.vocabulary.has_end:
        return decode_cut(encode_cut(read, loaded.vocabulary, unknown), loaded.vocabulary)
    return loaded.vocabulary.decode(loaded.vocabulary.encode(read, unknown))


def read_part(argument: str, loaded: Checkpoint, split: SplitName, length: int | None = None) -> str:
    """Returns a part of a text, or its first `length` characters, of documents with the marks of their ends. Raises
    TextError where the run has no such part."""
    from charrnn.checkpoints.lineage import parts_as
    from charrnn.cli.texts import check_split, find, load_for
    from charrnn.display.progress import WorkDisplay
    from charrnn.text.encoding import decode_cut

    check_split(split, loaded)
    with WorkDisplay() as work:
        texts = find([argument], glob=None, report=work, config=loaded.data)
    corpus = load_for(texts, loaded)
    if split == "all":
        ids = corpus.ids[:length]
    else:
        ids = parts_as(loaded, corpus).part(split)[:length]
    if corpus.vocabulary.has_end:
        return decode_cut(ids, corpus.vocabulary)
    if corpus.vocabulary.kind == "bytes":
        return bytes(ids).decode("latin-1")
    return corpus.vocabulary.decode(ids)


def read_prime(argument: str, loaded: Checkpoint, unknown: UnknownPolicy) -> Ids:
    """Returns the ids of a file: of its bytes as they are, or of its text by the rules of the run."""
    from charrnn.text.decoding import encoded
    from charrnn.text.sources import release

    found = _found("--prime-file", argument)
    try:
        data = fitting(found, loaded, what="the text of --prime-file", data=_uncut(loaded.data))
        return encoded(found, data, loaded.vocabulary, unknown)
    finally:
        release(found)


def read_prime_lines(argument: str, loaded: Checkpoint, unknown: UnknownPolicy) -> list[Ids]:
    """Returns the ids of each line of a file, without its line end.

    Raises TextError, which names the line, for one that the model cannot read.
    """
    from charrnn.text.decoding import pieces_of
    from charrnn.text.sources import release

    found = _found("--prime-lines", argument)
    try:
        lined = replace(_uncut(loaded.data), newlines="lf")
        data = fitting(found, loaded, what="the text of --prime-lines", data=lined)
        text = "".join(piece.text for piece in pieces_of(found, data, lambda _place, _done: None))
    finally:
        release(found)
    lines = text.removesuffix("\n").split("\n")
    if not text:
        raise TextError(f"--prime-lines {argument} is empty", "give a file with a text to go on from in each line")
    primes = []
    for number, line in enumerate(lines, 1):
        try:
            primes.append(ids_of(line, loaded.vocabulary, unknown))
        except TextError as error:
            raise TextError(f"line {number:,} of {argument}: {error.message}", *error.hints) from error
    return primes


def _uncut(data: DataConfig) -> DataConfig:
    """Returns how a text is read that goes on, and is no set of documents."""
    return replace(data, documents="none", column=None)


def _found(option: str, argument: str) -> list[Source]:
    """Returns the source of a file that an option names. Raises TextError for a run, a folder, or nothing."""
    import os

    from charrnn.cli.texts import refuse_runs
    from charrnn.text.sources import find

    refuse_runs([argument])
    if os.path.isdir(argument):
        raise TextError(f"{option} {argument} is a folder", "name a file")
    found, _ = find(argument)
    return found
