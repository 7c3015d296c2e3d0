"""Saves and loads checkpoints; each is one safetensors file that describes itself.

The file's metadata holds, as JSON, everything but the arrays: kind, configuration, vocabulary, corpus, progress,
environment, and a digest over all of it and the arrays. Files are written durably (`files.py`). On reading, size,
header, metadata, names, shapes and types are checked against the configuration before any array is read, then the
digest; whatever is wrong raises one CheckpointError. Pickle is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from charrnn.cells import registry
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.tensorfile import (
    NumpyArray,
    check_layout,
    damaged,
    foreign,
    open_file,
    read_arrays,
    read_header,
    without_duplicates,
)
from charrnn.errors import CharrnnError, CheckpointError, ResourceError
from charrnn.files import release_pages, replace_durably
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.system_errors import Outcome, outcome_of, told
from charrnn.text.vocabulary import NUM_CODE_POINTS, Vocabulary
from charrnn.version import __version__

FORMAT = 3
_METADATA_KEY = "charrnn"
_FORMAT_KEY = "charrnn.format"
_DIGEST_KEY = "charrnn.sha256"
_WRAPPED_KEYS = {"format", _FORMAT_KEY, _METADATA_KEY, _DIGEST_KEY}
_MODEL_PREFIX = "model."
Kind = Literal["best", "last", "step"]


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
    """The model's arrays under the names of `cells/parameters.py`."""
    training: dict[str, Any] = field(default_factory=dict)
    """Every setting and counter of the run, in a `last` checkpoint; `training/trainer.py` reads it."""
    state: Mapping[str, NumpyArray] = field(default_factory=dict)
    """The optimizer's arrays, the carried state and the random generators' states, in a `last` checkpoint."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The library versions, device and threads that a bit-exact resume depends on."""

    def metadata(self) -> dict[str, Any]:
        """Returns everything but the arrays, ready for JSON."""
        return {
            "version": __version__,
            "kind": self.kind,
            "model": self.model.to_dict(),
            "vocabulary": {"kind": self.vocabulary.kind, "code_points": self.vocabulary.code_points.tolist()},
            "data": self.data.to_dict(),
            "corpus": self.corpus,
            "progress": self.progress,
            "training": self.training,
            "environment": self.environment,
        }


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path` durably, replacing any old file. Raises ResourceError or UsageError on failure."""
    from safetensors.numpy import save_file

    arrays = {_MODEL_PREFIX + name: array for name, array in checkpoint.parameters.items()}
    arrays.update(checkpoint.state)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(checkpoint.metadata(), separators=(",", ":"), allow_nan=False)
    metadata = {
        "format": "pt",
        _FORMAT_KEY: str(FORMAT),
        _METADATA_KEY: text,
        _DIGEST_KEY: _digest(text, contiguous),
    }
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


def _digest(metadata: str, arrays: Mapping[str, NumpyArray]) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


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
        header, data_start, size = read_header(path, file)
        metadata = _parsed(_unwrap(path, header.pop("__metadata__", None))[0])
        registry.check(ModelConfig.from_dict(metadata["model"]))
        check_layout(path, header, size - data_start)
        _check_records(path, metadata)
        return metadata


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong in reading a checkpoint into a CheckpointError."""
    try:
        yield
    except CheckpointError:
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


def _parsed(text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(text, object_pairs_hook=without_duplicates, parse_constant=_refuse_constant)
    return metadata


def _load(path: Path, with_state: bool) -> Checkpoint:
    # The file is opened once for all reads, since a running training may replace it meanwhile.
    with open_file(path) as file:
        header, data_start, size = read_header(path, file)
        text, expected_digest = _unwrap(path, header.pop("__metadata__", None))
        metadata = _parsed(text)
        model = ModelConfig.from_dict(metadata["model"])
        registry.check(model)
        vocabulary = _read_vocabulary(path, metadata["vocabulary"])
        check_layout(path, header, size - data_start)
        if model.num_layers > len(header):  # before a name is made for each of them
            raise damaged(path, "it lacks layers that its configuration names")
        shapes = parameter_shapes(model, len(vocabulary))
        _check_parameters(path, header, shapes)
        arrays = read_arrays(file, header, data_start)
    if _digest(text, arrays) != expected_digest:
        raise damaged(path, "its contents do not match its checksum")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise damaged(path, f"{name!a} holds values that are not finite")
        release_pages(array)
    _check_records(path, metadata)
    return Checkpoint(
        kind=metadata["kind"],
        model=model,
        vocabulary=vocabulary,
        data=_read_data(path, metadata["data"], vocabulary),
        corpus=metadata["corpus"],
        progress=metadata["progress"],
        training=metadata["training"] if with_state else {},
        environment=metadata["environment"],
        parameters={name: arrays[_MODEL_PREFIX + name] for name in shapes},
        state={name: array for name, array in arrays.items() if not name.startswith(_MODEL_PREFIX)}
        if with_state
        else {},
    )


def _unwrap(path: Path, wrapped: Any) -> tuple[str, str]:
    """Returns the metadata's text and its digest from the header's entry `__metadata__`."""
    if not isinstance(wrapped, dict) or _FORMAT_KEY not in wrapped or _METADATA_KEY not in wrapped:
        raise foreign(path, "it is a safetensors file of another program")
    version = int(wrapped[_FORMAT_KEY])
    if version != FORMAT:
        age, hint = ("a newer", "update charrnn") if version > FORMAT else ("an older", "train it again")
        raise CheckpointError(f"{path} was written by {age} charrnn (format {version}; this one reads {FORMAT})", hint)
    # Nothing in the header may go unchecked: what the digest does not cover is compared with what `save` writes.
    if wrapped[_FORMAT_KEY] != str(FORMAT) or wrapped.get("format") != "pt" or wrapped.keys() != _WRAPPED_KEYS:
        raise damaged(path, "its header is not as it was written")
    return wrapped[_METADATA_KEY], wrapped[_DIGEST_KEY]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _read_vocabulary(path: Path, described: dict[str, Any]) -> Vocabulary:
    points, kind = described["code_points"], described["kind"]
    are_code_points = (
        isinstance(points, list) and bool(points) and all(type(p) is int and 0 <= p < NUM_CODE_POINTS for p in points)
    )
    if kind not in ("text", "bytes") or not are_code_points or any(a >= b for a, b in pairwise(points)):
        raise damaged(path, "its vocabulary is not a list of characters in order")
    if kind == "bytes" and points != list(range(256)):
        raise damaged(path, "its vocabulary is not that of bytes")
    return Vocabulary(points, kind)


def _read_data(path: Path, described: dict[str, Any], vocabulary: Vocabulary) -> DataConfig:
    data = DataConfig.from_dict(described)
    if not isinstance(data.encoding, str) or data.as_bytes is not (vocabulary.kind == "bytes"):
        raise damaged(path, "its data settings do not go with its vocabulary")
    return data


_Number = (int, float)
_RECORDS: dict[str, dict[str, Any]] = {
    "corpus": {
        "name": str, "sha256": str, "characters": int, "bytes": int, "train": int, "validation": int, "test": int,
    },
    "progress": {
        "step": int, "epoch": _Number, "characters": int, "seconds": _Number, "best_nats": (*_Number, type(None)),
        "best_step": int, "history": list,
    },
    "training": {},
    "environment": {},
}  # fmt: skip
"""The entries of each record that every use of a checkpoint reads; `training/trainer.py` and `training/plan.py` check
the others."""


def _check_records(path: Path, metadata: dict[str, Any]) -> None:
    if metadata["kind"] not in get_args(Kind):
        raise damaged(path, f"its kind is {metadata['kind']!a}, which none has")
    for group, types in _RECORDS.items():
        record = metadata[group]
        if not isinstance(record, dict):
            raise damaged(path, f"its record {group} is not one")
        for name, expected in types.items():
            _check_value(path, f"{group}.{name}", record[name], expected)
    for place, entry in enumerate(metadata["progress"]["history"]):
        step, *nats = entry
        _check_value(path, f"history[{place}]", step, int)
        for value in nats:
            _check_value(path, f"history[{place}]", value, (*_Number, type(None)))
        if len(nats) != 2:
            raise damaged(path, f"history[{place}] has {len(nats) + 1} values, not 3")


def _check_value(path: Path, name: str, value: Any, expected: Any) -> None:
    is_valid = isinstance(value, expected) and not isinstance(value, bool)
    if is_valid and isinstance(value, _Number):
        is_valid = abs(value) < 1 << 63  # false for infinity; no counter here comes near the bound
    if not is_valid:
        raise damaged(path, f"{name} is {value!a}")


def _check_parameters(path: Path, header: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {name[len(_MODEL_PREFIX) :]: entry for name, entry in header.items() if name.startswith(_MODEL_PREFIX)}
    missing, unexpected = sorted(set(shapes) - set(found)), sorted(set(found) - set(shapes))
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"has an unexpected {unexpected[0]!a}"
        raise damaged(path, f"the model {what}")
    for name, shape in shapes.items():
        if tuple(found[name]["shape"]) != shape or found[name]["dtype"] != "F32":
            raise damaged(
                path,
                f"{name} is {found[name]['dtype']} {tuple(found[name]['shape'])}, not F32 {shape} as configured",
            )
