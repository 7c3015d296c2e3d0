"""A checkpoint made of random numbers, small enough to be broken in every place, and files forged by hand."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import FORMAT, Checkpoint
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.text.traits import Traits
from charrnn.text.vocabulary import Vocabulary

CHARACTERS = "\n abcdefgh"
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "|u1"}


def tiny(
    kind: str = "best",
    *,
    cell: str = "lstm",
    layers: int = 2,
    as_bytes: bool = False,
    characters: str = CHARACTERS,
    documents: str = "none",
    has_end: bool = False,
) -> Checkpoint:
    """What a run on a text of `characters` (or of bytes) might have saved; of hidden size 4, with embeddings of 3.

    The text is cut into `documents`, into lines where none are named and it `has_end`.
    """
    model = ModelConfig(cell=cell, num_layers=layers, hidden_size=4, embedding_size=3)  # type: ignore[arg-type]
    data = DataConfig(as_bytes=as_bytes, documents="lines" if has_end and documents == "none" else documents)
    has_end = data.has_documents
    vocabulary = Vocabulary.of_bytes(has_end=has_end) if as_bytes else Vocabulary.of(characters, has_end=has_end)
    random = np.random.default_rng(7)
    shapes = parameter_shapes(model, len(vocabulary))
    is_last = kind == "last"
    return Checkpoint(
        kind=kind,  # type: ignore[arg-type]
        model=model,
        vocabulary=vocabulary,
        data=data,
        corpus={
            "name": "ring",
            "characters": 1234,
            "bytes": 1234,
            "sha256": "0123456789abcdef" * 4,
            "train": 1111,
            "validation": 123,
            "test": 0,
            "traits": Traits().to_dict(),
            "held_out": None if has_end else {"validation": [[1111, 1234]], "test": []},
        },
        progress={
            "step": 40,
            "epoch": 1.5,
            "characters": 1600,
            "seconds": 12.25,
            "best_nats": 1.75,
            "best_step": 20,
            "history": [[0, None, 2.25], [20, 2.0, 1.75], [40, 1.5, None]],
        },
        parameters={name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()},
        training={"counters": {"step": 40}, "lengths": {"metrics.jsonl": 9}} if is_last else {},
        state={
            "optimizer.moments": random.normal(size=(2, 5)),
            "random": np.arange(7, dtype=np.uint8),
            "step": np.array(40, np.int64),
            "nothing": np.zeros((0, 3), np.float32),
        }
        if is_last
        else {},
        environment={"threads": 1, "torch": "2.13"},
    )


def forge(metadata: dict[str, Any] | str, arrays: dict[str, np.ndarray[Any, Any]], **wrapped: Any) -> bytes:
    """A checkpoint file with whatever it is given, and the digest that belongs to it: what a careful liar would write.

    Made without safetensors and without charrnn. `wrapped` adds to the header's `__metadata__`, or replaces.
    """
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"\n{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode() + arrays[name].tobytes())
    own = {"format": "pt", "charrnn.format": str(FORMAT), "charrnn": text, "charrnn.sha256": digest.hexdigest()}
    header: dict[str, Any] = {"__metadata__": {**own, **wrapped}}
    data = b""
    for name, array in arrays.items():
        (dtype,) = [short for short, long in TYPES.items() if np.dtype(long) == array.dtype]
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    return enclose(json.dumps(header).encode(), data)


def enclose(header: bytes, data: bytes) -> bytes:
    """A safetensors file of this header and this data."""
    return len(header).to_bytes(8, "little") + header + data


def arrays_of(checkpoint: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    """Every array under its name in the file."""
    return {**{f"model.{name}": array for name, array in checkpoint.parameters.items()}, **checkpoint.state}
