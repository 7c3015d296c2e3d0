"""The text that a run was trained on, found again by the config.json beside its checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError, TextError

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.text.corpus import Corpus

_NAME_IT = "name the text itself: charrnn eval TEXT ..."


def own_text(path: Path, loaded: Checkpoint) -> Corpus:
    """Returns the corpus of the run whose checkpoint lies at `path`.

    Raises TextError where nothing says where it lies, where it is not there any more, and where it has changed.
    """
    from charrnn.checkpoints.config_file import read_origin
    from charrnn.checkpoints.folder import CONFIG
    from charrnn.cli import texts
    from charrnn.display.progress import WorkDisplay

    origin = read_origin(path.with_name(CONFIG))
    if origin is None:
        raise TextError(f"nothing beside {path} says on which text the run was trained", _NAME_IT)
    if "-" in origin.texts:
        raise TextError("the run's text came on standard input, and is not kept", _NAME_IT)
    try:
        with WorkDisplay() as bar:
            look = partial(texts.find, glob=origin.glob, report=bar, config=loaded.data)
            found, held_out = look(origin.corpus), look([] if origin.validation is None else [origin.validation])
        corpus = texts.load(found, loaded.data, held_out.sources)
    except TextError as error:
        raise TextError(f"the run's text cannot be read again: {error.message}", _NAME_IT) from error
    if corpus.sha256 != loaded.corpus["sha256"]:
        raise TextError(f"the text in {', '.join(origin.corpus)} is not what the run was trained on any more", _NAME_IT)
    return corpus


def own_text_if_there(path: Path, loaded: Checkpoint) -> Corpus | None:
    """Returns the corpus of the run, or None where it cannot be had."""
    try:
        return own_text(path, loaded)
    except CharrnnError:
        return None
