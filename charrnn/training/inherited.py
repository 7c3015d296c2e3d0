"""What a run takes over before its text is read: from models that it begins or learns from, or from itself.

The text is encoded with the characters that are known already beside its own, and read as those were read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from charrnn.checkpoints.checkpoint import fingerprint, read_metadata
from charrnn.checkpoints.config_file import settings_in
from charrnn.checkpoints.folder import RUNS, Run, find_checkpoint
from charrnn.checkpoints.lineage import begun_from, taught_by
from charrnn.errors import CheckpointError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.settings.fields import settings_of
from charrnn.settings.launch import Launch
from charrnn.text.union import union
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.initial_model import InitialModel, read_initial
from charrnn.training.teacher_model import NamedTeacher, read_teacher

_OF_CHARACTERS = ("as_bytes", "newlines", "normalize", "lowercase")
_OF_DOCUMENTS = ("documents", "column")
"""The settings that say what a character and a document are: those of the model hold for another text, too."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What is known before the text is read."""

    initial: InitialModel | None = None
    """The model that a run which begins takes its weights from."""
    teacher: NamedTeacher | None = None
    """The models that a run which begins learns from."""
    vocabulary: Vocabulary | None = None
    """The characters that its model knows, or its teacher."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Settings of how a text is read."""


def inherited(launch: Launch, run: Run, asked: Mapping[str, Any]) -> Inherited:
    """Returns what the run in its folder takes over; `asked` are the settings of the text that the user gives.

    A run that goes on has all it needs: the model that it began from is not read again, and may be gone. Raises
    UsageError where another model is named than it began from, or settings of the text do not go with the model, and
    CheckpointError where that cannot be read.
    """
    if not launch.fresh and os.path.exists(run.last):
        return _of_itself(launch, run, asked)
    initial = None if launch.init_from is None else read_initial(launch.init_from)
    teacher = None if launch.distill_from is None else read_teacher(launch.distill_from)
    known = {
        option: named.checkpoint
        for option, named in (("--init-from", initial), ("--distill-from", teacher))
        if named is not None
    }
    for option, loaded in known.items():
        _check_bytes(loaded.data, asked, option)
    if not known:
        return Inherited()
    kept = [_kept(asdict(loaded.data), asked) for loaded in known.values()]
    _check_alike(kept)
    vocabularies = [loaded.vocabulary for loaded in known.values()]
    return Inherited(initial, teacher, reduce(union, vocabularies), kept[0])


def _check_alike(kept: list[dict[str, Any]]) -> None:
    """Raises UsageError where the model that a run begins with and its teacher read texts in different ways."""
    for name, value in kept[0].items():
        if (other := kept[-1][name]) != value:
            flag = settings_of(DataConfig)[name].flag
            raise UsageError(
                f"the model that --init-from names was trained with {flag} {value}, and the one that --distill-from "
                f"names with {other}",
                "name models that read texts in the same way",
            )


def _kept(data: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a model's text that hold for another; how that is cut is given as a whole or not."""
    cut = () if any(name in asked for name in _OF_DOCUMENTS) else _OF_DOCUMENTS
    return {name: data[name] for name in (*_OF_CHARACTERS, *cut)}


def _of_itself(launch: Launch, run: Run, asked: Mapping[str, Any]) -> Inherited:
    try:
        metadata = read_metadata(run.last)
    except CheckpointError:  # whoever resumes the run says what is wrong
        return Inherited()
    described, lineage = metadata["vocabulary"], metadata["lineage"]
    if launch.init_from is not None:
        _check_same(launch.init_from, begun_from(lineage), run, "--init-from", "did not begin from", "began from")
    if launch.distill_from is not None:
        _check_same(
            launch.distill_from, taught_by(lineage), run, "--distill-from", "does not learn from", "learns from"
        )
    is_own = begun_from(lineage) is None and taught_by(lineage) is None
    data = {} if is_own else _kept(metadata["data"], asked)
    has_end, has_symbol = described["has_end"], described["has_unknown_symbol"]
    vocabulary = Vocabulary(described["code_points"], described["kind"], has_end=has_end, has_unknown_symbol=has_symbol)
    return Inherited(vocabulary=vocabulary, data=data)


def _check_same(path: Path, sha256: str | None, run: Run, option: str, does_not: str, does: str) -> None:
    """Raises UsageError unless the model of this digest, which a run began or learns from, is the one that `option`
    names."""
    ways = ("choose another --out, or start over with --fresh", f"or leave {option} out to go on")
    if sha256 is None:
        raise UsageError(f"the run in {run.folder} {does_not} a model, and {option} is {path}", *ways)
    recorded = settings_in(run.config).get(option.removeprefix("--"))
    if recorded in (os.path.abspath(path), os.path.abspath(RUNS / path)):  # it may have learned more since, or be gone
        return
    if fingerprint(find_checkpoint(path)) != sha256:
        raise UsageError(f"the run in {run.folder} {does} another model, and {option} is {path}", *ways)


def lasting(path: Path) -> str:
    """Returns the whole path of a model that is named, which may be a run under checkpoints/ by its name."""
    return os.path.abspath(path if os.path.lexists(path) else RUNS / path)


def _check_bytes(data: DataConfig, asked: Mapping[str, Any], option: str) -> None:
    """Raises UsageError where a model of characters is to read bytes, or the other way round."""
    if asked.get("as_bytes", data.as_bytes) == data.as_bytes:
        return
    flag = settings_of(DataConfig)["as_bytes"].flag
    given, known = ("bytes", "characters") if not data.as_bytes else ("characters", "bytes")
    said = flag if given == "bytes" else f"--no-{flag.removeprefix('--')}"
    raise UsageError(
        f"{said} is given, and the model that {option} names knows {known}, not {given}",
        f"leave {said} out, or begin without {option}",
    )
