"""Saves and loads checkpoints; each is one safetensors file that describes itself.

The file's metadata holds, as JSON, everything but the arrays: kind, configuration, vocabulary, corpus, progress,
environment, and a digest over all of it and the arrays. Files are written durably (`files.py`). On reading, size,
header, metadata, names, shapes and types are checked against the configuration before any array is read, then the
arrays and the digest over them (`stored.py`); whatever is wrong raises one CheckpointError. Pickle is never used.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.cells.members import as_one
from charrnn.cells.registry import describe as describe_cell
from charrnn.checkpoints.described import (
    DIGEST_KEY,
    FORMAT,
    FORMAT_KEY,
    METADATA_KEY,
    MODEL_PREFIX,
    Described,
    Kind,
    describe,
)
from charrnn.checkpoints.lock import check_is_ours
from charrnn.checkpoints.stored import StoredArrays, changed, digest_of, read_arrays
from charrnn.checkpoints.tensorfile import DTYPES, NumpyArray, damaged, open_file
from charrnn.errors import CharrnnError, CheckpointError, ResourceError
from charrnn.files import replace_durably
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.system_errors import Outcome, outcome_of, told
from charrnn.text.vocabulary import Vocabulary
from charrnn.version import __version__


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The contents of a checkpoint file. `last` holds all that a resume needs, `best` and `step` weights only."""

    kind: Kind
    model: ModelConfig
    vocabulary: Vocabulary
    data: DataConfig
    corpus: dict[str, Any]
    """Name, characters, bytes and sha256 of the text that the model was trained on."""
    progress: dict[str, Any]
    """Step, characters seen, losses and the history of validations."""
    parameters: Mapping[str, NumpyArray]
    """The model's arrays under the names of `cells/parameters.py`, of an ensemble under those of `cells/members.py`."""
    members: int = 1
    """How many models of the configuration `model` the arrays are of; an ensemble is of several."""
    training: dict[str, Any] = field(default_factory=dict)
    """Every setting and counter of the run, in a `last` checkpoint; `training/trainer.py` reads it."""
    state: Mapping[str, NumpyArray] = field(default_factory=dict)
    """The optimizer's arrays, the carried state and the random generators' states, in a `last` checkpoint."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The library versions, device and threads that a bit-exact resume depends on."""
    lineage: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from, if not from the seed alone; `lineage.py` reads it."""

    @property
    def of_units(self) -> ModelConfig:
        """The configuration by which units are named: a layer of an ensemble has the units of all members."""
        return as_one(self.model, self.members)

    @property
    def shape_in_words(self) -> str:
        """The cell and the size of the model, such as "lstm 2 x 256", and how many of them there are, if several."""
        model = self.model
        members = f"{self.members} members of " if self.members > 1 else ""
        return f"{members}{describe_cell(model)} {model.num_layers} x {model.hidden_size}"

    def metadata(self) -> dict[str, Any]:
        """Returns everything but the arrays, ready for JSON."""
        return {
            "version": __version__,
            "kind": self.kind,
            "model": self.model.to_dict(),
            "members": self.members,
            "vocabulary": {
                "kind": self.vocabulary.kind,
                "code_points": self.vocabulary.code_points.tolist(),
                "has_end": self.vocabulary.has_end,
                "has_unknown_symbol": self.vocabulary.unknown_symbol is not None,
            },
            "data": self.data.to_dict(),
            "corpus": self.corpus,
            "progress": self.progress,
            "training": self.training,
            "environment": self.environment,
            "lineage": self.lineage,
        }


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path` durably, replacing any old file. Raises ResourceError or UsageError on failure."""
    from safetensors.numpy import save_file

    arrays = {MODEL_PREFIX + name: array for name, array in checkpoint.parameters.items()}
    arrays.update(checkpoint.state)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(checkpoint.metadata(), separators=(",", ":"), allow_nan=False)
    metadata = {
        "format": "pt",
        FORMAT_KEY: str(FORMAT),
        METADATA_KEY: text,
        DIGEST_KEY: digest_of(text, contiguous),
    }
    check_is_ours(path.parent)
    replace_durably(path, lambda temporary: _save_file(save_file, contiguous, temporary, metadata), follows_links=False)


def _save_file(save_file: Any, arrays: dict[str, NumpyArray], path: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError

    try:
        save_file(arrays, path, metadata)
    except SafetensorError as error:
        raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    """Returns the OSError behind a failed write, which safetensors reports as a text that ends with its number."""
    text = str(error)
    _, _, number = text.rpartition("os error ")
    digits = number.split(")")[0]
    return OSError(int(digits), os.strerror(int(digits))) if digits.isdigit() else OSError(text)


def load(path: Path, *, with_state: bool = False) -> Checkpoint:
    """Reads a checkpoint; `with_state` also reads what a `last` checkpoint holds beyond the weights.

    Raises CheckpointError where the file is missing, not a checkpoint of this program, of another format, or damaged.
    """
    with _explained(path):
        return _load(path, with_state)


def read_metadata(path: Path) -> dict[str, Any]:
    """Returns a checkpoint's metadata, as `Checkpoint.metadata` makes them, from the file's header alone.

    It takes a millisecond, however large the file. Raises CheckpointError where `load` would, except that no array is
    read: damage within one stays unseen.
    """
    with _explained(path), open_file(path) as file:
        return describe(path, file).metadata


def fingerprint(path: Path) -> str:
    """Returns the digest of a checkpoint, by which the weights that a run begins from are known. No array is read."""
    with _explained(path), open_file(path) as file:
        return describe(path, file).digest


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong in reading a checkpoint into a CheckpointError."""
    try:
        yield
    except (CheckpointError, ResourceError):
        raise
    except CharrnnError as error:  # a configuration whose values are out of bounds
        raise damaged(path, error.message) from error
    except OSError as error:
        if outcome_of(error) is Outcome.RESOURCES:
            raise ResourceError(*told(error, f"reading {path}")) from error
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise ResourceError(f"out of memory reading {path}", "close other programs, or use a smaller model") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__} {error}") from error


def _load(path: Path, with_state: bool) -> Checkpoint:
    # The file is opened once for all reads, since a running training may replace it meanwhile.
    with open_file(path) as file:
        found = describe(path, file)
        _require_memory(path, found, with_state)
        before = os.fstat(file.fileno())
        reading = read_arrays(
            path, file, found.header, found.data_start, found.text,
            wanted=lambda name: with_state or name.startswith(MODEL_PREFIX),
        )  # fmt: skip
        if reading.digest != found.digest:
            now = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
                raise changed(path)
            raise damaged(path, "its contents do not match its checksum")
        if reading.not_finite is not None:
            raise damaged(path, f"{reading.not_finite!a} holds values that are not finite")
        metadata = found.metadata
        return Checkpoint(
            kind=metadata["kind"],
            model=found.model,
            members=metadata["members"],
            vocabulary=found.vocabulary,
            data=found.data,
            corpus=metadata["corpus"],
            progress=metadata["progress"],
            training=metadata["training"] if with_state else {},
            environment=metadata["environment"],
            lineage=metadata["lineage"],
            parameters=StoredArrays(path, file, reading, MODEL_PREFIX, list(found.shapes)),
            state=reading.arrays,
        )


def _require_memory(path: Path, found: Described, with_state: bool) -> None:
    """Raises ResourceError where the machine has less memory than the arrays take."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return
    names = found.header if with_state else [MODEL_PREFIX + name for name in found.shapes]
    needed = sum(
        math.prod(found.header[name]["shape"]) * DTYPES[found.header[name]["dtype"]].itemsize for name in names
    )
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > total:
        raise ResourceError(
            f"{path} holds {needed / 2**30:,.1f} GiB, and this machine has {total / 2**30:,.1f} GiB of memory",
            "use a machine with more memory",
        )
