"""How two run directories are compared: every tensor bit for bit, every line of metrics bar wall-clock fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charrnn.checkpoints import checkpoint as checkpoints

WALL_CLOCK = {"seconds", "characters_per_second"}


def tensors(path: Path) -> dict[str, bytes]:
    """Every array in a checkpoint file as bytes, weights and state."""
    loaded = checkpoints.load(path, with_state=True)
    return {name: array.tobytes() for name, array in {**loaded.parameters, **loaded.state}.items()}


def metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl without what a clock decides."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in WALL_CLOCK} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Raises AssertionError where two run directories differ in anything but the time they took."""
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = tensors(one / name), tensors(other / name)
        assert list(ours) == list(theirs)
        different = [key for key in ours if ours[key] != theirs[key]]
        assert not different, f"{name} differs in {different}"
    assert metrics(one / "metrics.jsonl") == metrics(other / "metrics.jsonl")
    samples = [path.read_bytes() if path.exists() else None for path in (one / "samples.txt", other / "samples.txt")]
    assert samples[0] == samples[1]  # a run that writes none has no such file
