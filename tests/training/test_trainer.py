"""The training run: it learns, reports, stops before harm, and keeps what it promises to keep."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.errors import DivergenceError, TextError, UsageError
from charrnn.evaluation.bpc import score
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Saved, Validated
from charrnn.network.model import CharacterModel
from charrnn.settings.choices import SEARCHING
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.learner import Learner, NotFinite
from charrnn.training.optimizers.updater import Updater
from charrnn.training.plan import TrainRequest, plan_start
from charrnn.training.recipe import completed_training
from charrnn.training.samples import Written
from charrnn.training.trainer import Trainer
from tests.kit.every_option import OPTIMIZERS

CPU = torch.device("cpu")
SMALL = {"num_layers": 1, "hidden_size": 8, "embedding_size": 5, "dropout": 0.0}


def _corpus(text: str, tmp_path: Path, config: DataConfig | None = None) -> Corpus:
    path = tmp_path / "corpus.txt"
    path.write_text(text, "utf-8")
    return corpora.load([Source(path, path.name)], config or DataConfig(), name="corpus")


def _train(corpus: Corpus, folder: Path, request: TrainRequest) -> list[Event]:
    plan = plan_start(request, len(corpus))
    folder.mkdir(exist_ok=True)
    return list(Trainer(Run(folder), corpus, plan, device=CPU).run())


def test_it_learns_a_period_by_heart(tmp_path: Path) -> None:
    """'abcabc...' costs less than 0.05 bits per character after a few hundred steps, and samples show it."""
    corpus = _corpus("abc" * 400, tmp_path)
    events = _train(
        corpus,
        tmp_path / "run",
        TrainRequest(
            model=SMALL,
            training={"batch_size": 4, "bptt": 12, "learning_rate": 0.02},
            run={"prime": "ab", "sample_length": 9, "sample_temperature": 0.5},
            budget=Budget(steps=300),
        ),
    )
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.best_nats is not None
    assert last.best_nats / math.log(2) < 0.05
    samples = [event.text for event in events if isinstance(event, Sampled)]
    assert samples[-1] == "ab" + "cabcabcab"
    assert "cabcabcab" in (tmp_path / "run" / "samples.txt").read_text("utf-8")


def test_the_first_step_is_the_plain_step(tmp_path: Path) -> None:
    """One update equals the one written out with torch's own pieces: cross-entropy, clip_grad_norm_, AdamW."""
    T, B, V = 6, 3, 7
    model_config = ModelConfig(num_layers=2, hidden_size=5, embedding_size=4)
    config = TrainingConfig(
        batch_size=B,
        bptt=T,
        clip_norm=0.01,
        weight_decay=0.1,
        seed=9,
        precision="fp32",
        optimizer="adamw",
        cautious=False,
    )
    learner = Learner(model_config, config, V, CPU)
    reference = CharacterModel(model_config, V)
    reference.initialise(torch.Generator().manual_seed(9))
    arrays = reference.arrays()
    matrices = [array for array in arrays.values() if array.dim() == 2]
    vectors = [array for array in arrays.values() if array.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.99))
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (2, T + 1, B)))
    state = reference.zero_state(B)
    for window in ids:
        outcome = learner.step(window[:-1], window[1:], learning_rate=0.05)
        optimizer.zero_grad()
        logits, after = reference(window[:-1], state)
        state = tuple(tuple(array.detach() for array in layer) for layer in after)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), window[1:].reshape(-1))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(arrays.values()), 0.01)
        optimizer.step()
        assert outcome[0].item() == pytest.approx(loss.item(), abs=1e-6)
        assert outcome[1].item() == pytest.approx(norm.item(), abs=1e-6)
        assert bool(outcome[2])
    for name, array in learner.model.arrays().items():
        torch.testing.assert_close(array, arrays[name], rtol=1e-6, atol=1e-6)


def test_validation_is_what_eval_computes(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """The loss reported in training is the score of best.safetensors on the held-out part, to the last digit."""
    corpus = _corpus(text_file(6000).read_text("utf-8"), tmp_path)
    events = _train(corpus, tmp_path / "run", TrainRequest(model=SMALL, budget=Budget(steps=30)))
    best = min(event.validation_nats for event in events if isinstance(event, Validated))
    loaded = checkpoints.load(tmp_path / "run" / "best.safetensors")
    model = CharacterModel(loaded.model, len(loaded.vocabulary))
    model.load_arrays(loaded.parameters)
    result = score(model, corpus.split(DataConfig()).validation)
    assert result.nats_per_character == best


def test_the_lines_of_metrics(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """Every line has the agreed keys, and the means are those of the reported steps."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    run = {"log_every": 5, "validate_every": 10}
    events = _train(corpus, tmp_path / "run", TrainRequest(model=SMALL, run=run, budget=Budget(steps=20)))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    training = [line for line in lines if "learning_rate" in line]
    validation = [line for line in lines if "validation_nats" in line]
    assert [line["step"] for line in training] == [5, 10, 15, 20]
    assert [line["step"] for line in validation] == [10, 20]
    common = {"step", "epoch", "characters", "seconds", "train_nats"}
    assert set(training[0]) == common | {"learning_rate", "gradient_norm", "clip_rate", "characters_per_second"}
    assert set(validation[0]) == common | {"validation_nats", "validation_bpc"}
    assert validation[0]["validation_bpc"] == pytest.approx(validation[0]["validation_nats"] / math.log(2))
    assert validation[0]["train_nats"] == pytest.approx((training[0]["train_nats"] + training[1]["train_nats"]) / 2)
    assert sum(isinstance(event, Progress) for event in events) >= 4
    assert next(event.step for event in events if isinstance(event, Saved)) == 0


def test_divergence_stops_before_the_update(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """The error names step, loss, gradient norm and learning rate; the last good checkpoint is finite and kept."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    training = {"learning_rate": 1e38, "clip_norm": 0.0, "warmup": 0, "decay": "constant"}
    with pytest.raises(DivergenceError, match=r"diverged at step \d+: loss .*, gradient norm .*, learning rate 1e\+38"):
        _train(corpus, tmp_path / "run", TrainRequest(model=SMALL, training=training, budget=Budget(steps=50)))
    kept = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    assert all(np.isfinite(array).all() for array in kept.parameters.values())


def _poison(learner: Learner) -> None:
    with torch.no_grad():
        learner.model.arrays()["decoder.bias"][0] = math.nan


@pytest.mark.parametrize(
    ("optimizer", "way"), [*itertools.product(OPTIMIZERS, ("host", "device")), *((name, "host") for name in SEARCHING)]
)
def test_a_bad_gradient_never_reaches_the_weights(optimizer: Any, way: Any) -> None:
    """Whether the check is made at once or left to the optimizer, weights and moments stay as they were."""
    model, training = (
        ModelConfig(num_layers=1, hidden_size=4, embedding_size=3),
        TrainingConfig(**completed_training({"batch_size": 2, "bptt": 6, "optimizer": optimizer})),
    )
    learner = Learner(model, training, 5, CPU, way=way)
    window = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (7, 2)))
    learner.step(window[:-1], window[1:], 0.01)
    _poison(learner)
    names = [name for name in learner.model.arrays() if name != "decoder.bias"]
    before = {name: learner.model.numpy_arrays()[name].copy() for name in names}
    if way == "host":
        with pytest.raises(NotFinite):
            learner.step(window[:-1], window[1:], 0.01)
    else:
        assert math.isnan(learner.step(window[:-1], window[1:], 0.01)[0].item())
    for name in names:
        np.testing.assert_array_equal(learner.model.numpy_arrays()[name], before[name])
    moments = learner.state()
    assert all(np.isfinite(array).all() for name, array in moments.items() if name.startswith("optimizer."))


def test_rollback_goes_on_with_half_the_learning_rate(
    text_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single bad step sends the run back to its last save; it then ends in good order, with the line ends of
    metrics neither doubled nor lost."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    original, calls = Learner.step_at, 0
    rates = []

    def once_bad(self: Learner, position: int, learning_rate: float, length: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 13:
            raise NotFinite(math.inf, math.nan)
        rates.append(learning_rate)
        original(self, position, learning_rate, length)

    monkeypatch.setattr(Learner, "step_at", once_bad)
    run = {"on_divergence": "rollback", "validate_every": 5, "log_every": 4}
    training = {"decay": "constant", "warmup": 0, "learning_rate": 0.008}
    request = TrainRequest(model=SMALL, training=training, run=run, budget=Budget(steps=20))
    events = _train(corpus, tmp_path / "run", request)
    assert [event for event in events if isinstance(event, RolledBack)] == [RolledBack(12, 10, 0.5)]
    assert rates == [0.008] * 12 + [0.004] * 10
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    steps = [json.loads(line)["step"] for line in lines if "learning_rate" in line]
    assert steps == [4, 8, 12, 16, 20]


def test_rollback_gives_up_in_the_end(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """A run that diverges at any learning rate ends with the error all the same."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    training = {"learning_rate": 1e38, "clip_norm": 0.0, "warmup": 0, "decay": "constant"}
    request = TrainRequest(model=SMALL, training=training, run={"on_divergence": "rollback"}, budget=Budget(steps=50))
    with pytest.raises(DivergenceError):
        _train(corpus, tmp_path / "run", request)


def test_patience_stops_a_run_that_gains_nothing(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """With a learning rate near nothing on the wrong side of luck, validations stop improving."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    training = {"learning_rate": 0.5, "warmup": 0, "decay": "constant"}
    run = {"patience": 2, "validate_every": 1}
    events = _train(
        corpus, tmp_path / "run", TrainRequest(model=SMALL, training=training, run=run, budget=Budget(steps=500))
    )
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reason == "patience"
    assert last.step < 500
    nats = [event.validation_nats for event in events if isinstance(event, Validated)]
    assert min(nats) == nats[-3]


def test_without_a_held_out_part_the_best_is_the_latest(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """It is said, and both files hold the same weights at the end."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    request = TrainRequest(
        model=SMALL, data={"validation_fraction": 0.0}, training={"average": 0.0}, budget=Budget(steps=12)
    )
    events = _train(corpus, tmp_path / "run", request)
    assert any("nothing is held out" in event.text for event in events if isinstance(event, Notice))
    best, last = (checkpoints.load(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    for name, array in best.parameters.items():
        np.testing.assert_array_equal(array, last.parameters[name])


def test_without_a_held_out_part_samples_have_the_loss_since_the_last(
    text_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Places where validations would be pass unseen, and the loss up to them is that of the sample there."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    request = TrainRequest(
        model=SMALL, data={"validation_fraction": 0.0}, run={"validate_every": 2, "sample_every": 2, "log_every": 2},
        budget=Budget(steps=8),
    )  # fmt: skip
    events = _train(corpus, tmp_path / "run", request)
    sampled = {event.step: event.train_nats for event in events if isinstance(event, Sampled)}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    logged = {line["step"]: line["train_nats"] for line in lines if "learning_rate" in line}
    assert list(sampled) == [2, 4, 6, 8]
    assert sampled == pytest.approx(logged)


def test_two_hundred_characters_train(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """The smallest corpus shrinks lanes and window, says so, and runs to its end; one character less is refused."""
    text = text_file(200).read_text("utf-8")
    events = _train(_corpus(text, tmp_path), tmp_path / "run", TrainRequest(model=SMALL, budget=Budget(steps=5)))
    assert any("180 characters" in event.text for event in events if isinstance(event, Notice))
    assert isinstance(events[-1], Finished)
    with pytest.raises(TextError, match="199 characters; training needs at least 200"):
        _corpus(text[:-1], tmp_path).split(DataConfig())


def test_a_prime_with_unknown_characters_is_refused_at_once(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """Not at the first sample, an hour later."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    with pytest.raises(TextError, match=r"U\+03A9"):
        _train(corpus, tmp_path / "run", TrainRequest(model=SMALL, run={"prime": "Ω"}, budget=Budget(steps=5)))
    assert not (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.parametrize("name", ["muon", "adamw", "schedule-free", "sgd", "rmsprop"])
def test_weight_decay_spares_the_biases(name: str) -> None:
    """With zero gradients matrices shrink and biases stay."""
    model = CharacterModel(ModelConfig(num_layers=1, hidden_size=4, embedding_size=3), 5)
    model.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for array in model.arrays().values():
            array.fill_(1.0)
    arrays = model.arrays()
    asked = {"optimizer": name, "weight_decay": 0.5, "learning_rate": 0.1}
    updater = Updater(TrainingConfig(**completed_training(asked)), arrays)
    updater.step([torch.zeros_like(array) for array in arrays.values()], 0)
    for key, array in arrays.items():
        assert bool((array < 1).all()) == (array.dim() == 2), key


def test_the_same_seed_gives_the_same_run_and_another_does_not(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """Weights after ten steps, twice with one seed and once with another."""
    corpus = _corpus(text_file().read_text("utf-8"), tmp_path)
    results = []
    for number, seed in enumerate((1, 1, 2)):
        model = {**SMALL, "dropout": 0.5}
        _train(
            corpus,
            tmp_path / f"run{number}",
            TrainRequest(model=model, training={"seed": seed}, budget=Budget(steps=10)),
        )
        loaded = checkpoints.load(tmp_path / f"run{number}" / "last.safetensors")
        results.append({name: array.tobytes() for name, array in loaded.parameters.items()})
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_time_that_runs_out_while_a_sample_is_written_does_not_cost_the_last_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in minutes ends validated, and the next start finds it finished."""
    now = [0.0]
    monkeypatch.setattr("charrnn.training.trainer.time.monotonic", lambda: now[0])

    def slow(*_: object) -> Written:
        now[0] += 100.0
        return Written("text")

    monkeypatch.setattr("charrnn.training.trainer.write_sample", slow)
    corpus, run = _corpus("abc" * 400, tmp_path), {"sample_every": 1, "validate_every": 1000}
    request = TrainRequest(model=SMALL, training={"batch_size": 4, "bptt": 12}, run=run, budget=Budget(minutes=1))
    events = _train(corpus, tmp_path / "run", request)
    assert [type(event) for event in events if isinstance(event, Sampled | Validated)] == [Sampled, Validated]
    counters = checkpoints.load(tmp_path / "run/last.safetensors", with_state=True).training["counters"]
    assert (counters["step"], counters["validated_step"], counters["sampled_step"]) == (1, 1, 1)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    """Two trainings in one folder would destroy each other."""
    run = Run(tmp_path / "run")
    with run.locked(), pytest.raises(UsageError, match="another process"), run.locked():
        pass


def test_the_forget_gate_starts_open() -> None:
    """Its bias is what was asked for; all other recurrent biases start at zero."""
    H = 6
    model = CharacterModel(ModelConfig(num_layers=2, hidden_size=H, embedding_size=3, forget_bias=1.5), 5)
    model.initialise(torch.Generator().manual_seed(0))
    for layer in (1, 2):
        bias = model.arrays()[f"layers.{layer}.bias"].detach().reshape(4, H)
        assert (bias[1] == 1.5).all()
        assert not bias[[0, 2, 3]].any()
