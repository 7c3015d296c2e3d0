"""A run that explodes with finite numbers: it ends as one that does not, and nothing of it is called good."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.errors import CheckpointError, DivergenceError
from charrnn.events import Event, Finished, Validated
from charrnn.settings.config import Budget, DataConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.divergence import bound, divergence
from charrnn.training.plan import TrainRequest, plan_start
from charrnn.training.trainer import Trainer
from tests.kit.command import Command
from tests.kit.text import make_text
from tests.kit.tiny import tiny

CPU = torch.device("cpu")
SMALL = {"num_layers": 1, "hidden_size": 8, "embedding_size": 5, "dropout": 0.0}
WILD = {"optimizer": "adamw", "weight_decay": 0.0, "clip_norm": 0.0, "warmup": 0, "decay": "constant", "average": 0.0}


def _corpus(text: str, tmp_path: Path) -> Corpus:
    path = tmp_path / "corpus.txt"
    path.write_text(text, "utf-8")
    return corpora.load([Source(path, path.name)], DataConfig(), name="corpus")


def _train(corpus: Corpus, folder: Path, seen: list[Event], **request: Any) -> None:
    plan = plan_start(TrainRequest(model=SMALL, **request), len(corpus))
    folder.mkdir()
    for event in Trainer(Run(folder), corpus, plan, device=CPU).run():
        seen.append(event)


@pytest.mark.parametrize("rate", [1e2, 1e6, 1e12, 1e18])
@pytest.mark.parametrize("every", [1, 7])
def test_a_finite_explosion_is_a_divergence(tmp_path: Path, rate: float, every: int) -> None:
    """At whatever size: it is found by the training loss or by the validation, whichever comes first; the last
    checkpoint is of a sane moment, and no validation of a model that is thrown about was called the best."""
    corpus, seen = _corpus(make_text(4000), tmp_path), list[Event]()
    training = {**WILD, "learning_rate": rate}
    run = {"validate_every": every, "log_every": 3}
    with pytest.raises(DivergenceError, match="training diverged at step") as caught:
        _train(corpus, tmp_path / "run", seen, training=training, run=run, budget=Budget(steps=60))
    assert caught.value.exit_status == 5
    assert math.isfinite(float(caught.value.message.split("loss ")[1].split(",")[0]))
    guess = math.log(len(corpus.vocabulary))
    assert all(event.validation_nats <= 3 * guess for event in seen if isinstance(event, Validated))
    assert all(event.validation_nats <= guess for event in seen if isinstance(event, Validated) and event.is_best)
    kept = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    assert all(nats <= 3 * guess for _, _, nats in kept.progress["history"])


def test_the_bound_is_three_times_guessing_or_the_first_loss() -> None:
    """ln V nats is what a guess among V characters costs."""
    assert bound(50, None) == bound(50, 1.0) == 3 * math.log(50)
    assert bound(50, 2 * math.log(50)) == 6 * math.log(50)


def test_a_held_out_part_in_other_letters_is_no_divergence(tmp_path: Path) -> None:
    """It costs more than three times guessing, since its letters never come in what is trained on; the run ends in good
    order, and says that even its best validation is worse than guessing."""
    corpus, seen = _corpus("abcd" * 600 + "wxyz" * 60, tmp_path), list[Event]()
    training = {"batch_size": 4, "bptt": 12, "learning_rate": 0.05}
    _train(corpus, tmp_path / "run", seen, training=training, run={"validate_every": 50}, budget=Budget(steps=200))
    nats = [event.validation_nats for event in seen if isinstance(event, Validated)]
    assert nats[-1] > 3 * math.log(len(corpus.vocabulary))
    assert not any(event.is_best for event in seen if isinstance(event, Validated))
    last = seen[-1]
    assert isinstance(last, Finished)
    assert last.is_worse_than_guessing
    assert (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize("nats", [8.2e19, 5.4e18, 1e300, 1.7e308])
def test_a_checkpoint_with_losses_of_any_size_can_be_read(tmp_path: Path, nats: float) -> None:
    """Its file is whole."""
    whole = tiny("last")
    progress = {**whole.progress, "best_nats": nats, "history": [[20, nats, nats], [40, None, nats]]}
    checkpoints.save(tmp_path / "last.safetensors", replace(whole, progress=progress))
    assert checkpoints.load(tmp_path / "last.safetensors").progress == progress


@pytest.mark.parametrize("entry", [[1, 2.0, "3"], [1.5, 2.0, 3.0], [1, 2.0], [1, True, 3.0], [1 << 63, 2.0, 3.0]])
def test_what_is_no_loss_is_still_refused(tmp_path: Path, entry: list[Any]) -> None:
    """Nor is a step that is none."""
    whole = tiny("last")
    checkpoints.save(tmp_path / "last.safetensors", replace(whole, progress={**whole.progress, "history": [entry]}))
    with pytest.raises(CheckpointError, match=r"history\[0\] is"):
        checkpoints.load(tmp_path / "last.safetensors")


def _words(rate: str, *more: str) -> list[str]:
    small = ["--hidden", "8", "--embedding", "5", "--batch", "4", "--bptt", "20", "--threads", "1", "--steps", "60"]
    wild = [
        "--optimizer",
        "adamw",
        "--weight-decay",
        "0",
        "--clip",
        "0",
        "--warmup",
        "0",
        "--decay",
        "constant",
        "--average",
        "0",
        "--validate-every",
        "1",
    ]
    return ["train", "text.txt", *small, *wild, "--lr", rate, "--sample-every", "0", "--out", "run", *more]


def test_the_ways_out_are_those_that_have_not_failed(command: Command) -> None:
    """A run that stops is offered a rollback, one that has rolled back ten times is not."""
    Path("text.txt").write_text(make_text(4000), "utf-8")
    stopped = command(*_words("1e6"))
    assert stopped.status == 5
    assert "let --on-divergence rollback try" in stopped.err
    failed = command(*_words("1e12", "--on-divergence", "rollback", "--fresh"))
    assert failed.status == 5
    assert failed.err.count("note: training diverged at step") == 10
    assert "going back to it 10 times, at half the rate each time, did not help" in failed.err
    assert "--on-divergence rollback try" not in failed.err


@pytest.mark.parametrize(
    ("optimizer", "rate", "lower", "said"),
    [
        ("muon", 0.012, "0.001", "start over with a smaller --lr or --clip"),
        ("hessian-free", 1.0, "0.5", "start over with a larger --damping or --structural-damping"),
    ],
)
def test_the_ways_out_are_those_that_the_optimizer_takes(
    tmp_path: Path, optimizer: str, rate: float, lower: str, said: str
) -> None:
    """One that searches for its steps takes no --clip, and begins its search with the rate."""
    plan = plan_start(TrainRequest(training={"optimizer": optimizer}, budget=Budget(steps=9)), 4000)
    hint = " ".join(divergence(Run(tmp_path), plan, 5, 0, math.inf, math.nan, rate).hints)
    assert f"--change --lr {lower}," in hint
    assert said in hint


def test_a_run_that_has_diverged_goes_on_at_another_rate(command: Command) -> None:
    """The one that the error proposes: from the last good state, by --change."""
    Path("text.txt").write_text(make_text(4000), "utf-8")
    words = _words("0.01", "--log-every", "1")
    assert command(*[word if word != "60" else "10" for word in words]).status == 0
    result = command("train", "run", "--change", "--lr", "1e6", "--steps", "30")
    assert result.status == 5
    rate = result.err.split("--change --lr ")[1].split(",")[0]
    assert float(rate) == 0.01
    result = command("train", "run", "--change", "--lr", "0.005", "--steps", "30")
    assert result.status == 0, result.err
    kept = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert kept.progress["step"] == 30
    assert all(np.isfinite(array).all() for array in kept.parameters.values())
