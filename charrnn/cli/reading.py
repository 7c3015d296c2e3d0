"""The text that a command is given, as the model reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import own_labels
from charrnn.cli.view import Given
from charrnn.errors import TextError, UsageError
from charrnn.settings.choices import SplitName, UnknownPolicy

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.neurons.labels import Label
    from charrnn.neurons.record import Report, Unit
    from charrnn.text.vocabulary import Ids, Vocabulary

_SHORTEST = 200


@dataclass(frozen=True, eq=False)
class Subject:
    """What `inspect` looks at: a model, and a text that is read when it is first asked for."""

    loaded: Checkpoint
    path: Path
    """Of the checkpoint."""
    argument: str
    """Names the text."""
    start: int = 0
    """Where what is asked about begins; the model reads all before it too."""
    length: int | None = None
    """Characters to read from there on; None: all."""
    split: SplitName = "all"
    unknown: UnknownPolicy = "error"
    report: Report = lambda _doing, _done, _total: None
    """Is told how far long work is."""

    @cached_property
    def engine(self) -> Any:
        """The model that reads."""
        from charrnn.inference.make_engine import make_engine

        return make_engine(self.loaded.model, self.loaded.parameters)

    @cached_property
    def novice(self) -> Any:
        """A model of the same shape with weights of chance, for comparison."""
        from charrnn.inference.make_engine import make_engine
        from charrnn.neurons.find import untrained_arrays

        return make_engine(self.loaded.model, untrained_arrays(self.loaded.model, len(self.loaded.vocabulary)))

    @cached_property
    def text(self) -> str:
        """All that is read, in byte mode one character for each byte. Raises TextError where there is nothing."""
        assert self.length is not None
        read = self.first(self.start + self.length)
        if not read:
            raise TextError(f"there is nothing to read in {self.argument}", "give a text of characters the model knows")
        self.check_start(len(read))
        return read

    def first(self, characters: int) -> str:
        """Returns so many characters from the text's beginning, or fewer where it is shorter."""
        return read_text(self.argument, self.loaded, self.unknown, characters, self.split)

    def check_start(self, characters: int) -> None:
        """Raises UsageError where a text of so many characters ends before what is asked about begins."""
        if characters <= self.start:
            raise UsageError(f"--from is {self.start:,}, but the text has {characters:,} characters", "start earlier")

    @cached_property
    def ids(self) -> Any:
        """An id for each character of the text."""
        return ids_of(self.text, self.loaded.vocabulary)

    @property
    def characters(self) -> int:
        """How many characters are asked about."""
        return len(self.ids) - self.start

    def check_length(self, purpose: str, much: int) -> None:
        """Raises TextError where so few characters say nothing; `much` is how many say something."""
        if self.characters < _SHORTEST:
            raise TextError(
                f"the text has {self.characters:,} characters, too few {purpose}",
                f"give {_SHORTEST} or more; {much:,} say much",
            )

    def labels(self, asked: Given, purpose: str, much: int) -> list[Label]:
        """Returns the library's labels of the text and the user's own; see `check_length`."""
        from charrnn.neurons.labels import labels_of

        own = own_labels(asked)
        self.check_length(purpose, much)
        return labels_of(self.text, own)

    def units(self, names: list[str] | None) -> list[Unit]:
        """Returns the units of these names, each once. Raises UsageError where the model has no such unit."""
        from charrnn.neurons.record import parse_unit

        return list(dict.fromkeys(parse_unit(name, self.loaded.model) for name in names or []))

    @cached_property
    def names_of_ids(self) -> list[str]:
        """The vocabulary's characters by id; in byte mode one for each byte."""
        return list(self.loaded.vocabulary.characters)

    def as_arrays(self, count: int | None = None) -> dict[str, Any]:
        """Returns what is asked about, or the first `count` of it, for a file of arrays.

        That is `ids`, where in the text they begin, and the code point (or byte) of each id.
        """
        taken = self.ids[self.start : None if count is None else self.start + count]
        return {"ids": taken, "from": self.start, "code_points": self.loaded.vocabulary.code_points}


def ids_of(text: str, vocabulary: Vocabulary, unknown: UnknownPolicy = "error") -> Ids:
    """Returns the ids of a text; in byte mode of one that has a character for each byte."""
    import numpy as np

    if vocabulary.kind == "bytes":
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return vocabulary.encode(text, unknown)


def read_text(argument: str, loaded: Checkpoint, unknown: UnknownPolicy, length: int, split: SplitName = "all") -> str:
    """Returns the first `length` characters of a text, as the model knows them (byte mode: a character for each byte).

    With `split` those of a part of it, cut as the run cut its corpus.
    """
    from charrnn.cli.texts import find
    from charrnn.text.decoding import read_beginning
    from charrnn.text.sources import release

    if split != "all":
        read = read_part(argument, loaded, split, length)
    else:
        texts = find([argument], glob=None, report=lambda _doing, _done, _total: None, config=loaded.data)
        try:
            read = read_beginning(texts.sources, loaded.data, length)
        finally:
            release(texts.sources)
    if loaded.vocabulary.kind == "bytes":
        return read
    return loaded.vocabulary.decode(loaded.vocabulary.encode(read, unknown).tolist())


def read_part(argument: str, loaded: Checkpoint, split: SplitName, length: int | None = None) -> str:
    """Returns a part of a text, or its first `length` characters. Raises TextError where the run cut none off."""
    from charrnn.cli.texts import check_split, find, load
    from charrnn.display.progress import WorkDisplay

    check_split(split, loaded)
    with WorkDisplay() as work:
        texts = find([argument], glob=None, report=work, config=loaded.data)
    corpus = load(texts, loaded.data)
    ids = getattr(corpus.split(loaded.data), split)[:length]
    if corpus.vocabulary.kind == "bytes":
        return bytes(ids).decode("latin-1")
    return corpus.vocabulary.decode(ids.tolist())


def read_prime(argument: str, loaded: Checkpoint, unknown: UnknownPolicy) -> Ids:
    """Returns a file in the model's ids: its bytes as they are, or its UTF-8 with line ends as in training."""
    import os

    from charrnn.settings.config import DataConfig
    from charrnn.text.decoding import read_text
    from charrnn.text.sources import find, release

    if os.path.isdir(argument):
        raise TextError(f"--prime-file {argument} is a folder", "name a file")
    found, _ = find(argument)
    try:
        text = read_text(found[0], DataConfig(as_bytes=loaded.data.as_bytes, newlines=loaded.data.newlines))
    finally:
        release(found)
    return ids_of(text, loaded.vocabulary, unknown)
