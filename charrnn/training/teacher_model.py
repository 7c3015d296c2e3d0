"""The trained models that a run learns from (--distill-from): read from a checkpoint, and kept in the run's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.cells.members import parted
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.described import TEACHER, TEACHER_PREFIX
from charrnn.checkpoints.folder import find_checkpoint
from charrnn.errors import TextError, UsageError
from charrnn.settings.config import ModelConfig
from charrnn.text.union import listed, places
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherModel:
    """The models whose averaged distributions a run learns from."""

    config: ModelConfig
    members: Sequence[Arrays]
    """The parameters of each."""
    vocabulary: Vocabulary

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Returns the model, or the members of the ensemble, that a checkpoint holds."""
        return cls(
            config=checkpoint.model,
            members=parted(checkpoint.parameters, checkpoint.members),
            vocabulary=checkpoint.vocabulary,
        )

    @classmethod
    def kept_in(cls, last: Checkpoint) -> Self | None:
        """Returns the teacher of the run that a `last` checkpoint is of, if it has one. Raises KeyError, TypeError or
        UsageError where what is kept of it is not whole."""
        kept = last.training.get(TEACHER)
        if kept is None:
            return None
        members = [
            {
                name.removeprefix(prefix): array for name, array in last.state.items() if name.startswith(prefix)
            }
            for prefix in (_prefix(member) for member in range(1, kept["members"] + 1))
        ]  # fmt: skip
        return cls(config=ModelConfig.from_dict(kept["model"]), members=members, vocabulary=last.vocabulary)

    def record(self) -> dict[str, Any]:
        """Returns what `last` says of the arrays that it keeps."""
        return {TEACHER: {"model": self.config.to_dict(), "members": len(self.members)}}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the arrays that `last` keeps, by their names there."""
        return {
            _prefix(member) + name: array
            for member, arrays in enumerate(self.members, start=1)
            for name, array in arrays.items()
        }

    def check_characters(self, vocabulary: Vocabulary) -> None:
        """Raises TextError or UsageError unless the run's text is made of what the teacher knows."""
        if vocabulary == self.vocabulary:
            return
        if vocabulary.has_end != self.vocabulary.has_end:
            whole, cut = "one long text", "documents"
            knows, reads = (cut, whole) if self.vocabulary.has_end else (whole, cut)
            raise UsageError(
                f"the teacher that --distill-from names has learned {knows}, and this run would learn {reads}",
                "leave --documents and --column out, or name another teacher",
            )
        new = np.flatnonzero(places(self.vocabulary, vocabulary) < 0).tolist()
        what = f"{count(len(new), 'character')}: {listed(vocabulary, new)}" if new else "an unknown symbol"
        raise TextError(
            f"the text has what the teacher that --distill-from names does not know, {what}",
            "name a teacher that has learned from a text with all of them",
            "or choose a text without them",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTeacher:
    """A checkpoint that the user names as the teacher of a run which begins."""

    checkpoint: Checkpoint
    sha256: str
    """The digest of its file."""
    model: TeacherModel

    def lineage(self) -> dict[str, Any]:
        """Returns what the run's own checkpoints say of where the teacher comes from, which is no path."""
        corpus, progress = self.checkpoint.corpus, self.checkpoint.progress
        return {
            "sha256": self.sha256, "corpus": corpus["name"], "step": progress["step"],
            "characters": progress["characters"], "members": len(self.model.members),
        }  # fmt: skip

    def notices(self, weight: float) -> Iterator[str]:
        """Says what the teacher is and how much of it is learned."""
        members = len(self.model.members)
        who = "a model" if members == 1 else f"the average of {members} models"
        yield (
            f"the teacher is {who} of {self.checkpoint.corpus['name']}, step {self.checkpoint.progress['step']:,}: its "
            f"distributions have {weight:.0%} of the weight in what is learned, the true characters have the rest"
        )


def read_teacher(path: Path) -> NamedTeacher:
    """Reads the teacher from a checkpoint file or a run's folder. Raises CheckpointError where there is none."""
    found = find_checkpoint(path)
    sha256, loaded = checkpoints.fingerprint(found), checkpoints.load(found)
    return NamedTeacher(checkpoint=loaded, sha256=sha256, model=TeacherModel.of_checkpoint(loaded))


def _prefix(member: int) -> str:
    return f"{TEACHER_PREFIX}{member}."
