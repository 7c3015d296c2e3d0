"""Folders of runs, made by hand: tiny checkpoints, and metrics whose numbers a test knows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from charrnn.checkpoints import checkpoint as checkpoints
from tests.kit.tiny import tiny

BUDGET = {"budget": {"steps": 40, "epochs": None, "minutes": None}, "run": {"patience": None, "sample_every": None}}
COUNTERS = {
    "step": 40, "validated_step": 40, "sampled_step": 40, "seconds": 12.25, "validation_cost": 0.5, "without_gain": 0,
}  # fmt: skip


def metrics(bpc: list[float], *, every: int = 20, characters: int = 40) -> list[dict[str, Any]]:
    """The lines of a run that trains `characters` characters a step, with a validation of each bpc `every` steps."""
    lines: list[dict[str, Any]] = []
    for number, bits in enumerate(bpc, 1):
        for step in (every * number - every // 2, every * number):
            here = {"step": step, "epoch": step / 9, "characters": characters * step, "seconds": step / 4}
            lines.append({**here, "train_nats": (bits + 0.5) * math.log(2), "learning_rate": 0.01})
        lines.append({**here, "train_nats": 9.0, "validation_nats": bits * math.log(2), "validation_bpc": bits})
    return lines


def make_run(
    name: str, bpc: list[float], *, training: dict[str, Any] | None = None, cell: str = "lstm", **more: Any
) -> Path:
    """A run under `checkpoints/` with both checkpoints and metrics; finished unless `training` says otherwise."""
    folder = Path("checkpoints", name)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {**BUDGET, "counters": COUNTERS} | (training or {})
    last = replace(tiny("last", cell=cell), training=kept)
    checkpoints.save(folder / "last.safetensors", last)
    checkpoints.save(folder / "best.safetensors", tiny("best", cell=cell))
    write_metrics(folder, metrics(bpc, **more))
    return folder


def write_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Writes the metrics of a run anew."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
