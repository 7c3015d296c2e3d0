"""The text that a command is given, as the model reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from charrnn.errors import TextError
from charrnn.settings.choices import UnknownPolicy

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.text.vocabulary import Ids, Vocabulary

_SHORTEST = 200
Part: TypeAlias = Literal["all", "train", "validation", "test"]


def check_length(characters: int, purpose: str, much: int) -> None:
    """Raises TextError where so few characters say nothing; `much` is how many say something."""
    if characters < _SHORTEST:
        raise TextError(
            f"the text has {characters:,} characters, too few {purpose}", f"give {_SHORTEST} or more; {much:,} say much"
        )


@dataclass(frozen=True, eq=False)
class Reading:
    """A model, and what it is given to read: its characters, an id for each, and where what is asked about begins."""

    loaded: Checkpoint
    path: Path
    """Of the checkpoint."""
    engine: Any
    text: str
    ids: Any
    start: int

    @property
    def characters(self) -> int:
        """How many are asked about."""
        return len(self.ids) - self.start

    def as_arrays(self, count: int | None = None) -> dict[str, Any]:
        """What is asked about, or the first `count` of it, for a file of arrays.

        `ids`, where in the text they begin, and the code point (or byte) of each id.
        """
        taken = self.ids[self.start : None if count is None else self.start + count]
        return {"ids": taken, "from": self.start, "code_points": self.loaded.vocabulary.code_points}

    def heading(self, said: str) -> str:
        """What a page of it is called."""
        return heading(self.path, said)


def heading(path: Path, said: str) -> str:
    """What a page about a checkpoint is called: by its run, and what it says."""
    return f"{path.resolve().parent.name}: {said}"


def ids_of(text: str, vocabulary: Vocabulary, unknown: UnknownPolicy = "error") -> Any:
    """The ids of a text; in byte mode of one that has a character for each byte."""
    import numpy as np

    if vocabulary.kind == "bytes":
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return vocabulary.encode(text, unknown)


def read_text(argument: str, loaded: Checkpoint, unknown: UnknownPolicy, length: int, split: Part = "all") -> str:
    """The first `length` characters of the text, as the model knows them (byte mode: one character for each byte).

    With `split` those of a part of it, cut as the run cut its corpus.
    """
    from charrnn.cli.texts import find
    from charrnn.text.decoding import read_beginning
    from charrnn.text.sources import release

    if split != "all":
        beginning = read_part(argument, loaded, split, length)
    else:
        texts = find([argument], glob=None, report=lambda _doing, _done, _total: None, config=loaded.data)
        try:
            beginning = read_beginning(texts.sources, loaded.data, length)
        finally:
            release(texts.sources)
    if loaded.vocabulary.kind == "bytes":
        return beginning
    return loaded.vocabulary.decode(loaded.vocabulary.encode(beginning, unknown).tolist())


def read_part(argument: str, loaded: Checkpoint, split: Part, length: int | None = None) -> str:
    """A part of the text, or its first `length` characters. Raises TextError where the run cut no such part off."""
    from contextlib import closing

    from charrnn.cli.texts import check_split, find, load
    from charrnn.display.progress import WorkDisplay

    check_split(split, loaded)
    with closing(WorkDisplay()) as work:
        texts = find([argument], glob=None, report=work, config=loaded.data)
    corpus = load(texts, loaded.data)
    ids = getattr(corpus.split(loaded.data), split)[:length]
    if corpus.vocabulary.kind == "bytes":
        return bytes(ids).decode("latin-1")
    return corpus.vocabulary.decode(ids.tolist())


def read_prime(argument: str, loaded: Checkpoint, unknown: UnknownPolicy) -> Ids:
    """The file in the model's ids: its bytes as they are, or its text in UTF-8 with line ends as in training."""
    import os

    import numpy as np

    from charrnn.errors import TextError
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
    if loaded.data.as_bytes:
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return loaded.vocabulary.encode(text, unknown)
