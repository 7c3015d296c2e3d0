"""From the words on the command line to a corpus, with a bar where it takes long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charrnn.display.progress import WorkDisplay
from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus, sources
from charrnn.text.corpus import Corpus
from charrnn.text.finding import Texts, find
from charrnn.text.sources import Source

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint

__all__ = ["Texts", "check_split", "find", "load"]


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
