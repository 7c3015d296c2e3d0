"""One safetensors file = one checkpoint that describes itself.

The file's metadata holds, as JSON, everything but the arrays: kind, configuration, vocabulary, corpus, progress,
environment, and a digest over all of it and the arrays. Written durably (`files.py`). Read defensively: size, header,
metadata, names, shapes and types are checked against the configuration before any array is read, then the digest;
whatever is wrong becomes one CheckpointError. No pickle, ever.

Knows names and bytes. Refuses to know torch and what the optimizer's arrays mean.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import parameter_shapes
from charrnn.config import DataConfig, ModelConfig
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.files import replace_durably
from charrnn.version import __version__
from charrnn.vocabulary import Vocabulary

FORMAT = 1
_METADATA_KEY = "charrnn"
_HEADER_LIMIT = 1 << 26
_MODEL_PREFIX = "model."
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}

NumpyArray = npt.NDArray[Any]
Kind = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds. `best` holds weights only, `last` everything needed to go on."""

    kind: Kind
    model: ModelConfig
    vocabulary: Vocabulary
    data: DataConfig
    corpus: dict[str, Any]
    """Name, characters, bytes and sha256 of the text it was trained on."""
    progress: dict[str, Any]
    """Step, characters seen, losses and the history of validations."""
    parameters: Mapping[str, NumpyArray]
    """The model's arrays under the names of `cells/parameters.py`."""
    training: dict[str, Any] = field(default_factory=dict)
    """For `last`: every setting and counter of the run; `train.py` reads it."""
    state: Mapping[str, NumpyArray] = field(default_factory=dict)
    """For `last`: the optimizer's arrays, the carried state, random states."""
    environment: dict[str, Any] = field(default_factory=dict)
    """What exactness depends on: library versions, device, threads."""

    def metadata(self) -> dict[str, Any]:
        """Everything but the arrays, JSON-ready."""
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
    """Writes `checkpoint` in the place of `path`, durably. Raises ResourceError or UsageError where it cannot."""
    from safetensors.numpy import save_file

    arrays = {_MODEL_PREFIX + name: array for name, array in checkpoint.parameters.items()}
    arrays.update(checkpoint.state)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(checkpoint.metadata(), separators=(",", ":"), allow_nan=False)
    metadata = {
        "format": "pt",
        "charrnn.format": str(FORMAT),
        _METADATA_KEY: text,
        "charrnn.sha256": _digest(text, contiguous),
    }
    replace_durably(path, lambda temporary: _save_file(save_file, contiguous, temporary, metadata))


def _save_file(save_file: Any, arrays: dict[str, NumpyArray], path: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError

    try:
        save_file(arrays, path, metadata)
    except SafetensorError as error:
        raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    """safetensors reports a failed write as text of its own; the system's error number stands at its end."""
    text = str(error)
    _, _, number = text.rpartition("os error ")
    digits = number.split(")")[0]
    return OSError(int(digits), text) if digits.isdigit() else OSError(text)


def _digest(metadata: str, arrays: Mapping[str, NumpyArray]) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def load(path: Path, *, with_state: bool = False) -> Checkpoint:
    """Reads a checkpoint; `with_state` brings what a `last` checkpoint holds beyond the weights.

    Raises CheckpointError where the file is missing, not a checkpoint of this program, newer than it, or damaged.
    """
    try:
        return _load(path, with_state)
    except CheckpointError:
        raise
    except CharrnnError as error:  # a configuration whose values are out of bounds
        raise _damaged(path, error.message) from error
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__} {error}"[:200]) from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: {reason}", "use another checkpoint of the run, or train again")


def _foreign(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of charrnn: {reason}", "give a .safetensors file that charrnn saved"
    )


def _load(path: Path, with_state: bool) -> Checkpoint:
    header, data_start, size = _read_header(path)
    wrapped = header.pop("__metadata__", {})
    if "charrnn.format" not in wrapped or _METADATA_KEY not in wrapped:
        raise _foreign(path, "it is a safetensors file of another program")
    if int(wrapped["charrnn.format"]) > FORMAT:
        raise CheckpointError(
            f"{path} was written by a newer charrnn (format {int(wrapped['charrnn.format'])}; this one reads {FORMAT})",
            "update charrnn",
        )
    text = wrapped[_METADATA_KEY]
    metadata = json.loads(text)
    model = ModelConfig.from_dict(metadata["model"])
    vocabulary = Vocabulary(metadata["vocabulary"]["code_points"], metadata["vocabulary"]["kind"])
    _check_layout(path, header, size - data_start)
    shapes = parameter_shapes(model, len(vocabulary))
    _check_parameters(path, header, shapes)
    arrays = _read_arrays(path, header, data_start)
    if _digest(text, arrays) != wrapped.get("charrnn.sha256"):
        raise _damaged(path, "its contents do not match its checksum")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _damaged(path, f"{name!a} holds values that are not finite")
    return Checkpoint(
        kind=metadata["kind"],
        model=model,
        vocabulary=vocabulary,
        data=DataConfig.from_dict(metadata["data"]),
        corpus=dict(metadata["corpus"]),
        progress=dict(metadata["progress"]),
        training=dict(metadata["training"]) if with_state else {},
        environment=dict(metadata["environment"]),
        parameters={name: arrays[_MODEL_PREFIX + name] for name in shapes},
        state={name: array for name, array in arrays.items() if not name.startswith(_MODEL_PREFIX)}
        if with_state
        else {},
    )


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The safetensors header (8 bytes of length, then JSON), where the data begins, and the file's size."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {path}", "charrnn train makes one; -c names a file or a run"
        ) from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder, not a checkpoint file") from error
    with file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(8)
        if start[:2] == b"PK" or start[:1] == b"\x80":
            raise _foreign(path, "it looks like a pickle (torch.save), which can run code and is never opened")
        if len(start) < 8:
            raise _foreign(path, "it is empty" if not start else f"it has only {len(start)} bytes")
        length = int.from_bytes(start, "little")
        if length > _HEADER_LIMIT or not 2 <= length <= size - 8:
            if length <= _HEADER_LIMIT and file.read(1) == b"{":
                raise _damaged(path, "it ends in the middle of its header")
            raise _foreign(path, "it does not begin as a safetensors file does")
        raw = file.read(length)
    if not raw.startswith(b"{"):
        raise _foreign(path, "it does not begin as a safetensors file does")
    header = json.loads(raw, object_pairs_hook=_without_duplicates)
    return header, 8 + length, size


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON readers differ on a repeated key (the last wins, or the first); a file must not mean two things."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in the header")
    return result


def _check_layout(path: Path, header: dict[str, Any], data_size: int) -> None:
    """Arrays of known types lie one after the other without gap or overlap and fill the file exactly."""
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in _DTYPES:
            raise _damaged(path, f"{name!a} has the type {entry['dtype']!a}")
        shape = entry["shape"]
        if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in shape):
            raise _damaged(path, f"{name!a} has an impossible shape")
        if begin != expected or end - begin != math.prod(shape) * _DTYPES[entry["dtype"]].itemsize:
            raise _damaged(path, f"{name!a} does not lie where its shape says")
        expected = end
    if expected > data_size:
        raise _damaged(path, f"it is cut off: {expected - data_size:,} bytes are missing")
    if expected < data_size:
        raise _damaged(path, f"{data_size - expected:,} bytes follow its end")


def _check_parameters(path: Path, header: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {name[len(_MODEL_PREFIX) :]: entry for name, entry in header.items() if name.startswith(_MODEL_PREFIX)}
    missing, unexpected = sorted(set(shapes) - set(found)), sorted(set(found) - set(shapes))
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"has an unexpected {unexpected[0]!a}"
        raise _damaged(path, f"the model {what}")
    for name, shape in shapes.items():
        if tuple(found[name]["shape"]) != shape or found[name]["dtype"] != "F32":
            raise _damaged(
                path,
                f"{name} is {found[name]['dtype']} {tuple(found[name]['shape'])}, not F32 {shape} as configured",
            )


def _read_arrays(path: Path, header: dict[str, Any], data_start: int) -> dict[str, NumpyArray]:
    """All arrays, as read-only views of one memory map: what is never touched costs no memory."""
    if not header:
        return {}
    buffer = np.memmap(path, dtype=np.uint8, mode="r", offset=data_start)
    return {
        name: buffer[slice(*entry["data_offsets"])].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
