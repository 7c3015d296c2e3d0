"""The benchmark of the family: every row can be had, time is shared out as it says, the table is right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.recipe import completed_training
from tests.benchmarks import command, family
from tests.benchmarks.family import MEMBERS, Member

SIZES = {"hidden_size": 8, "embedding_size": 5, "dropout": 0.2}


def test_rows_are_told_apart_and_can_be_built() -> None:
    """Each has options of its own; the first is the plain lstm."""
    assert len({member.options for member in MEMBERS}) == len(MEMBERS)
    assert MEMBERS[0].options == "--cell lstm"
    for member in MEMBERS:
        ModelConfig(**{**SIZES, **family._fitting(member.model, SIZES)})
        TrainingConfig(**completed_training(member.training))


class _Paced:
    """A learner whose steps take a second for each layer, on a clock of its own."""

    now = 0.0

    def __init__(self, model: ModelConfig, *_: Any) -> None:
        self._layers = model.num_layers

    def step(self, *_: Any) -> None:
        _Paced.now += self._layers


@pytest.mark.parametrize("layers", [1, 4])
def test_speed_is_a_ratio_to_the_plain_lstm(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four layers make a quarter of the steps of one in equal time."""
    monkeypatch.setattr(family, "Learner", _Paced)
    monkeypatch.setattr(family.time, "perf_counter", lambda: _Paced.now)
    member = Member({"num_layers": layers} if layers > 1 else {})
    assert family.relative_speed(member, SIZES, steps=3, rounds=2) == pytest.approx(1 / layers)


def test_steps_follow_the_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as fast, half the steps; what the record has is not run again, and its table names the best where it was."""
    asked: list[list[str]] = []
    losses = [2.0, 1.5, 1.75]

    def train(_corpus: Path, *words: str) -> command.Command:
        asked.append(list(words))
        return command.Command([{"validation_nats": nats} for nats in losses], 3.0, None)

    monkeypatch.setattr(command, "train", train)
    monkeypatch.setattr(family, "relative_speed", lambda *_: 0.5)
    text, record = tmp_path / "text.txt", tmp_path / "record.jsonl"
    text.write_text("text")
    words = ["--corpus", str(text), "--record", str(record), "--characters", "102400", "--only", "norm$|lstm$"]
    for _ in range(2):
        family.main(words)
    steps = [call[call.index("--steps") + 1] for call in asked]
    rows = family.read(record)
    assert steps == ["100"] + ["50"] * (len(rows) - 1)
    assert len(asked) == len(rows) > 1
    assert "--layer-norm" in asked[1]
    assert "| `--layer-norm` | " in family.table(rows)
    assert "| 0.50 | 1.7500 (best 1.5000) |" in family.table(rows)
    assert json.loads(record.read_text().splitlines()[0])["options"] == "--cell lstm"


def test_what_tells_runs_apart() -> None:
    """Another seed or another budget is another run."""
    given: dict[str, Any] = {"characters": 4e6, "hidden": 8, "embedding": 5, "dropout": 0.2, "seed": 1, "threads": 1}
    one = family._key(MEMBERS[1], "a.txt", argparse.Namespace(**given))
    other = family._key(MEMBERS[1], "a.txt", argparse.Namespace(**{**given, "seed": 2}))
    assert one != other
    assert one["options"] == MEMBERS[1].options
