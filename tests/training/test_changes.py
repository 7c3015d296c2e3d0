"""What --change lets a run take over: which settings may change, that it is kept, and that a resume is exact again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.errors import UsageError
from charrnn.settings.config import DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import settings_of
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.plan import OtherSettings, TrainRequest, plan_resume
from charrnn.training.trainer import Trainer
from tests.kit.command import Command, Result
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text
from tests.kit.twenty_steps import REQUEST, STEPS, train

OTHER: dict[str, Any] = {
    "dropout": 0.1, "variational_dropout": 0.2, "input_dropout": 0.2, "output_dropout": 0.2, "weight_drop": 0.2,
    "embedding_dropout": 0.2, "zoneout": 0.1, "zoneout_cell": 0.1, "recurrent_dropout": 0.1,
    "bptt": 20, "random_bptt": True, "state_reset": 0.5, "learning_rate": 0.003, "muon_ratio": 0.5, "cautious": False,
    "momentum": 0.5, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.2, "clip_norm": 0.1, "clip_loss": "sum",
    "warmup": 5, "decay": "constant", "final_learning_rate": 0.2, "average": 0.0, "average_after": 2,
    "average_from": 0.7, "precision": "fp32", "activation_penalty": 0.1, "temporal_penalty": 0.1,
    "orthogonal_penalty": 0.01, "l2": 0.01, "jacobian_penalty": 0.01, "label_smoothing": 0.1, "distill_weight": 0.2,
    "cg_steps": 3, "curvature_share": 0.5, "structural_damping": 0.3,
}  # fmt: skip
"""Another value for each setting that may change."""
FIXED: dict[str, Any] = {
    "cell": "gru", "num_layers": 1, "hidden_size": 7, "embedding_size": 6, "forget_bias": 2.0, "init": "chrono",
    "init_gain": 2.0, "chrono_range": 9, "gate_bias": 1.0, "spectral_radius": 0.9, "tie": True, "skip": "sum",
    "activation": "relu", "forget_gate": False, "peephole": True, "coupled": "tied", "orthogonal": True,
    "reset_gate": "before",
    "layer_norm": True, "batch_norm": True, "multiplicative": True, "mogrifier": 2, "mogrifier_rank": 2,
    "validation_fraction": 0.2, "test_fraction": 0.2, "encoding": "latin-1", "encoding_errors": "replace",
    "as_bytes": True, "newlines": "lf", "documents": "lines", "column": "text", "split_seed": 2,
    "held_out": "blocks",
    "normalize": "nfd", "lowercase": True, "min_count": 2, "batch_size": 4, "optimizer": "adamw",
    "seed": 9, "freeze": "echo", "distill": 0.3, "damping": 0.5,
}  # fmt: skip
"""Another value for each that may not."""
GROUPS: dict[str, type[Any]] = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    return corpora.load([Source(text_file(2000), "text.txt")], DataConfig(), name="text")


def _group(name: str) -> str:
    (group,) = (group for group, cls in GROUPS.items() if name in settings_of(cls))
    return group


def _asked(before: TrainRequest = REQUEST, **settings: Any) -> TrainRequest:
    """The same request with other settings, by --change."""
    request = replace(before, change=True)
    for name, value in settings.items():
        group = _group(name)
        request = replace(request, **{group: {**getattr(request, group), name: value}})  # type: ignore[arg-type]
    return request


def test_every_setting_may_change_or_says_why_not() -> None:
    """By its declaration alone; a new setting must be put into one of the tables above."""
    declared = {name: each for cls in GROUPS.values() for name, each in settings_of(cls).items()}
    assert {name for name, each in declared.items() if each.fixed} == set(FIXED)
    assert {name for name, each in declared.items() if not (each.fixed or each.may_change)} == set(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_what_may_change_does_and_the_run_is_exact_again(corpus: Corpus, tmp_path: Path, name: str) -> None:
    """From step 7 on another value; cut again at step 12, it is the run that was not cut, and the same request without
    `change` goes on with it."""
    first = _first_for(name)
    later = _asked(first, **{name: OTHER[name]})
    for run in ("whole", "cut"):
        train(tmp_path / run, corpus, first, stop_after=7)
    train(tmp_path / "whole", corpus, later)
    train(tmp_path / "cut", corpus, later, stop_after=5)
    assert train(tmp_path / "cut", corpus, replace(later, change=False)).step == STEPS
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    last = checkpoints.load(tmp_path / "cut" / "last.safetensors", with_state=True)
    assert _value(last, name) == OTHER[name]
    (change,) = last.lineage["changes"]
    flag = settings_of(GROUPS[_group(name)])[name].flag.removeprefix("--")
    assert change["step"] == 7
    assert change["settings"][flag][1] == OTHER[name]


def _first_for(name: str) -> TrainRequest:
    """A run in which the setting has a meaning."""
    if name == "jacobian_penalty":
        return replace(REQUEST, model={**REQUEST.model, "cell": "rnn"})
    if name in ("cg_steps", "curvature_share", "structural_damping"):
        return replace(REQUEST, training={"optimizer": "hessian-free", "batch_size": 4, "bptt": 9, "cg_steps": 4})
    if name == "momentum":
        return replace(REQUEST, training={**REQUEST.training, "optimizer": "sgd"})
    return REQUEST


def _value(checkpoint: Checkpoint, name: str) -> Any:
    return checkpoint.training["training"].get(name, getattr(checkpoint.model, name, None))


@pytest.mark.parametrize("name", FIXED)
def test_what_may_not_change_says_why(corpus: Corpus, tmp_path: Path, name: str) -> None:
    """In the setting's name, with both values and the reason; the run is as it was."""
    train(tmp_path / "run", corpus, stop_after=2)
    last = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    declared = settings_of(GROUPS[_group(name)])[name]
    with pytest.raises(UsageError) as caught:
        plan_resume(_asked(**{name: FIXED[name]}), last, corpus.sha256)
    assert caught.value.message.startswith(f"--change does not go with {declared.flag} ")
    assert caught.value.message.endswith(f" -> {FIXED[name]}, since {declared.fixed}")


def test_an_average_that_begins_late_begins_with_the_weights(corpus: Corpus, tmp_path: Path) -> None:
    """Its arrays are not in the checkpoint before."""
    without = replace(REQUEST, training={**REQUEST.training, "average": 0.0})
    train(tmp_path / "run", corpus, without, stop_after=7)
    saved = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    assert not any(name.startswith("average.") for name in saved.state)
    plan = plan_resume(_asked(average=0.5), saved, corpus.sha256)
    trainer = Trainer(Run(tmp_path / "run"), corpus, plan, device=torch.device("cpu"), resume=saved)
    state = trainer._stage.learner.state()
    for name, array in saved.parameters.items():
        assert (state[f"average.{name}"] == array).all()


def test_momentum_that_begins_late_begins_with_zeros(corpus: Corpus, tmp_path: Path) -> None:
    """As it does at a run's start."""
    training = {**REQUEST.training, "optimizer": "sgd", "momentum": 0.0}
    train(tmp_path / "run", corpus, replace(REQUEST, training=training), stop_after=7)
    saved = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    request = replace(REQUEST, change=True, training={**training, "momentum": 0.9})
    plan = plan_resume(request, saved, corpus.sha256)
    trainer = Trainer(Run(tmp_path / "run"), corpus, plan, device=torch.device("cpu"), resume=saved)
    buffers = [array for name, array in trainer._stage.learner.state().items() if "momentum_buffer" in name]
    assert buffers
    assert not any(array.any() for array in buffers)


def test_a_rate_that_is_given_holds_as_it_is_given(corpus: Corpus, tmp_path: Path) -> None:
    """Also where rollbacks have made the one before smaller; other changes leave that as it is."""
    train(tmp_path / "run", corpus, stop_after=7)
    saved = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    counters = {**saved.training["counters"], "learning_rate_scale": 0.25, "rollbacks": 2}
    saved = replace(saved, training={**saved.training, "counters": counters})
    for settings, scale in (({"learning_rate": 0.5}, 1.0), ({"clip_norm": 0.5}, 0.25)):
        plan = plan_resume(_asked(**settings), saved, corpus.sha256)
        trainer = Trainer(Run(tmp_path / "run"), corpus, plan, device=torch.device("cpu"), resume=saved)
        assert trainer._counters.learning_rate_scale == scale


def test_what_is_left_out_stays(corpus: Corpus, tmp_path: Path) -> None:
    """By --change only what is given differs; without it what is left out is told."""
    train(tmp_path / "run", corpus, stop_after=2)
    last = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    plan = plan_resume(TrainRequest(training={"clip_norm": 0.3}, change=True), last, corpus.sha256)
    assert (plan.training.clip_norm, plan.training.batch_size, plan.model.dropout) == (0.3, 5, 0.4)
    with pytest.raises(OtherSettings, match="--layers 2 -> not given"):
        plan_resume(TrainRequest(training={"clip_norm": 0.3}), last, corpus.sha256)


SMALL = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-every", "0",
    "--validate-every", "3", "--log-every", "2",
]  # fmt: skip


def _begun(command: Command, *more: str) -> list[str]:
    Path("text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "text.txt", *SMALL, *more, "--out", "run"]
    assert command(*words, "--steps", "4").status == 0
    return words


def _notes(result: Result) -> list[str]:
    assert result.status == 0, result.err
    return re.findall(r"^note: (.*)$", result.err, re.MULTILINE)


def test_a_change_is_told_and_kept(command: Command) -> None:
    """In the notices, the metrics, the checkpoint, config.json and `inspect`; it is made once."""
    words = _begun(command, "--lr", "0.01")
    refused = command(*words[:-4], "--lr", "0.002", "--out", "run", "--steps", "6")
    assert refused.status == 2
    assert "settings: --lr 0.01 -> 0.002" in refused.err
    assert "add --change to take over what is given now" in refused.err
    now = ["train", "run", "--lr", "0.002", "--clip", "0.5", "--steps", "8"]
    assert "from step 4 on: --lr 0.01 -> 0.002, --clip 1.0 -> 0.5" in _notes(command(*now, "--change"))
    for again in (
        now,
        [*now, "--change"],
        ["train", "run"],
        [*words[:-4], "--lr", "0.002", "--clip", "0.5", "--out", "run"],
    ):
        assert not any("from step" in note for note in _notes(command(*again)))
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text("utf-8").splitlines()]
    (line,) = (line for line in lines if "change" in line)
    settings = {"lr": [0.01, 0.002], "clip": [1.0, 0.5], "steps": [4, 8]}
    assert (line["step"], line["change"]) == (4, {"settings": settings})
    last = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert last.lineage == {"changes": [{"step": 4, "settings": settings}]}
    config = json.loads(Path("run/config.json").read_text("utf-8"))
    assert (config["lr"], config["clip"]) == (0.002, 0.5)
    assert "at step 4 --lr 0.01 -> 0.002, --clip 1.0 -> 0.5" in " ".join(command("inspect", "-c", "run").out.split())
    verified = command("inspect", "run", "--verify")
    assert verified.status == 0, verified.out
    assert len(charrnn.curve("run").training["step"]) == 4


def test_a_model_with_another_dropout_is_of_the_same_run(command: Command) -> None:
    """`inspect --verify` compares the best, which is of before, with the last: only what no run changes."""
    _begun(command)
    assert command("train", "run", "--change", "--dropout", "0.5", "--lr", "1e-30", "--steps", "6").status == 0
    dropouts = {name: checkpoints.load(Path(f"run/{name}.safetensors")).model.dropout for name in ("best", "last")}
    assert dropouts["last"] == 0.5
    result = command("inspect", "run", "--verify")
    assert result.status == 0, result.out


def test_nothing_is_changed_where_it_cannot(command: Command) -> None:
    """Also by settings that contradict each other; the folder is as it was."""
    _begun(command)
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    for more, said in (
        (["--hidden", "5"], "--change does not go with --hidden 4 -> 5, since it shapes the weights"),
        (["--optimizer", "sgd"], "--init-from begins another run with the weights of this one"),
        (["--jacobian-penalty", "1"], "--jacobian-penalty"),
    ):
        result = command("train", "run", "--change", *more, "--steps", "6")
        assert result.status == 2
        assert said in result.err
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_change_is_about_one_start(command: Command) -> None:
    """No file holds it; a run that begins has nothing to change."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    Path("it.toml").write_text("change = true\n")
    assert "--change is about one start of a run" in command("train", "text.txt", "--config", "it.toml").err
    assert command("train", "text.txt", *SMALL, "--steps", "2", "--change", "--out", "run").status == 0
    assert "changes" not in checkpoints.load(Path("run/last.safetensors")).lineage


def test_it_is_the_same_from_python(command: Command) -> None:
    """The call that the error proposes."""
    _begun(command, "--lr", "0.01")
    with pytest.raises(UsageError, match=r"learning_rate=0\.01 -> 0\.002") as caught:
        list(charrnn.train("run", learning_rate=0.002, steps=6))
    assert "change=True" in (caught.value.hint or "")
    list(charrnn.train("run", learning_rate=0.002, steps=6, change=True))
    last = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert last.training["training"]["learning_rate"] == 0.002
