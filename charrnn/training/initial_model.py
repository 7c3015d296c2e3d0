"""The trained model that a run begins from (--init-from): its settings, its characters, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import find_checkpoint
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig
from charrnn.settings.fields import settings_of
from charrnn.text.corpus import Corpus
from charrnn.text.stored import TextIds, pieces
from charrnn.text.union import listed, places
from charrnn.wording import count

_PIECE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialModel:
    """A checkpoint whose weights a run begins with."""

    checkpoint: Checkpoint
    sha256: str
    """The digest of its file."""

    @property
    def record(self) -> dict[str, Any]:
        """Returns what the run's own checkpoints keep of it, which is no path."""
        corpus, progress = self.checkpoint.corpus, self.checkpoint.progress
        return {
            "sha256": self.sha256, "corpus": corpus["name"], "step": progress["step"],
            "characters": progress["characters"],
        }  # fmt: skip

    def settings(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings of the model, with those that were asked for and may differ.

        Dropout is left open where nobody asks for it: how much of it is good depends on the text. Raises UsageError
        where what is asked for does not fit the weights.
        """
        own = self.checkpoint.model.to_dict()
        declared = settings_of(ModelConfig)
        other = [
            f"{declared[name].flag} is {value}, and the model has {own[name]}: {declared[name].fixed}"
            for name, value in asked.items()
            if declared[name].fixed and value != own[name]
        ]
        if other:
            flags = ", ".join(declared[name].flag for name in asked if declared[name].fixed)
            raise UsageError(
                f"--init-from names a model that does not go with {'; '.join(other)}",
                f"leave {flags} out, or begin without --init-from",
            )
        return {**{name: value for name, value in own.items() if name != "dropout"}, **asked}

    def notices(self, corpus: Corpus) -> list[str]:
        """Returns what is to be known of the two vocabularies: what was added, and what the text never uses."""
        before, now = self.checkpoint.vocabulary, corpus.vocabulary
        said = [
            f"the weights begin as those of a model of {self.checkpoint.corpus['name']}, "
            f"step {self.checkpoint.progress['step']:,}"
        ]
        if now.kind == "bytes":
            return said
        new = np.flatnonzero(places(before, now) < 0)
        unused = np.flatnonzero(occurrences(corpus.ids, len(now)) == 0)
        if len(new):
            said.append(f"added {count(len(new), 'character')}: {listed(now, new.tolist())}")
        if len(unused):
            said.append(
                f"the text never uses {count(len(unused), 'character')} of the model, which it can still write: "
                f"{listed(now, unused.tolist())}"
            )
        return said


def occurrences(ids: TextIds, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns how often each of `size` ids occurs (V,)."""
    total = np.zeros(size, np.int64)
    for some in pieces(ids, _PIECE):
        total += np.bincount(some, minlength=size)
    return total


def read_initial(path: Path) -> InitialModel:
    """Reads the model of a checkpoint file or a run's folder. Raises CheckpointError where there is none, and
    UsageError for an ensemble."""
    found = find_checkpoint(path)
    sha256, loaded = checkpoints.fingerprint(found), checkpoints.load(found)
    if loaded.members > 1:
        raise UsageError(
            f"--init-from names {path}, which is an ensemble of {loaded.members} members, and a run begins with the "
            "weights of one model",
            "name one of them, such as member-1.safetensors in that run's folder",
        )
    return InitialModel(checkpoint=loaded, sha256=sha256)
