"""From the words on the command line to a corpus: files, folders, standard input, names of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoints.runs import is_checkpoint, is_run
from charrnn.cli.usage import nearest
from charrnn.display.progress import WorkDisplay
from charrnn.errors import TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import catalogue, corpus, sources
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Texts:
    """The files that were named, and what goes with them."""

    sources: list[Source]
    name: str
    notices: list[str]
    customary: dict[str, Any]
    """Data settings that are customary for a corpus of the catalogue."""


def find(
    arguments: Sequence[str],
    *,
    glob: str | None,
    report: Callable[[str, int, int], None],
    config: DataConfig | None = None,
) -> Texts:
    """Finds the files that `arguments` name, in their order. A path that exists wins over a name.

    `config` tells what counts as text in a folder: the encoding, or bytes of any kind.
    """
    if arguments.count("-") > 1:
        raise UsageError("standard input (-) is named twice", "it can be read only once")
    if glob is None:
        refuse_runs(arguments)
    found: list[Source] = []
    notices: list[str] = []
    customary: dict[str, Any] = {}
    names: list[str] = []
    for argument in arguments:
        known = None if argument == "-" or os.path.lexists(argument) else catalogue.find(argument, report)
        if known is not None:
            found += known
            entry = catalogue.entries().get(argument)
            if entry is not None and len(arguments) == 1:
                customary = {
                    "validation_fraction": entry.validation_fraction,
                    "test_fraction": entry.test_fraction,
                    "as_bytes": entry.as_bytes,
                }
        else:
            if argument not in ("", "-") and not os.path.lexists(argument):
                raise TextError(f"there is no file or folder {argument}", _meant(argument))
            more, said = sources.find(argument, glob, config)
            found += more
            notices += said
        names.append(sources.title(argument))
    return Texts(found, "+".join(names[:3]) + ("+..." if len(names) > 3 else ""), notices, customary)


def complete(incomplete: str) -> list[str]:
    """Returns the corpora known by name and the files whose name begins so, for a shell's completion."""
    folder, _ = os.path.split(incomplete)
    names = [*([] if folder else catalogue.names()), *_beside(incomplete)]
    return [name for name in names if name.startswith(incomplete)]


def _beside(argument: str) -> list[str]:
    """Returns the files and folders of the folder in which an argument would lie, as they would be typed."""
    folder, _ = os.path.split(argument)
    try:
        with os.scandir(folder or ".") as entries:
            return sorted(os.path.join(folder, entry.name) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


def _meant(argument: str) -> str:
    """Returns the hint for a name of nothing: what it is most like, or where names are listed."""
    near = nearest(argument, [*catalogue.names(), *_beside(argument)])
    listing = "charrnn train --help lists the corpora known by name"
    return f"did you mean {near}? {listing}" if near else f"check the spelling, or name a corpus: {listing}"


def refuse_runs(arguments: Sequence[str]) -> None:
    """Raises TextError for the first argument that names a run or a checkpoint instead of a text."""
    for argument in arguments:
        what = "a run" if is_run(Path(argument)) else "a checkpoint" if is_checkpoint(Path(argument)) else None
        if what is not None:
            raise TextError(f"{argument} is {what}, not a text", f"-c {argument} names the model; name a text as well")


def load(texts: Texts, config: DataConfig, validation: Sequence[Source] = (), *, quiet: bool = False) -> Corpus:
    """Encodes texts as a corpus, with a bar where it takes long, and removes their temporary files."""
    try:
        with WorkDisplay(quiet=quiet) as bar:
            return corpus.load(texts.sources, config, name=texts.name, validation_sources=validation, report=bar)
    finally:
        sources.release([*texts.sources, *validation])


def check_split(split: str, loaded: Checkpoint) -> None:
    """Raises TextError where the run cut no such part off its corpus."""
    shares = {"validation": loaded.data.validation_fraction, "test": loaded.data.test_fraction}
    if shares.get(split) == 0:
        raise TextError(
            f"--split is {split}, but the run cut no {split} part off its corpus",
            f"name the {split} text itself, without --split",
        )
