"""What is told of runs without reading their weights, and their learning curves."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.curves import curves_of
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.metrics import read_metrics
from charrnn.checkpoints.runs import is_checkpoint, is_run, runs_in, standing
from charrnn.errors import CheckpointError
from tests.kit.command import Command
from tests.kit.run_folders import COUNTERS, make_run, metrics
from tests.kit.tiny import tiny

PROGRESS: dict[str, Any] = {"step": 40, "characters": 1600, "history": [[0, None, 2.25], [20, 2.0, 1.75]]}


def test_a_curve_has_every_record() -> None:
    """Ten validations and the twenty lines between them, without the coarser means that stand beside validations."""
    curves = curves_of(metrics([4.0 - number / 9 for number in range(10)]), PROGRESS)
    assert [point.step for point in curves.train] == list(range(10, 201, 10))
    assert [point.bpc for point in curves.train][:3] == pytest.approx([4.5, 4.5, 4.5 - 1 / 9])
    assert [(point.step, point.characters) for point in curves.validation] == [
        (step, 40 * step) for step in range(20, 201, 20)
    ]
    assert curves.best is not None
    assert curves.best.step == 200
    assert curves.best.bpc == pytest.approx(3.0)


def test_the_mean_beside_a_validation_counts_where_nothing_finer_is_recorded() -> None:
    """As in a run so short that no line of training came between."""
    records = [{"step": step, "train_nats": 3.0 - step, "validation_nats": 2.5} for step in (1, 2)]
    assert [(point.step, point.nats) for point in curves_of(records, PROGRESS).train] == [(1, 2.0), (2, 1.0)]


def test_lines_that_are_none_are_left_out() -> None:
    """What other programs and a power cut make of a file; a line without characters is placed by its step."""
    odd = [
        "a word", None, 7, [], {}, {"step": "x", "train_nats": 1.0}, {"step": True, "train_nats": 1.0},
        {"step": 3, "train_nats": math.nan}, {"step": 4, "train_nats": math.inf}, {"step": 5, "train_nats": "low"},
        {"step": 6, "characters": "many", "train_nats": 1.0}, {"step": math.inf, "train_nats": 1.0},
        {"step": 9, "train_nats": 1.5},
    ]  # fmt: skip
    Path("metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in odd) + "[" * 9999 + '\n{"step": 1')
    curves = curves_of(read_metrics(Path("metrics.jsonl")), PROGRESS)
    assert [(point.step, point.characters, point.nats) for point in curves.train] == [(9, 360.0, 1.5)]
    assert not curves.validation


@pytest.mark.parametrize("records", [[], [{"step": 5, "gradient_norm": 1.0}]])
def test_a_checkpoint_remembers_where_metrics_are_gone(records: list[dict[str, Any]]) -> None:
    """Steps become characters in proportion."""
    curves = curves_of(records, PROGRESS)
    assert [(point.step, point.characters, point.nats) for point in curves.validation] == [
        (0, 0, 2.25),
        (20, 800, 1.75),
    ]
    assert [(point.step, point.nats) for point in curves.train] == [(20, 2.0)]


def test_metadata_is_that_of_the_whole_checkpoint() -> None:
    """Read from the header alone; a missing end is found all the same, and damage in an array is not looked for."""
    whole = replace(tiny("last"), training={"counters": COUNTERS})
    file = Path("last.safetensors")
    checkpoints.save(file, whole)
    assert checkpoints.read_metadata(file) == whole.metadata()
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes((content[-9] ^ 16,)) + content[-8:])
    assert checkpoints.read_metadata(file) == whole.metadata()
    for cut, said in ((content[:-40], "cut off: 40 bytes"), (content[:100], "middle of its header"), (b"", "empty")):
        file.write_bytes(cut)
        with pytest.raises(CheckpointError, match=said):
            checkpoints.read_metadata(file)


def test_runs_are_found_in_a_folder() -> None:
    """Neither other folders nor files, and nothing where there is no folder."""
    make_run("b", [2.0])
    make_run("a", [2.0])
    Path("checkpoints/notes").mkdir()
    Path("checkpoints/README.md").write_text("mine")
    assert runs_in(Path("checkpoints")) == [Path("checkpoints/a"), Path("checkpoints/b")]
    assert runs_in(Path("nowhere")) == runs_in(Path("checkpoints/README.md")) == []
    assert is_run(Path("checkpoints/a"))
    assert not any(map(is_run, (Path("checkpoints"), Path("checkpoints/a/best.safetensors"), Path("x" * 300))))
    assert is_checkpoint(Path("checkpoints/a/best.safetensors"))
    assert not any(map(is_checkpoint, (Path("checkpoints/a"), Path("no.safetensors"), Path("x" * 300))))


def test_a_run_says_where_it_stands() -> None:
    """Its last line of metrics where that is later than the checkpoint, its best over both, and all it has on disk."""
    folder = make_run("a", [3.0, 2.0, 2.5], every=30)
    (folder / "samples.txt").write_text("x" * 1000)
    found = standing(folder)
    assert (found.name, found.corpus, found.is_aside, found.problem) == ("a", "ring", False, None)
    assert found.model is not None
    assert (found.model["cell"], found.model["num_layers"], found.model["hidden_size"]) == ("lstm", 2, 4)
    assert (found.step, found.characters, found.seconds) == (90, 3600, 22.5)
    assert (found.best_step, found.best_nats) == (60, pytest.approx(2.0 * math.log(2)))
    assert found.bytes == sum(file.stat().st_size for file in folder.iterdir())
    (folder / "metrics.jsonl").unlink()
    found = standing(folder)
    assert (found.step, found.characters, found.seconds, found.best_nats, found.best_step) == (
        40,
        1600,
        12.25,
        1.75,
        20,
    )


def _state(**training: Any) -> str:
    return standing(make_run("a", [2.0], training=training)).state


def _budget(**amount: float) -> dict[str, float | None]:
    return {"steps": None, "epochs": None, "minutes": None, **amount}


def test_a_run_is_finished_when_its_budget_or_patience_is_used() -> None:
    """And validated after its last step; the checkpoint stands at step 40, epoch 1.5, after 12.25 seconds."""
    assert _state() == "finished"
    assert _state(budget=_budget(steps=41)) == "stopped"
    assert _state(counters={**COUNTERS, "validated_step": 20}) == "stopped"
    assert _state(budget=_budget(epochs=1.5)) == "finished"
    assert _state(budget=_budget(epochs=1.51)) == "stopped"
    assert _state(budget=_budget(minutes=12.7 / 60)) == "finished"
    assert _state(budget=_budget(minutes=12.8 / 60)) == "stopped"
    for without_gain, state in ((3, "finished"), (2, "stopped")):
        counters = {**COUNTERS, "without_gain": without_gain}
        assert _state(budget=_budget(steps=99), run={"patience": 3, "sample_every": None}, counters=counters) == state
    for every, state in (
        (None, "stopped"),
        (20, "stopped"),
        (0, "finished"),
        (7, "finished"),
    ):  # killed before it wrote
        counters = {**COUNTERS, "sampled_step": 20}
        assert _state(run={"patience": None, "sample_every": every}, counters=counters) == state
    assert _state(budget="odd") == _state(counters={}) == _state(run=7) == "stopped"


@pytest.mark.parametrize("budget", ["--steps 9", "--epochs 0.7", "--minutes 0.02", "--steps 99 --patience 1"])
def test_what_training_calls_finished_is_called_finished(command: Command, text_file: Any, budget: str) -> None:
    """A real run, under each kind of budget, and after a larger one was asked for."""
    tiny_run = "--hidden 8 --layers 1 --batch 4 --bptt 16 --device cpu --quiet --validate-every 3 --out run --lr 1e-9"
    result = command("train", str(text_file(3000)), *tiny_run.split(), *budget.split())
    assert result.status == 0, result.err
    assert standing(Path("run")).state == "finished"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_a_run_that_is_locked_is_running() -> None:
    """Whatever its checkpoint says."""
    folder = make_run("a", [2.0])
    with Run(folder).locked():
        assert standing(folder).state == "running"
    assert standing(folder).state == "finished"
    with Run(folder).locked():  # looking has not locked it
        pass


def test_damage_is_told_and_stops_nothing() -> None:
    """Where the other checkpoint is whole, the run is known by that one."""
    folder = make_run("a", [2.0])
    (folder / "last.safetensors").write_bytes((folder / "last.safetensors").read_bytes()[:-1])
    found = standing(folder)
    assert found.state == "damaged"
    assert found.problem is not None
    assert found.problem.startswith("checkpoints/a/last.safetensors is damaged: it is cut off")
    assert found.corpus == "ring"
    (folder / "best.safetensors").write_bytes(b"")
    found = standing(folder)
    assert (found.state, found.corpus, found.model, found.best_nats) == ("damaged", None, None, None)
    (folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff')
    assert standing(folder).state == "damaged"


@pytest.mark.parametrize(
    ("name", "is_aside"),
    [("a.2026-11-28T114500", True), ("a.2026-11-28T114500-2", True), ("a", False), ("a.2026", False)],
)
def test_a_run_that_was_set_aside_is_known_by_its_date(name: str, is_aside: bool) -> None:
    assert standing(make_run(name, [2.0])).is_aside is is_aside


def test_a_run_that_train_sets_aside_is_known() -> None:
    aside = Run(make_run("a", [2.0])).set_aside()
    assert aside is not None
    assert standing(aside).is_aside
