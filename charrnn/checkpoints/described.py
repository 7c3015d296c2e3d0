"""What a checkpoint's header says, and every check of it that needs no array.

The header holds the arrays' names, types, shapes and places, and as one text of JSON everything else; nothing in it
goes unchecked: what the digest does not cover is compared with what is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import IO, Any, Literal, NamedTuple, get_args

from charrnn.cells import registry
from charrnn.cells.members import joined
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.tensorfile import check_layout, damaged, foreign, parse, read_header
from charrnn.errors import CheckpointError
from charrnn.settings.checks import MOST_MEMBERS, WIDEST
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.text.held_out import HeldOut
from charrnn.text.traits import Traits
from charrnn.text.vocabulary import NUM_CODE_POINTS, UNKNOWN_SYMBOL, Vocabulary

FORMAT = 6
METADATA_KEY = "charrnn"
FORMAT_KEY = "charrnn.format"
DIGEST_KEY = "charrnn.sha256"
_WRAPPED_KEYS = {"format", FORMAT_KEY, METADATA_KEY, DIGEST_KEY}
MODEL_PREFIX = "model."
TEACHER_PREFIX = "teacher."
"""Before the names of the arrays of the models that a run learns from, each behind its number."""
TEACHER = "teacher"
"""The entry of the record `training` in a `last` checkpoint that says what these models are."""
Kind = Literal["best", "last", "step", "member"]


class Described(NamedTuple):
    """What a file's header says, checked against itself."""

    header: dict[str, Any]
    """What and where the arrays are, by name."""
    data_start: int
    text: str
    digest: str
    metadata: dict[str, Any]
    """What `text` says."""
    model: ModelConfig
    vocabulary: Vocabulary
    data: DataConfig
    shapes: Mapping[str, tuple[int, ...]]
    """Of the model's arrays."""


def describe(path: Path, file: IO[bytes]) -> Described:
    """Reads the header, and checks all that can be known before an array is read."""
    header, data_start, size = read_header(path, file)
    text, digest = _unwrap(path, header.pop("__metadata__", None))
    metadata = parse(path, text)
    model = ModelConfig.from_dict(metadata["model"])
    registry.check(model)
    traits = Traits.of_dict(metadata["corpus"]["traits"])
    vocabulary = _read_vocabulary(path, metadata["vocabulary"], traits)
    check_layout(path, header, size - data_start)
    members = metadata["members"]
    if type(members) is not int or not 1 <= members <= MOST_MEMBERS:
        raise damaged(path, f"its number of members is {members!a:.60}")
    if members * model.num_layers > len(header):  # before a name is made for each of them
        raise damaged(path, "it lacks layers that its configuration names")
    shapes = joined([parameter_shapes(model, len(vocabulary))] * members)
    _check_parameters(path, header, shapes)
    _check_records(path, metadata)
    taught = _check_teacher(path, header, metadata, len(vocabulary))
    _check_state(path, header, model, metadata, taught)
    _check_held_out(path, metadata["corpus"], vocabulary)
    data = _read_data(path, metadata["data"], vocabulary)
    return Described(header, data_start, text, digest, metadata, model, vocabulary, data, shapes)


def _unwrap(path: Path, wrapped: Any) -> tuple[str, str]:
    """Returns the metadata's text and its digest from the header's entry `__metadata__`."""
    if not isinstance(wrapped, dict) or FORMAT_KEY not in wrapped or METADATA_KEY not in wrapped:
        raise foreign(path, "it is a safetensors file of another program")
    version = int(str(wrapped[FORMAT_KEY])[:20])
    if version != FORMAT:
        age, hint = ("a newer", "update charrnn") if version > FORMAT else ("an older", "train it again")
        raise CheckpointError(f"{path} was written by {age} charrnn (format {version}; this one reads {FORMAT})", hint)
    # Nothing in the header may go unchecked: what the digest does not cover is compared with what `save` writes.
    if wrapped[FORMAT_KEY] != str(FORMAT) or wrapped.get("format") != "pt" or wrapped.keys() != _WRAPPED_KEYS:
        raise damaged(path, "its header is not as it was written")
    return wrapped[METADATA_KEY], wrapped[DIGEST_KEY]


def _read_vocabulary(path: Path, described: dict[str, Any], traits: Traits) -> Vocabulary:
    points, kind = described["code_points"], described["kind"]
    has_end, has_unknown_symbol = described["has_end"], described["has_unknown_symbol"]
    if len(described) != 4 or type(has_end) is not bool or type(has_unknown_symbol) is not bool:
        raise damaged(path, "its vocabulary is not a kind, characters, and whether it has an end and an unknown symbol")
    are_code_points = (
        isinstance(points, list) and bool(points) and all(type(p) is int and 0 <= p < NUM_CODE_POINTS for p in points)
    )
    if kind not in ("text", "bytes") or not are_code_points or any(a >= b for a, b in pairwise(points)):
        raise damaged(path, "its vocabulary is not a list of characters in order")
    if kind == "bytes" and points != list(range(256)):
        raise damaged(path, "its vocabulary is not that of bytes")
    is_possible = kind == "text" and UNKNOWN_SYMBOL in points
    if (has_unknown_symbol and not is_possible) or (traits.rare and not has_unknown_symbol):
        raise damaged(path, "its vocabulary lacks the unknown symbol that stands for rare characters")
    return Vocabulary(points, kind, has_end=has_end, has_unknown_symbol=has_unknown_symbol)


def _check_held_out(path: Path, corpus: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Refuses ranges that are not of the text, or of documents, which are held out by their content."""
    if vocabulary.has_end is not (corpus["held_out"] is None):
        raise damaged(path, "what it says of held-out ranges does not go with its vocabulary")
    if corpus["held_out"] is not None:
        HeldOut.of_dict(corpus["held_out"], corpus["characters"])


def _read_data(path: Path, described: dict[str, Any], vocabulary: Vocabulary) -> DataConfig:
    data = DataConfig.from_dict(described)
    is_alike = data.as_bytes is (vocabulary.kind == "bytes") and data.has_documents is vocabulary.has_end
    if not isinstance(data.encoding, str) or not is_alike:
        raise damaged(path, "its data settings do not go with its vocabulary")
    return data


_Number = (int, float)
_MOST = 1 << 63
"""No counter comes near it."""
_RECORDS: dict[str, dict[str, Any]] = {
    "corpus": {
        "name": str, "sha256": str, "characters": int, "bytes": int, "train": int, "validation": int, "test": int,
        "traits": dict, "held_out": (dict, NoneType),
    },
    "progress": {
        "step": int, "epoch": _Number, "characters": int, "seconds": _Number, "best_step": int, "history": list,
    },
    "training": {},
    "environment": {},
    "lineage": {},
}  # fmt: skip
"""The entries of each record that every use of a checkpoint reads; `training/trainer.py` and `training/plan.py` check
the others."""


_KEYS = {"version", "kind", "model", "members", "vocabulary", "data", *_RECORDS}


def _check_records(path: Path, metadata: dict[str, Any]) -> None:
    if metadata.keys() != _KEYS:
        raise damaged(
            path, f"its metadata lack {min(_KEYS - metadata.keys(), default='nothing')}, or hold more than that"
        )
    _check_value(path, "version", metadata["version"], str)
    if metadata["kind"] not in get_args(Kind):
        raise damaged(path, f"its kind is {metadata['kind']!a}, which none has")
    for group, types in _RECORDS.items():
        record = metadata[group]
        if not isinstance(record, dict):
            raise damaged(path, f"its record {group} is not one")
        for name, expected in types.items():
            _check_value(path, f"{group}.{name}", record[name], expected)
    best = metadata["progress"]["best_nats"]
    if best is not None and not _is_loss(best):
        raise damaged(path, f"progress.best_nats is {best!a:.60}")
    for place, entry in enumerate(metadata["progress"]["history"]):
        if not _is_validation(entry):
            raise damaged(path, f"history[{place}] is {entry!a:.60}, not a step and two losses")


def _is_validation(entry: Any) -> bool:
    if type(entry) is not list or len(entry) != 3 or type(entry[0]) is not int:
        return False
    return abs(entry[0]) < _MOST and all(value is None or _is_loss(value) for value in entry[1:])


def _is_loss(value: Any) -> bool:
    """Returns whether a value is a finite number, of any size: a run that diverges may have written it."""
    return type(value) in _Number and (abs(value) < _MOST if type(value) is int else math.isfinite(value))


def _check_value(path: Path, name: str, value: Any, expected: Any) -> None:
    is_valid = isinstance(value, expected) and not isinstance(value, bool)
    if is_valid and isinstance(value, _Number):
        is_valid = abs(value) < _MOST
    if not is_valid:
        raise damaged(path, f"{name} is {value!a}")


def _check_parameters(path: Path, header: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {name[len(MODEL_PREFIX) :]: entry for name, entry in header.items() if name.startswith(MODEL_PREFIX)}
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


_MOST_COPIES, _MOST_BESIDE = 16, 1 << 26


def _check_teacher(path: Path, header: dict[str, Any], metadata: dict[str, Any], vocabulary_size: int) -> int:
    """Checks the arrays of the models that a run learns from against what is said of them; returns their bytes."""
    found = {name: entry for name, entry in header.items() if name.startswith(TEACHER_PREFIX)}
    kept = metadata["training"].get(TEACHER)
    if kept is None and not found:
        return 0
    members = kept["members"] if isinstance(kept, dict) else 0
    config = ModelConfig.from_dict(kept["model"]) if members else None
    if type(members) is not int or config is None or not 0 < members * config.num_layers <= len(found):
        raise damaged(path, "it does not say what the teacher is whose arrays it holds")
    registry.check(config)
    shapes = parameter_shapes(config, vocabulary_size)
    expected = {
        f"{TEACHER_PREFIX}{member}.{name}": shape for member in range(1, members + 1) for name, shape in shapes.items()
    }
    if expected != {name: tuple(entry["shape"]) for name, entry in found.items()}:
        raise damaged(path, "the arrays of its teacher are not those of the configuration")
    if any(entry["dtype"] != "F32" for entry in found.values()):
        raise damaged(path, "the arrays of its teacher are not F32")
    return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in found.values())


def _check_state(path: Path, header: dict[str, Any], model: ModelConfig, metadata: dict[str, Any], taught: int) -> None:
    """Refuses arrays beside the model's where there can be none, or more than any optimizer keeps.

    To read them would take long. An optimizer keeps a few copies of the weights, each lane its state, and a run of
    several members those that are finished; `taught` are the bytes of the models that it learns from.
    """
    sizes = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()}
    weights = sum(size for name, size in sizes.items() if name.startswith(MODEL_PREFIX))
    beside = sum(sizes.values()) - weights - taught
    if metadata["kind"] != "last":
        if not all(name.startswith(MODEL_PREFIX) for name in header):
            raise damaged(path, "it holds more than weights, which only the last checkpoint of a run does")
        return
    settings = metadata["training"].get("training")
    lanes = settings.get("batch_size") if isinstance(settings, dict) else None
    lanes = lanes if type(lanes) is int and 0 < lanes <= WIDEST else 1
    members = settings.get("ensemble") if isinstance(settings, dict) else None
    copies = _MOST_COPIES + 1 + (members if type(members) is int and 0 < members <= MOST_MEMBERS else 1)
    if beside > copies * (weights + 4 * lanes * model.num_layers * model.hidden_size) + _MOST_BESIDE:
        raise damaged(
            path, f"it holds {beside:,} bytes beside its {weights:,} bytes of weights, more than any run keeps"
        )
