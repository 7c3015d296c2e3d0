"""A resumed run equals the uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.errors import UsageError
from charrnn.events import Finished, Notice, Saved
from charrnn.settings.config import Budget, DataConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training import samples
from charrnn.training.plan import TrainRequest, plan_resume
from charrnn.training.trainer import Trainer
from tests.kit.command import Command
from tests.kit.forked import Job, run
from tests.kit.runs_compared import assert_same_run, metrics, tensors
from tests.kit.text import make_text
from tests.kit.twenty_steps import REQUEST, STEPS, plan, train


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    path = text_file(2000)
    return corpora.load([Source(path, "text.txt")], DataConfig(), name="text")


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_run_stopped_anywhere_and_resumed_is_the_same_run(corpus: Corpus, tmp_path: Path, cell: str) -> None:
    """For every k in 1..20: tensors of both checkpoints, metrics and samples are equal; dropout is on."""
    request = replace(REQUEST, model={**REQUEST.model, "cell": cell})
    whole = train(tmp_path / "whole", corpus, request)
    assert whole.reason == "budget"
    assert whole.step == STEPS
    for k in range(1, STEPS + 1):
        folder = tmp_path / f"stopped-after-{k}"
        assert train(folder, corpus, request, stop_after=k).reason == ("signal")
        train(folder, corpus, request)
        assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    "variant",
    [
        {"cell": "rnn", "activation": "relu"},
        {"peephole": True, "coupled": "tied"},
        {"layer_norm": True, "coupled": "min"},
        {"cell": "gru", "layer_norm": True, "zoneout": 0.2},
        {"cell": "gru", "reset_gate": "before", "zoneout": 0.2},
        {"zoneout": 0.1, "zoneout_cell": 0.5},
        {"recurrent_dropout": 0.3},
        {"cell": "gru", "multiplicative": True, "recurrent_dropout": 0.3},
        {"mogrifier": 3, "mogrifier_rank": 2, "multiplicative": True},
    ],
    ids=lambda variant: " ".join(variant),
)
def test_every_kind_of_cell_resumes_exactly(corpus: Corpus, tmp_path: Path, variant: dict[str, object]) -> None:
    """What cells draw comes from the generator that the checkpoint holds; in one piece and with the lanes in two."""
    for accumulate in (1, 2):
        run = {**REQUEST.run, "accumulate": accumulate}
        request = replace(REQUEST, model={**REQUEST.model, **variant}, run=run)
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        train(folder / "whole", corpus, request)
        for k in (1, 8):
            train(folder / f"cut-{k}", corpus, request, stop_after=k)
            train(folder / f"cut-{k}", corpus, request)
            assert_same_run(folder / f"cut-{k}", folder / "whole")


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "cautious": False, "average": 0.0},
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop"},
        {"precision": "fp32"},
        {"average": 1.0},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_optimizer_resumes_exactly(corpus: Corpus, tmp_path: Path, settings: dict[str, object]) -> None:
    """Momentum, moving averages and averaged weights are all in the checkpoint, in either precision."""
    request = replace(REQUEST, training={**REQUEST.training, **settings})
    train(tmp_path / "whole", corpus, request)
    for k in (1, 8):
        train(tmp_path / f"cut-{k}", corpus, request, stop_after=k)
        train(tmp_path / f"cut-{k}", corpus, request)
        assert_same_run(tmp_path / f"cut-{k}", tmp_path / "whole")


def test_stopped_at_every_step_is_still_the_same_run(corpus: Corpus, tmp_path: Path) -> None:
    """Twenty interruptions in one run add up to none."""
    train(tmp_path / "whole", corpus)
    for _ in range(STEPS + 1):
        train(tmp_path / "stuttering", corpus, stop_after=1)
    assert_same_run(tmp_path / "stuttering", tmp_path / "whole")


@pytest.mark.parametrize("saves", [1, 2])
def test_killed_between_the_last_validation_and_the_end_the_last_sample_is_not_missed(
    corpus: Corpus, tmp_path: Path, saves: int
) -> None:
    """The last validation is saved before the sample that follows it, and all that is left to do is that sample."""
    request = replace(REQUEST, run={**REQUEST.run, "sample_every": None})
    train(tmp_path / "whole", corpus, request)
    run = Run(tmp_path / "killed")
    run.folder.mkdir()
    saved = 0
    for event in Trainer(run, corpus, plan(corpus, request), device=torch.device("cpu")).run():
        if isinstance(event, Saved) and event.path == run.last and event.step == STEPS:
            saved += 1
            if saved == saves:
                break
    finished = Trainer(
        run,
        corpus,
        plan(corpus, request),
        device=torch.device("cpu"),
        resume=checkpoints.load(run.last, with_state=True),
    ).is_finished
    assert finished is (saves == 2)
    train(run.folder, corpus, request)
    assert_same_run(run.folder, tmp_path / "whole")


@pytest.mark.parametrize("step", [6, STEPS])
def test_a_signal_puts_a_sample_off(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """However long the sample is, and also where it is the last one: the run goes on with it."""
    request = replace(REQUEST, run={**REQUEST.run, "sample_length": 300, "sample_every": 1})
    train(tmp_path / "whole", corpus, request)
    pieces: list[str] = []
    sample = samples.sample

    def counted(*args: object) -> Iterator[str]:
        for piece in sample(*args):  # type: ignore[arg-type]
            pieces.append(piece)
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(samples, "sample", counted)
        train(tmp_path / "cut", corpus, request, stop_after=step)
    assert len(pieces[-1]) < 300
    assert f"=== step {step}," not in (tmp_path / "cut" / "samples.txt").read_text("utf-8")
    assert train(tmp_path / "cut", corpus, request).reason == "budget"
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_what_is_watched_does_not_change_what_is_learned(corpus: Corpus, tmp_path: Path) -> None:
    """Validating, sampling and saving at other times leaves every tensor of the training state as it was."""
    train(tmp_path / "watched", corpus)
    other = replace(REQUEST, run={"log_every": 4, "validate_every": 19, "sample_every": 0, "save_every": 0.0})
    train(tmp_path / "unwatched", corpus, other)
    ours, theirs = (tensors(tmp_path / name / "last.safetensors") for name in ("watched", "unwatched"))
    assert {key: value for key, value in ours.items() if key != "tally"} == {
        key: value for key, value in theirs.items() if key != "tally"
    }


def _kept(folder: Path) -> dict[str, dict[str, bytes]]:
    return {path.name: tensors(path) for path in sorted(folder.glob("step-*"))}


def test_what_is_kept_along_the_way_is_neither_repeated_nor_missed(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the run is stopped; with the numbers of a run that keeps nothing, and each what best would have been."""
    request = replace(REQUEST, run={**REQUEST.run, "keep_every": 5})
    train(tmp_path / "plain", corpus)
    train(tmp_path / "whole", corpus, request)
    assert_same_run(tmp_path / "whole", tmp_path / "plain")
    whole = _kept(tmp_path / "whole")
    assert list(whole) == [f"step-000000{step:02}.safetensors" for step in (5, 10, 15, 20)]
    saved = checkpoints.load(tmp_path / "whole" / "step-00000015.safetensors", with_state=True)
    assert (saved.kind, saved.progress["step"], saved.state) == ("step", 15, {})
    written: list[str] = []
    save = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda path, what: (written.append(path.name), save(path, what)))
    for k in (4, 5, 9, 10, 20):
        written.clear()
        folder = tmp_path / f"stopped-after-{k}"
        train(folder, corpus, request, stop_after=k)
        train(folder, corpus, request)
        assert [name for name in written if name.startswith("step-")] == list(whole)
        assert _kept(folder) == whole
        assert_same_run(folder, tmp_path / "whole")


def test_what_is_kept_are_the_weights_that_would_be_validated(corpus: Corpus, tmp_path: Path) -> None:
    """The averaged ones: those of best, where the best validation is of that step."""
    best = train(tmp_path / "run", corpus, replace(REQUEST, run={**REQUEST.run, "keep_every": 7})).best_step
    assert best in (7, 14, 20)
    train(tmp_path / "again", corpus, replace(REQUEST, run={**REQUEST.run, "keep_every": best}))
    kept = tensors(tmp_path / "again" / f"step-{best:08}.safetensors")
    assert kept == tensors(tmp_path / "again" / "best.safetensors")
    assert kept != {name: tensors(tmp_path / "again" / "last.safetensors")[name] for name in kept}


def test_what_is_kept_can_be_sampled_and_inspected(command: Command, text_file: Callable[..., Path]) -> None:
    """By its file, which describes itself; a run's folder still means its best, and what is kept stays with --quiet."""
    words = ["train", str(text_file()), "--hidden", "4", "--steps", "6", "--keep-every", "3", "--out", "run", "--quiet"]
    assert command(*words).status == 0
    for step in (3, 6):
        kept = f"run/step-{step:08}.safetensors"
        assert command("sample", "-c", kept, "-n", "9").status == 0
        assert json.loads(command("inspect", "-c", kept, "--json").out)["progress"]["step"] == step
    assert sorted(path.name for path in Path("run").glob("step-*")) == ["step-00000003.safetensors", Path(kept).name]


def test_a_budget_in_epochs_resumes_exactly(corpus: Corpus, tmp_path: Path) -> None:
    """An epoch's boundary lies between the halves."""
    request = replace(REQUEST, budget=Budget(epochs=1.5))
    whole = train(tmp_path / "whole", corpus, request)
    assert whole.step == 18
    train(tmp_path / "cut", corpus, request, stop_after=11)
    train(tmp_path / "cut", corpus, request)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_a_budget_in_minutes_resumes_with_the_time_that_was_left(corpus: Corpus, tmp_path: Path) -> None:
    """The seconds of the first part count; the run ends when both parts together have used the budget."""
    request = replace(REQUEST, budget=Budget(minutes=3 / 60))
    first = train(tmp_path / "run", corpus, request, stop_after=25)
    assert first.reason == "signal"
    second = train(tmp_path / "run", corpus, request)
    assert second.reason == "budget"
    assert 0.8 * 3 <= second.seconds <= 3 + 2
    assert second.step > first.step


def test_a_larger_budget_goes_on_and_a_finished_run_is_finished(corpus: Corpus, tmp_path: Path) -> None:
    """The same settings with more steps continue from the last step; the same command again has nothing to do."""
    train(tmp_path / "run", corpus)
    again = Trainer(
        Run(tmp_path / "run"),
        corpus,
        plan(corpus),
        device=torch.device("cpu"),
        resume=checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True),
    )
    assert again.is_finished
    assert train(tmp_path / "run", corpus, replace(REQUEST, budget=Budget(steps=STEPS + 3))).step == STEPS + 3
    steps = [line["step"] for line in metrics(tmp_path / "run" / "metrics.jsonl") if "learning_rate" in line]
    assert steps == [4, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (replace(REQUEST, model={**REQUEST.model, "hidden_size": 7}), "--hidden 6 -> 7"),
        (replace(REQUEST, training={**REQUEST.training, "seed": 4}), "--seed 3 -> 4"),
        (replace(REQUEST, data={"newlines": "lf"}), "--newlines keep -> lf"),
        (replace(REQUEST, model={"dropout": 0.4}), "--layers 2 -> not given"),
    ],
)
def test_other_settings_are_refused_by_name(corpus: Corpus, tmp_path: Path, changed: TrainRequest, named: str) -> None:
    """The message shows what was and what is asked for."""
    train(tmp_path / "run", corpus, stop_after=2)
    with pytest.raises(UsageError, match=named):
        train(tmp_path / "run", corpus, changed)


def test_spelling_out_what_was_chosen_is_the_same_setting(corpus: Corpus, tmp_path: Path) -> None:
    """A default named explicitly does not make another run."""
    train(tmp_path / "run", corpus, stop_after=2)
    train(tmp_path / "run", corpus, replace(REQUEST, model={**REQUEST.model, "cell": "lstm", "forget_bias": 1.0}))


def _command(folder: Path, out: str, *program: str) -> int:
    options = (
        "--cell gru --hidden 6 --embedding 4 --layers 2 --dropout 0.4 --batch 5 --bptt 30 --steps 20 --threads 1 "
        "--log-every 4 --validate-every 7 --sample-every 3 --sample-length 11 --quiet"
    )
    words = [*(program or ("charrnn",)), "train", "text.txt", "--out", out, *options.split()]
    (ended,) = run([Job(words, folder, {**os.environ, "CHARRNN_CACHE": str(folder / "cache")})])
    return ended.status


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run on it that was not interrupted, through the command line."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(make_text(2000), "utf-8")
    assert _command(folder, "whole") == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("k", "name", "status"), [(9, "SIGTERM", 143), (13, "SIGINT", 130), (5, "SIGHUP", 129)])
def test_a_signal_saves_and_a_new_process_goes_on(whole: Path, k: int, name: str, status: int) -> None:
    """Through the command line: the documented exit status, then the same bytes as without the interruption."""
    cut = f"cut-{k}"
    assert _command(whole, cut, "tests.kit.interrupt", name, str(k), "0") == status
    assert _command(whole, cut) == 0
    assert_same_run(whole / cut, whole / "whole")


def test_a_run_that_was_begun_on_a_gpu_goes_on_here(corpus: Corpus, tmp_path: Path) -> None:
    """Its generator's state is another one and its loss was scaled: it says what begins anew, and goes on."""
    train(tmp_path / "run", corpus, stop_after=5)
    run = Run(tmp_path / "run")
    saved = checkpoints.load(run.last, with_state=True)
    state = {**saved.state, "random.training": np.arange(16, dtype=np.uint8), "loss_scale": np.array([1024.0, 3.0])}
    there = {**saved.environment, "device": "cuda", "precision": "fp16"}
    checkpoints.save(run.last, replace(saved, state=state, environment=there))
    resume = checkpoints.load(run.last, with_state=True)
    plan = plan_resume(REQUEST, resume, corpus.sha256)
    trainer = Trainer(run, corpus, plan, device=torch.device("cpu"), resume=resume)
    events = list(trainer.run())
    notice, *_ = [event.text for event in events if isinstance(event, Notice)]
    assert notice.startswith("approximate resume: device cuda -> cpu, ")
    assert "precision fp16 -> " in notice
    assert notice.endswith(
        "at step 5; its random numbers begin anew: those of one kind of device are not those of another"
    )
    assert isinstance(events[-1], Finished)
    assert events[-1].step == STEPS
