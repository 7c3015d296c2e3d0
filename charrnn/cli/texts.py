"""From the words on the command line to a corpus, with a bar where it takes long."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checkpoints.folder import RUNS
from charrnn.checkpoints.runs import run_named, runs_in
from charrnn.cli.usage import nearest
from charrnn.display.notice import say
from charrnn.display.progress import WorkDisplay
from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import catalogue, corpus, finding, sources
from charrnn.text.corpus import Corpus
from charrnn.text.finding import Texts
from charrnn.text.fitting import Look, Reader
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint


def find(
    arguments: Sequence[str],
    *,
    glob: str | None,
    report: Callable[[str, int, int], None],
    config: DataConfig | None = None,
) -> Texts:
    """Finds the files that `arguments` name, as `finding.find` does.

    Raises TextError for an argument that names a run, and for one that names nothing, with what it may be meant for.
    """
    if glob is None:
        refuse_runs(arguments)
    for argument in arguments:
        if argument not in ("", "-") and not sources.is_there(argument) and not catalogue.is_known(argument):
            raise TextError(f"there is no file or folder {argument}", *_meant(argument))
    return finding.find(arguments, glob=glob, report=report, config=config)


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


def _meant(argument: str) -> Sequence[str]:
    """Returns the hints for a name of nothing: what it is most like, and where names are listed."""
    near = nearest(argument, [*catalogue.names(), *_beside(argument)])
    if os.path.isdir(RUNS / argument):
        near = str(RUNS / argument)
    listing = "charrnn train --help lists the corpora known by name"
    return [f"did you mean {near}?" if near else "check the spelling, or name a corpus", listing]


def refuse_runs(arguments: Sequence[str]) -> None:
    """Raises TextError for the first argument that names a run, runs or a checkpoint instead of a text."""
    for argument in arguments:
        path = Path(argument)
        if (what := run_named(path)) is not None:
            raise TextError(f"{argument} is {what}, not a text", "name a text", f"-c {argument} names the model")
        if argument not in ("", "-") and runs_in(path):
            raise TextError(f"{argument} is a folder of runs, not a text", "name a text")


def load(
    texts: Texts,
    config: DataConfig,
    validation: Sequence[Source] = (),
    known: Vocabulary | None = None,
    *,
    quiet: bool = False,
    work: WorkDisplay | None = None,
    note: Callable[[str], object] = lambda said: say(f"note: {said}"),
) -> Corpus:
    """Encodes texts as a corpus, with a bar where it takes long (`work`), and removes their temporary files.

    The vocabulary has the characters that are `known` beside those of the text. `note` shows a notice.
    """
    try:
        with work or WorkDisplay(quiet=quiet) as bar:
            found, name = texts.sources, texts.name
            return corpus.load(
                found, config, name=name, validation_sources=validation, known=known, report=bar, note=note
            )
    finally:
        sources.release([*texts.sources, *validation])


def load_for(texts: Texts, loaded: Checkpoint, data: DataConfig | None = None) -> Corpus:
    """Encodes texts as a model reads them (by `data` instead of its run's own rules where that is given), with a bar
    where it takes long, says where they are read otherwise than the model's own, and removes their temporary files.

    What is small is not kept in the cache.
    """
    reader = Reader.of(data or loaded.data, loaded.vocabulary, loaded.corpus)
    read: dict[DataConfig, Corpus] = {}

    def look(data: DataConfig) -> Look:
        with WorkDisplay() as bar:
            read[data] = corpus.load(
                texts.sources,
                data,
                name=texts.name,
                report=bar,
                note=lambda said: say(f"note: {said}"),
                in_passing=True,
            )
        return Look(read[data].missing(reader.vocabulary), read[data].traits.line_ends)

    try:
        chosen, notes = reader.fitting(look)
        if chosen not in read:
            look(chosen)
    finally:
        sources.release(texts.sources)
    for note in notes:
        say(f"note: {note}")
    return read[chosen]


def check_split(split: str, loaded: Checkpoint) -> None:
    """Raises TextError where the run cut no such part off its corpus."""
    shares = {"validation": loaded.data.validation_fraction, "test": loaded.data.test_fraction}
    if shares.get(split) == 0:
        raise TextError(
            f"--split is {split}, but the run cut no {split} part off its corpus",
            f"name the {split} text itself, without --split",
        )
