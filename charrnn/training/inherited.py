"""What a run takes over before its text is read: from the model that it begins from, or from itself where it goes on.

The text is encoded with the characters that are known already beside its own, and read as those were read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from charrnn.checkpoints.checkpoint import fingerprint, read_metadata
from charrnn.checkpoints.config_file import settings_in
from charrnn.checkpoints.folder import RUNS, Run, find_checkpoint
from charrnn.checkpoints.lineage import begun_from
from charrnn.errors import CheckpointError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.settings.fields import settings_of
from charrnn.settings.launch import Launch
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.initial_model import InitialModel, read_initial

_OF_CHARACTERS = ("as_bytes", "newlines", "normalize", "lowercase")
_OF_DOCUMENTS = ("documents", "column")
"""The settings that say what a character and a document are: those of the model hold for another text, too."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What is known before the text is read."""

    initial: InitialModel | None = None
    """The model that a run which begins takes its weights from."""
    vocabulary: Vocabulary | None = None
    """The characters that its model knows."""
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
    if launch.init_from is None:
        return Inherited()
    initial = read_initial(launch.init_from)
    loaded = initial.checkpoint
    _check_bytes(loaded.data, asked)
    return Inherited(initial, loaded.vocabulary, _kept(asdict(loaded.data), asked))


def _kept(data: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a model's text that hold for another; how that is cut is given as a whole or not."""
    cut = () if any(name in asked for name in _OF_DOCUMENTS) else _OF_DOCUMENTS
    return {name: data[name] for name in (*_OF_CHARACTERS, *cut)}


def _of_itself(launch: Launch, run: Run, asked: Mapping[str, Any]) -> Inherited:
    try:
        metadata = read_metadata(run.last)
    except CheckpointError:  # whoever resumes the run says what is wrong
        return Inherited()
    described, sha256 = metadata["vocabulary"], begun_from(metadata["lineage"])
    if launch.init_from is not None:
        _check_same(launch.init_from, sha256, run)
    data = {} if sha256 is None else _kept(metadata["data"], asked)
    has_end, has_symbol = described["has_end"], described["has_unknown_symbol"]
    vocabulary = Vocabulary(described["code_points"], described["kind"], has_end=has_end, has_unknown_symbol=has_symbol)
    return Inherited(None, vocabulary, data)


def _check_same(path: Path, sha256: str | None, run: Run) -> None:
    """Raises UsageError unless a run began from the model that is named."""
    ways = ("choose another --out, or start over with --fresh", "or leave --init-from out to go on")
    if sha256 is None:
        raise UsageError(f"the run in {run.folder} did not begin from a model, and --init-from is {path}", *ways)
    recorded = settings_in(run.config).get("init-from")
    if recorded in (os.path.abspath(path), os.path.abspath(RUNS / path)):  # it may have learned more since, or be gone
        return
    if fingerprint(find_checkpoint(path)) != sha256:
        raise UsageError(f"the run in {run.folder} began from another model, and --init-from is {path}", *ways)


def lasting(path: Path) -> str:
    """Returns the whole path of what --init-from names, which may be a run under checkpoints/ by its name."""
    return os.path.abspath(path if os.path.lexists(path) else RUNS / path)


def _check_bytes(data: DataConfig, asked: Mapping[str, Any]) -> None:
    """Raises UsageError where a model of characters is to read bytes, or the other way round."""
    if asked.get("as_bytes", data.as_bytes) == data.as_bytes:
        return
    flag = settings_of(DataConfig)["as_bytes"].flag
    given, known = ("bytes", "characters") if not data.as_bytes else ("characters", "bytes")
    said = flag if given == "bytes" else f"--no-{flag.removeprefix('--')}"
    raise UsageError(
        f"{said} is given, and the model that --init-from names knows {known}, not {given}",
        f"leave {said} out, or begin without --init-from",
    )
