"""A run that learns from another one: what it learns, that it keeps what it needs, and what does not go together."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.events import Progress
from charrnn.network.precision import choose_precision
from charrnn.training import fitting
from charrnn.training import teacher as teachers
from charrnn.training.teacher import Teacher
from tests.kit.command import Command, Result
from tests.kit.interrupt import interrupted_after
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text
from tests.kit.trained_once import trained_once

SMALL = [
    "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-every", "4", "--sample-length", "5",
    "--validate-every", "3", "--log-every", "2",
]  # fmt: skip
STUDENT = ["--cell", "gru", "--hidden", "5", "--embedding", "3", "--layers", "1"]


@pytest.fixture(autouse=True)
def _teacher(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = make_text(3000, 1)
    Path("old.txt").write_text(old, "utf-8")
    known = set(old) - set("eg")
    Path("new.txt").write_text("".join(each for each in make_text(3500, 2) if each in known), "utf-8")
    words = ["--hidden", "6", "--embedding", "4", "--layers", "2", *SMALL, "--steps", "40"]
    trained_once(command, tmp_path_factory, "old", "old.txt", *words)


def _load(path: str) -> Checkpoint:
    return checkpoints.load(Path(path), with_state=True)


def _begin(command: Command, *more: str, text: str = "new.txt", out: str = "new", steps: str = "8") -> Result:
    words = ["train", text, *STUDENT, *SMALL, "--distill-from", "old", "--steps", steps, "--out", out]
    return command(*words, *more)


def test_a_student_is_another_model_of_the_same_characters(command: Command) -> None:
    """Of another cell and size, with the teacher's vocabulary, though the text lacks some of it; what it has learned is
    not what it would have learned alone."""
    assert _begin(command).status == 0
    assert _begin(command, "--distill-weight", "0", out="alone").status == 0
    taught, alone, old = _load("new/best.safetensors"), _load("alone/best.safetensors"), _load("old/best.safetensors")
    assert (taught.model.cell, taught.model.hidden_size) == ("gru", 5)
    assert taught.model.dropout == 0.1 < alone.model.dropout
    assert taught.vocabulary == old.vocabulary
    assert (taught.parameters["embedding"] != alone.parameters["embedding"]).any()
    assert set(taught.state) == set(taught.training) == set()
    last = _load("new/last.safetensors")
    for name, array in old.parameters.items():
        np.testing.assert_array_equal(last.state[f"teacher.1.{name}"], array)


def test_all_weight_on_the_teacher_makes_its_copy(command: Command) -> None:
    """A student of the same shape that sees no true character comes near to the teacher, and reports the plain loss."""
    more = ["--distill-weight", "1", "--dropout", "0", "--lr", "0.02"]
    words = ["train", "old.txt", "--hidden", "12", "--embedding", "5", "--layers", "1", *SMALL, "--distill-from", "old"]
    assert command(*words, "--steps", "250", "--out", "copy", *more).status == 0
    text = Path("old.txt").read_text("utf-8")[:400]
    one, other = (charrnn.load(run).probabilities(text) for run in ("old", "copy/last.safetensors"))
    assert np.abs(one - other).sum(1).mean() < 0.2 * np.abs(one - 1 / one.shape[1]).sum(1).mean()
    history = _load("copy/last.safetensors").progress["history"]
    assert history[-1][1] == pytest.approx(history[-1][2], abs=0.3)


@pytest.mark.parametrize("fits", [True, False])
def test_cut_anywhere_it_is_the_run_that_was_not(command: Command, monkeypatch: pytest.MonkeyPatch, fits: bool) -> None:
    """Every tensor, every line and every sample, while the teacher's folder is gone and the run's own has moved."""
    monkeypatch.setattr(teachers, "_MOST_BYTES", 1 << 30 if fits else 1)
    more = ["--dropout", "0.3", "--state-reset", "0.3"]
    begun = _begin(command, *more, out="whole")
    assert begun.status == 0, begun.err
    assert ("reads along" in begun.err) is not fits
    for k in (1, 5):
        with interrupted_after(k):
            assert _begin(command, *more, out=f"cut{k}").status == 143
        shutil.move("old", "away")
        shutil.move(f"cut{k}", f"moved{k}")
        result = command("train", f"moved{k}")
        assert result.status == 0, result.err
        shutil.move("away", "old")
        assert_same_run(Path(f"moved{k}"), Path("whole"))


def test_a_signal_while_the_teacher_reads_loses_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends before its first step, and goes on as one that was never stopped."""
    assert _begin(command, out="whole").status == 0
    mean = Teacher._mean

    def stopping(self: Any, *given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return mean(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "_mean", stopping)
        assert _begin(command, out="cut").status == 143
    assert _load("cut/last.safetensors").progress["step"] == 0
    assert _begin(command, out="cut").status == 0
    assert_same_run(Path("cut"), Path("whole"))


def test_where_the_teacher_comes_from_is_recorded(command: Command) -> None:
    """By the digest in the checkpoint, which holds no path; config.json has the path, too."""
    result = _begin(command, "--distill-weight", "0.75")
    assert "the teacher is a model of old, step 40: its distributions have 75% of the weight" in result.err
    digest = checkpoints.fingerprint(Path("old/best.safetensors"))
    for name in ("best", "last"):
        assert _load(f"new/{name}.safetensors").lineage["teacher"]["sha256"] == digest
        assert str(Path.cwd()).encode() not in Path(f"new/{name}.safetensors").read_bytes()
    config = json.loads(Path("new/config.json").read_text("utf-8"))
    assert (config["distill-from"], config["taught-by"]) == (str(Path.cwd() / "old"), digest)
    assert "taught by" in command("inspect", "-c", "new").out
    assert digest[:16] in command("inspect", "-c", "new").out
    assert command("inspect", "new", "--verify").status == 0
    assert command("train", "new", "--fresh").status == 0
    assert _load("new/last.safetensors").lineage["teacher"]["sha256"] == digest


def test_other_characters_are_refused(command: Command) -> None:
    """With those that the teacher does not know, before a folder is made."""
    Path("new.txt").write_text(Path("new.txt").read_text("utf-8") + "ßΩ\x07", "utf-8")
    result = _begin(command)
    assert result.status == 3
    assert r"the teacher that --distill-from names does not know, 3 characters: \x07 ß Ω" in result.err
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bytes"], "--bytes is given, and the model that --distill-from names knows characters, not bytes"),
        (["--documents", "lines"], "has learned one long text, and this run would learn documents"),
        (["--init-from", "folded"], "was trained with --lowercase True, and the one that --distill-from names with F"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_what_the_teacher_would_read_otherwise_is_refused(command: Command, more: list[str], said: str) -> None:
    """Bytes, documents, and a model to begin with that reads texts in another way."""
    if "folded" in more:
        assert (
            command("train", "old.txt", *STUDENT, *SMALL, "--steps", "2", "--lowercase", "--out", "folded").status == 0
        )
    words = ["train", "new.txt", *SMALL, "--distill-from", "old", "--steps", "3", "--out", "new"]
    result = command(*words, *more)
    assert result.status == 2
    assert said in result.err
    assert not Path("new").exists()


def test_a_teacher_of_documents_teaches_documents(command: Command) -> None:
    """Without being told, with an end that is learned; a student may begin from one model and learn from another."""
    words = ["--hidden", "5", "--embedding", "4", "--layers", "1", *SMALL, "--steps"]
    assert command("train", "old.txt", *words, "9", "--documents", "lines", "--out", "lines").status == 0
    more = ["--init-from", "lines", "--distill-from", "lines", "--out", "new"]
    for steps in ("5", "8"):
        result = command("train", "old.txt", *SMALL, "--steps", steps, *more)
        assert result.status == 0, result.err
    last = _load("new/last.safetensors")
    assert last.data.documents == "lines"
    assert last.vocabulary.has_end
    assert set(last.lineage) == {"from", "teacher"}


def test_another_teacher_or_none_is_refused_where_a_run_goes_on(command: Command) -> None:
    """The recorded one may have learned more since."""
    assert _begin(command).status == 0
    assert command("train", "old", "--steps", "60", "--quiet").status == 0
    shutil.copytree("old", "other")
    result = _begin(command, steps="9")
    assert result.status == 0, result.err
    result = command("train", "new.txt", *STUDENT, *SMALL, "--steps", "10", "--out", "new", "--distill-from", "other")
    assert result.status == 2
    assert "the run in new learns from another model, and --distill-from is other" in result.err
    result = command("train", "old", "--steps", "70", "--distill-from", "other")
    assert result.status == 2
    assert "the run in old does not learn from a model, and --distill-from is other" in result.err
    assert command("train", "new.txt", "--distill-from", "nowhere", "--steps", "1").status == 4


def test_what_is_learned_can_be_changed_and_the_text_may_grow(command: Command) -> None:
    """Another weight and smoothing from a step on; a text with new characters is refused."""
    assert _begin(command).status == 0
    more = ["--distill-weight", "0.2", "--label-smoothing", "0.1", "--change"]
    with Path("new.txt").open("a", encoding="utf-8") as file:
        file.write(make_text(300, 1)[:200])
    result = _begin(command, *more, steps="12")
    assert result.status == 0, result.err
    assert _load("new/last.safetensors").training["training"]["distill_weight"] == 0.2
    assert command("inspect", "new", "--verify").status == 0
    with Path("new.txt").open("a", encoding="utf-8") as file:
        file.write("ßßß")
    result = _begin(command, *more, steps="14")
    assert result.status == 3
    assert "does not know, 1 character: ß" in result.err


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_teacher_multiplies_as_the_learner_does(
    precision: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 where the learner does, which takes half the time, and in float32 where that was asked for."""
    assert _begin(command, out="theirs").status == 0
    made = []

    def teacher(*given: Any, is_narrow: bool, **more: Any) -> Teacher:
        made.append(is_narrow)
        return Teacher(*given, is_narrow=is_narrow, **more)

    monkeypatch.setattr(fitting, "Teacher", teacher)
    settings: dict[str, Any] = {"threads": 1, "steps": 2, "cell": "gru", "hidden_size": 5, "num_layers": 1}
    list(charrnn.train("new.txt", distill_from="old", out="ours", precision=precision, **settings))
    assert set(made) == {precision == "auto" and choose_precision("auto", torch.device("cpu")) == "bf16"}


def test_the_time_of_the_teacher_is_in_no_speed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the first step is not what a step takes."""
    prepare, made = Teacher.prepare, []

    def slow(teacher: Teacher, proceed: Any) -> None:
        time.sleep(0.2)
        prepare(teacher, proceed)
        teacher.preparing_seconds += 0.2
        made.append(teacher)

    monkeypatch.setattr(Teacher, "prepare", slow)
    settings: dict[str, Any] = {"threads": 1, "cell": "gru", "hidden_size": 5, "num_layers": 1, "log_every": 1}
    events = list(charrnn.train("new.txt", distill_from="old", out="new", steps=3, **settings))
    reports = [event for event in events if isinstance(event, Progress)]
    assert reports
    for report in reports:  # seconds are told in thousandths
        at_most, at_least = (report.seconds - made[0].preparing_seconds + change for change in (0.001, -0.001))
        assert report.characters / at_most <= report.characters_per_second
        assert at_least <= 0 or report.characters_per_second <= report.characters / at_least


def test_it_is_the_same_from_python(command: Command) -> None:
    """The call makes the run that the command makes."""
    assert _begin(command, out="theirs").status == 0
    settings: dict[str, Any] = {
        "batch_size": 4, "bptt": 9, "threads": 1, "sample_every": 4, "sample_length": 5, "validate_every": 3,
        "log_every": 2, "steps": 8, "cell": "gru", "hidden_size": 5, "embedding_size": 3, "num_layers": 1,
    }  # fmt: skip
    list(charrnn.train("new.txt", distill_from="old", out="ours", **settings))
    assert_same_run(Path("ours"), Path("theirs"))


def test_a_checkpoint_whose_teacher_is_not_whole_is_damaged(command: Command, tmp_path: Path) -> None:
    """Arrays that are missing, of another shape, of another type, too many, or of nobody, and a record that is none."""
    assert _begin(command).status == 0
    last = _load("new/last.safetensors")
    name = "teacher.1.layers.2.weight_hh"
    array = last.state[name]
    state = dict(last.state)
    kept = last.training["teacher"]
    path = tmp_path / "last.safetensors"
    without = {each: state[each] for each in state if each != name}
    untold = {each: last.training[each] for each in last.training if each != "teacher"}
    broken = [
        replace(last, state=without),
        replace(last, state={**state, name: array[1:]}),
        replace(last, state={**state, name: array.astype(np.float64)}),
        replace(last, state={**state, "teacher.2.embedding": array}),
        replace(last, training=untold),
        replace(last, training={**last.training, "teacher": {**kept, "members": 2}}),
        replace(last, training={**last.training, "teacher": {**kept, "members": 10**9}}),
        replace(last, training={**last.training, "teacher": {**kept, "members": True}}),
        replace(last, training={**last.training, "teacher": {**kept, "model": {**kept["model"], "num_layers": 999}}}),
        replace(last, training={**last.training, "teacher": {}}),
        replace(last, training={**last.training, "teacher": 1}),
    ]
    checkpoints.save(path, last)
    checkpoints.load(path, with_state=True)
    for each in broken:
        checkpoints.save(path, each)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoints.load(path, with_state=True)
