"""Runs of several members: each is the run of one model that it would be alone, and stops change nothing."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoints.checkpoint import Checkpoint, load
from charrnn.checkpoints.config_file import Origin
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.runs import standing
from charrnn.checkpoints.verify import verify_run
from charrnn.cli.going_on import whole_command
from charrnn.errors import CheckpointError, DivergenceError, UsageError
from charrnn.evaluation.report import Static
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Saved, Validated
from charrnn.settings.config import Budget, DataConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.growth import growth_of
from charrnn.text.sources import Source
from charrnn.training.beyond import beyond, finished_in_words
from charrnn.training.course import Course, course_in, member_seed, share_of
from charrnn.training.members import mean_nats
from charrnn.training.plan import TrainRequest, plan_of, plan_resume, plan_start
from charrnn.training.recipe import STUDENT_DROPOUT
from charrnn.training.teacher_model import read_teacher
from charrnn.training.trainer import Trainer
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run, tensors
from tests.kit.twenty_steps import REQUEST, STEPS, train

K = 3
# Averaged weights would hardly move in so few steps.
SINGLE = replace(REQUEST, training={**REQUEST.training, "average": 0.0})
SEVERAL = replace(SINGLE, training={**SINGLE.training, "ensemble": K})


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    path = text_file(2000)
    return corpora.load([Source(path, "text.txt")], DataConfig(), name="text")


def _events(folder: Path, corpus: Corpus, request: TrainRequest = SEVERAL, most: int | None = None) -> list[Event]:
    """The events of a run that begins or goes on; after `most` of them the process is as good as killed."""
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    resume = load(run.last, with_state=True) if run.last.exists() else None
    plan = plan_resume(request, resume, corpus.sha256) if resume else plan_start(request, len(corpus))
    trainer, taken = Trainer(run, corpus, plan, device=torch.device("cpu"), resume=resume), list[Event]()
    if trainer.is_finished:
        return [trainer.outcome()]
    for event in trainer.run():
        if most is not None and len(taken) >= most:
            return taken
        taken.append(event)
    return taken


def _without_clocks(record: dict[str, Any]) -> dict[str, Any]:
    clocks = {"seconds", "validated_seconds", "sampled_seconds", "validation_cost"}
    return {
        name: _without_clocks(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name not in clocks
    }


def _assert_same(one: Path, other: Path) -> None:
    assert_same_run(one, other)
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        assert tensors(one / name) == tensors(other / name), name
    ours, theirs = (load(folder / "last.safetensors", with_state=True) for folder in (one, other))
    for what in ("counters", "course"):
        assert _without_clocks(ours.training[what]) == _without_clocks(theirs.training[what])


def _kill_anywhere(tmp_path: Path, corpus: Corpus, request: TrainRequest, every: int = 1) -> None:
    """Trains in `whole`, and elsewhere as a run that is killed after so many events and goes on: it is the same, and
    nothing on the disk is damaged before."""
    for most in range(1, len(_events(tmp_path / "whole", corpus, request)), every):
        folder = tmp_path / f"killed-after-{most}"
        _events(folder, corpus, request, most)
        assert verify_run(folder).damaged == 0, [each.said for each in verify_run(folder).findings]
        _events(folder, corpus, request)
        _assert_same(folder, tmp_path / "whole")


def _nats(checkpoint: Checkpoint, corpus: Corpus) -> float:
    how = Static(device=torch.device("cpu"))
    held_out = corpus.split(checkpoint.data).validation
    return how.score(how.model(checkpoint), held_out).nats_per_character


def test_a_run_stopped_anywhere_and_resumed_is_the_same_run(corpus: Corpus, tmp_path: Path) -> None:
    """For every number of steps, also between two members; checkpoints, members, metrics and samples are equal."""
    assert train(tmp_path / "whole", corpus, SEVERAL).step == STEPS
    for k in range(1, STEPS + 1):
        folder = tmp_path / f"stopped-after-{k}"
        assert train(folder, corpus, SEVERAL, stop_after=k).reason == "signal"
        train(folder, corpus, SEVERAL)
        _assert_same(folder, tmp_path / "whole")


def test_a_run_killed_after_any_event_and_resumed_is_the_same_run(corpus: Corpus, tmp_path: Path) -> None:
    """After every third, which has each kind; also before and after the first save of a new member. What is on the disk
    is never damaged."""
    request = replace(SEVERAL, run={**SEVERAL.run, "keep_every": 3, "sample_every": None})
    _kill_anywhere(tmp_path, corpus, request, every=3)
    assert verify_run(tmp_path / "whole").damaged == 0


def test_each_member_is_the_run_of_its_seed_and_its_share(corpus: Corpus, tmp_path: Path) -> None:
    """Its best weights are those that a run of one model with that seed and so many steps ends with."""
    train(tmp_path / "whole", corpus, SEVERAL)
    for number, steps in ((1, 6), (2, 7), (3, 7)):
        alone = {**SINGLE.training, "seed": SINGLE.training["seed"] + number - 1}
        request = replace(SINGLE, training=alone, budget=Budget(steps=steps))
        train(tmp_path / f"alone-{number}", corpus, request)
        member = tensors(tmp_path / "whole" / f"member-{number}.safetensors")
        assert member == tensors(tmp_path / f"alone-{number}" / "best.safetensors")
    course = load(tmp_path / "whole" / "last.safetensors", with_state=True).training["course"]
    bests = [load(tmp_path / f"alone-{number}" / "best.safetensors").progress["best_nats"] for number in (1, 2, 3)]
    assert course["own_nats"] == bests


def test_one_member_is_the_run_of_one_model(corpus: Corpus, tmp_path: Path) -> None:
    """--ensemble 1 changes nothing, and its files know of no members."""
    train(tmp_path / "plain", corpus, SINGLE)
    train(tmp_path / "one", corpus, replace(SINGLE, training={**SINGLE.training, "ensemble": 1}))
    assert_same_run(tmp_path / "plain", tmp_path / "one")
    assert not list((tmp_path / "one").glob("member-*"))


def test_what_is_told_is_what_the_files_score(tmp_path: Path) -> None:
    """The best is the lowest of all that was told, is no worse than any member, and is what its file scores."""
    (tmp_path / "text.txt").write_text(inspect.getsource(argparse)[:9000])  # where there is something to learn
    corpus = corpora.load([Source(tmp_path / "text.txt", "text.txt")], DataConfig(), name="text")
    request = replace(
        SEVERAL,
        model={"num_layers": 1, "hidden_size": 32, "embedding_size": 4, "dropout": 0.0},
        training={**SEVERAL.training, "average": 0.05, "learning_rate": 0.02, "ensemble": 2},
        run={"validate_every": 20, "sample_every": 0},
        budget=Budget(steps=400),
    )
    events = _events(tmp_path / "run", corpus, request)
    told = [event for event in events if isinstance(event, Validated)]
    best = load(tmp_path / "run" / "best.safetensors")
    nats = best.progress["best_nats"]
    assert nats == min(event.validation_nats for event in told)
    assert _nats(best, corpus) == pytest.approx(nats, abs=1e-6)
    members = [load(tmp_path / "run" / f"member-{number}.safetensors") for number in (1, 2)]
    assert all(_nats(each, corpus) >= nats for each in members)
    course = load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]
    for each, own in zip(members, course["own_nats"], strict=True):
        assert _nats(each, corpus) == pytest.approx(own, abs=1e-6)
    assert best.members == 2
    assert course["joint_nats"][1] < min(course["own_nats"])
    for event in told:
        expected = [each for each in (event.member_nats, event.ensemble_nats) if each is not None]
        assert event.validation_nats <= min(expected)
        assert (event.ensemble_nats is None) == (event.member == 1)
        assert event.members == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    kept = [(line["member"], line["member_nats"]) for line in lines if "validation_nats" in line]
    assert kept == [(event.member, event.member_nats) for event in told]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert standing(tmp_path / "run").state == "finished"
    assert standing(tmp_path / "run").members == 2


def test_the_mean_of_probabilities_by_hand() -> None:
    """Of two models that give 1/2 and 1/4 to one character and 1/8 and 3/8 to the other: 3/8 and 1/4."""
    losses = [-np.log(np.array(each, np.float32)) for each in ([1 / 2, 1 / 8], [1 / 4, 3 / 8])]
    assert mean_nats(losses) == pytest.approx(-(np.log(3 / 8) + np.log(1 / 4)) / 2, abs=1e-6)
    assert mean_nats(losses[:1]) == pytest.approx(losses[0].mean(), abs=1e-6)


def test_without_a_held_out_part_members_are_their_last_weights(corpus: Corpus, tmp_path: Path) -> None:
    """And the average is of those that are finished."""
    request = replace(SEVERAL, data={"validation_fraction": 0.0})
    _events(tmp_path / "run", corpus, request)
    best = load(tmp_path / "run" / "best.safetensors")
    assert best.members == K
    for number in range(1, K + 1):
        single = {**SINGLE.training, "seed": SINGLE.training["seed"] + number - 1}
        steps = Budget(steps=6 if number == 1 else 7)
        _events(tmp_path / f"{number}", corpus, replace(request, training=single, budget=steps))
        alone = load(tmp_path / f"{number}" / "best.safetensors")
        for name, array in alone.parameters.items():
            np.testing.assert_array_equal(best.parameters[f"member.{number}.{name}"], array)
    assert load(tmp_path / "run" / "last.safetensors").progress["best_step"] == STEPS


@pytest.mark.parametrize("documents", ["lines"])
def test_members_of_documents_resume_exactly(text_file: Callable[..., Path], tmp_path: Path, documents: str) -> None:
    """Each member has an order of its own, and a stop anywhere changes nothing."""
    data = DataConfig(documents=documents)
    corpus = corpora.load([Source(text_file(2000), "text.txt")], data, name="text")
    request = replace(SEVERAL, data={"documents": documents})
    _events(tmp_path / "whole", corpus, request)
    for k in (3, 6, 9, 15):
        train(tmp_path / f"{k}", corpus, request, stop_after=k)
        train(tmp_path / f"{k}", corpus, request)
        _assert_same(tmp_path / f"{k}", tmp_path / "whole")
    best = load(tmp_path / "whole" / "best.safetensors")
    assert _nats(best, corpus) == pytest.approx(best.progress["best_nats"], abs=1e-6)


def test_patience_ends_a_member_and_then_the_run(corpus: Corpus, tmp_path: Path) -> None:
    """A member that no longer improves gives its time to the others; one that brings nothing ends the run."""
    training = {**SEVERAL.training, "learning_rate": 1e-12, "average": 0.0, "ensemble": 5}
    run = {**SEVERAL.run, "validate_every": 1, "patience": 2}
    request = replace(SEVERAL, training=training, run=run, budget=Budget(steps=200))
    *_, ended = _events(tmp_path / "run", corpus, request)
    assert isinstance(ended, Finished)
    assert ended.reason == "patience"
    assert "brought nothing" in finished_in_words(plan_start(request, len(corpus)), ended)
    assert ended.step < 100
    course = load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]
    assert 1 < course["member"] < 5
    assert course["joint_nats"][-1] >= course["joint_nats"][-2]
    assert standing(tmp_path / "run").state == "finished"


def test_a_run_of_members_takes_more_members_in_a_larger_budget(corpus: Corpus, tmp_path: Path) -> None:
    """Three members of 20 steps, and then two more of seven each; a larger budget alone is refused."""
    _events(tmp_path / "run", corpus)
    larger = replace(SEVERAL, budget=Budget(steps=34))
    with pytest.raises(UsageError, match="all 3 members are trained") as caught:
        _events(tmp_path / "run", corpus, larger)
    assert "--ensemble 6" in " ".join(filter(None, caught.value.hints))
    more = replace(larger, training={**SEVERAL.training, "ensemble": 5})
    with pytest.raises(UsageError, match="nothing is left of 20 steps"):
        _events(tmp_path / "run", corpus, replace(more, budget=Budget(steps=20)))
    with pytest.raises(UsageError, match=r"nothing is left of 0\.5 epochs") as caught:
        _events(tmp_path / "run", corpus, replace(more, budget=Budget(epochs=0.5)))
    assert "--epochs 2.77" in " ".join(filter(None, caught.value.hints))  # five thirds of what was read
    *_, ended = _events(tmp_path / "run", corpus, more)
    assert isinstance(ended, Finished)
    assert ended.step == 34
    alone = replace(SINGLE, training={**SINGLE.training, "seed": 3 + 4}, budget=Budget(steps=7))
    train(tmp_path / "alone", corpus, alone)
    assert tensors(tmp_path / "run" / "member-5.safetensors") == tensors(tmp_path / "alone" / "best.safetensors")
    assert isinstance(_events(tmp_path / "run", corpus, more)[-1], Finished)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (1, 3, "a run of 3 members and a run of 1 model are different runs"),
        (3, 1, "a run of 3 members and a run of 1 model are different runs"),
        (3, 2, "--ensemble is 2, and member 3 is in training"),
    ],
)
def test_what_no_run_goes_on_with_is_refused(corpus: Corpus, tmp_path: Path, before: int, now: int, said: str) -> None:
    """A run of one model does not become one of several, nor the other way round; members are not given up."""
    request = replace(SINGLE, training={**SINGLE.training, "ensemble": before})
    train(tmp_path / "run", corpus, request, stop_after=15)
    with pytest.raises(UsageError, match=said):
        _events(tmp_path / "run", corpus, replace(request, training={**SINGLE.training, "ensemble": now}))


def test_other_members_in_the_middle_are_said(corpus: Corpus, tmp_path: Path) -> None:
    """With the same budget each has another share of it: the rate falls otherwise, and where it stays, the members
    before had other shares."""
    for name, more, stop, what in (
        ("falling", {}, 4, "the learning rate follows another course"),
        ("steady", {"decay": "constant"}, 15, "the members before this one have had other shares"),
    ):
        request = replace(SEVERAL, training={**SEVERAL.training, **more}, budget=Budget(steps=30))
        train(tmp_path / name, corpus, request, stop_after=stop)
        events = _events(tmp_path / name, corpus, replace(request, training={**request.training, "ensemble": 4}))
        said = [event.text for event in events if isinstance(event, Notice)]
        assert any(
            f"there are now 4 members instead of 3, so {what} than in one run of 4 members" in one for one in said
        )


def test_steps_that_were_bad_are_not_validated(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a validation is scored or anything of it kept, though the clock has not asked for a report since."""
    from charrnn.training.stage import Stage, NotFinite  # noqa: I001

    means = Stage.means

    def fails(stage: Stage) -> dict[str, float]:
        if stage.counters.step == 7:
            raise NotFinite(float("nan"), 1.0)
        return means(stage)

    monkeypatch.setattr(Stage, "means", fails)
    _Clock(monkeypatch)  # no report is due between
    request = replace(SINGLE, run={**SINGLE.run, "log_every": 100, "on_divergence": "stop"})
    with pytest.raises(DivergenceError):
        _events(tmp_path / "run", corpus, request)
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert load(tmp_path / "run" / "last.safetensors").progress["step"] == 0


def test_divergence_in_a_member_goes_back_to_that_member(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stay as they were, and the run ends with all of them."""
    from charrnn.training.stage import Stage, NotFinite  # noqa: I001

    made, plain = [0], Stage.make_step

    def fails_once(stage: Stage) -> None:
        made[0] += 1
        if made[0] == 10:
            raise NotFinite(float("nan"), 1.0)
        plain(stage)

    monkeypatch.setattr(Stage, "make_step", fails_once)
    request = replace(SEVERAL, run={**SEVERAL.run, "on_divergence": "rollback"})
    events = _events(tmp_path / "run", corpus, request)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert back.step == 6
    assert back.diverged_at == 9
    monkeypatch.undo()
    _events(tmp_path / "whole", corpus)
    for name, is_same in (("member-1", True), ("member-2", False), ("member-3", True)):
        both = [tensors(tmp_path / folder / f"{name}.safetensors") for folder in ("run", "whole")]
        assert (both[0] == both[1]) == is_same


@pytest.mark.parametrize(
    ("budget", "course", "expected"),
    [
        (Budget(steps=20), Course(), Budget(steps=6)),
        (Budget(steps=20), Course(member=2, step=6), Budget(steps=7)),
        (Budget(steps=20), Course(member=3, step=13), Budget(steps=7)),
        (Budget(steps=20), Course(member=3, step=3), Budget(steps=17)),
        (Budget(epochs=6.0), Course(member=2, position=250), Budget(epochs=1.75)),
        (Budget(minutes=10.0), Course(member=2, seconds=240.0), Budget(minutes=3.0)),
        (Budget(minutes=10.0), Course(member=3, seconds=660.0), Budget(minutes=1e-9)),
    ],
)
def test_a_member_has_its_share_of_what_is_left(budget: Budget, course: Course, expected: Budget) -> None:
    """What a member before it did not use, or used too much, is shared by those that are left."""
    assert share_of(budget, course, K, 0.0, lambda position: position / 100) == expected
    assert share_of(budget, course, 1, 0.0) is budget


def test_seeds_are_of_one_sequence_and_always_valid() -> None:
    """The first member has the run's own seed; behind the largest comes 0."""
    training = plan_start(SINGLE, 2000).training
    assert [member_seed(training, member).seed for member in (1, 2, 3)] == [3, 4, 5]
    assert member_seed(replace(training, seed=2**63 - 1), 2).seed == 0


def test_the_command_says_how_members_share_the_budget(command: Command, text_file: Callable[..., Path]) -> None:
    """In a dry run, in what it refuses, and in what a run that is finished goes on with."""
    small = ["--hidden", "5", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1"]
    words = ["train", str(text_file(2000)), "--out", "run", *small]
    told = command(*words, "--ensemble", "4", "--minutes", "10", "--dry-run").err
    assert "4 members are trained one after the other, each for about 2.5 minutes" in " ".join(told.split())
    refused = command(*words, "--ensemble", "4", "--steps", "3")
    assert (refused.status, "too few for --ensemble 4" in refused.err) == (2, True)
    refused = command(*words, "--ensemble", "65", "--steps", "300")
    assert (refused.status, "--ensemble" in refused.err) == (2, True)
    done = command(*words, "--ensemble", "2", "--steps", "8")
    assert done.status == 0, done.err
    assert "member 2 of 2 is finished" in " ".join(done.err.split())
    assert "--ensemble 4" in command(*words, "--ensemble", "2", "--steps", "9").err
    again = command(*words, "--ensemble", "2", "--steps", "8")
    assert "more members than 2 and a larger budget than 8 steps go on" in " ".join(again.err.split())
    more = command(*words, "--ensemble", "4", "--steps", "16")
    assert more.status == 0, more.err
    assert "member 4 of 4 is finished" in " ".join(more.err.split())
    assert command("inspect", "run", "--verify").status == 0
    for path in ("run", "run/member-3.safetensors"):
        assert command("sample", "-c", path, "--length", "9").status == 0
    started = command("train", str(text_file(2000)), "--out", "other", "--init-from", "run/member-1.safetensors",
                      "--steps", "2", "--ensemble", "2")  # fmt: skip
    assert (started.status, "--init-from gives all of them the same" in started.err) == (2, True)


TAUGHT = replace(
    SEVERAL,
    training={**SEVERAL.training, "ensemble": 2, "distill": 0.6, "distill_weight": 0.7, "learning_rate": 0.1},
    run={**SEVERAL.run, "sample_every": None, "validate_every": 4},
)
WEAK = replace(TAUGHT, training={**TAUGHT.training, "learning_rate": 0.01})
"""Whose student is worse than the members."""


def test_a_student_learns_from_the_members_and_takes_their_place(corpus: Corpus, tmp_path: Path) -> None:
    """It is the run of its seed and share that learns from their file, and they stay beside it."""
    events = _events(tmp_path / "run", corpus, TAUGHT)
    together = load(tmp_path / "run" / "ensemble.safetensors")
    assert together.members == 2
    for number in (1, 2):
        member = load(tmp_path / "run" / f"member-{number}.safetensors")
        for name, array in member.parameters.items():
            np.testing.assert_array_equal(together.parameters[f"member.{number}.{name}"], array)
    decay = plan_start(TAUGHT, len(corpus)).training.weight_decay
    alone = {**SINGLE.training, "seed": 3 + 2, "distill_weight": 0.7, "learning_rate": 0.1, "weight_decay": decay}
    model = {**TAUGHT.model, "dropout": STUDENT_DROPOUT}
    request = replace(TAUGHT, model=model, training=alone, budget=Budget(steps=12))
    named = read_teacher(tmp_path / "run" / "ensemble.safetensors")
    (tmp_path / "alone").mkdir()
    plan = plan_start(request, len(corpus), teacher=named)
    _ = list(Trainer(Run(tmp_path / "alone"), corpus, plan, device=torch.device("cpu")).run())
    assert tensors(tmp_path / "run" / "best.safetensors") == tensors(tmp_path / "alone" / "best.safetensors")
    best, ended = load(tmp_path / "run" / "best.safetensors"), events[-1]
    assert best.members == 1
    assert isinstance(ended, Finished)
    assert ended.best_nats == best.progress["best_nats"] == pytest.approx(_nats(best, corpus), abs=1e-6)
    students = [event for event in events if isinstance(event, Validated) and event.is_student]
    assert [event.step for event in students] == [12, 16, 20]
    assert [event.is_best for event in students] == [
        event.validation_nats == ended.best_nats or event.validation_nats < together.progress["best_nats"]
        for event in students
    ]
    assert verify_run(tmp_path / "run").damaged == 0
    assert standing(tmp_path / "run").best_nats == ended.best_nats
    assert standing(tmp_path / "run").state == "finished"
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("the student is finished" in one and "average of its 2 members" in one for one in said)


def test_a_student_that_is_worse_than_a_member_takes_no_place(corpus: Corpus, tmp_path: Path) -> None:
    """The average stays, which a note says; the files agree with what the run tells."""
    events = _events(tmp_path / "run", corpus, WEAK)
    best, ended = load(tmp_path / "run" / "best.safetensors"), events[-1]
    assert isinstance(ended, Finished)
    assert ended.best_nats == best.progress["best_nats"] == pytest.approx(_nats(best, corpus), abs=1e-6)
    own = [event.validation_nats for event in events if isinstance(event, Validated) and event.is_student]
    last = load(tmp_path / "run" / "last.safetensors", with_state=True)
    assert min(filter(None, own)) > min(last.training["course"]["own_nats"]) >= ended.best_nats
    assert not any(event.is_best for event in events if isinstance(event, Validated) and event.is_student)
    assert any("stays the run's model" in event.text for event in events if isinstance(event, Notice))
    assert verify_run(tmp_path / "run").damaged == 0


def test_a_student_goes_on_in_a_larger_budget(corpus: Corpus, tmp_path: Path) -> None:
    """With a rate that stays and the mean of its weights it is the student of one run, of which nothing is lost; what
    is best meanwhile is kept."""
    steady = {**TAUGHT.training, "decay": "constant", "average_from": 0.5}
    request = replace(TAUGHT, training=steady, budget=Budget(steps=20))
    _events(tmp_path / "run", corpus, request)
    larger = replace(request, budget=Budget(steps=60))
    events = _events(tmp_path / "run", corpus, larger)
    assert isinstance(events[-1], Finished)
    assert events[-1].step == 60
    assert any("averaged from step 35 on" in event.text for event in events if isinstance(event, Notice))
    best = load(tmp_path / "run" / "best.safetensors")
    assert best.members == 1
    assert events[-1].best_nats == best.progress["best_nats"] == pytest.approx(_nats(best, corpus), abs=1e-6)
    assert verify_run(tmp_path / "run").damaged == 0
    assert standing(tmp_path / "run").state == "finished"
    named = read_teacher(tmp_path / "run" / "ensemble.safetensors")
    alone = {**SINGLE.training, "seed": 3 + 2, "distill_weight": 0.7, "learning_rate": 0.1}
    alone |= {"decay": "constant", "average_from": 0.5}
    alone["weight_decay"] = plan_start(TAUGHT, len(corpus)).training.weight_decay
    model = {**TAUGHT.model, "dropout": STUDENT_DROPOUT}
    (tmp_path / "alone").mkdir()
    plan = plan_start(replace(TAUGHT, model=model, training=alone, budget=Budget(steps=52)), len(corpus), teacher=named)
    _ = list(Trainer(Run(tmp_path / "alone"), corpus, plan, device=torch.device("cpu")).run())
    assert tensors(tmp_path / "run" / "best.safetensors") == tensors(tmp_path / "alone" / "best.safetensors")


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_ends_the_members_and_a_student_follows(corpus: Corpus, tmp_path: Path, patience: int) -> None:
    """Members that bring nothing leave the rest of the budget to the student, which its own patience ends."""
    training = {**TAUGHT.training, "learning_rate": 1e-12, "average": 0.0, "ensemble": 6, "distill": 0.2}
    run = {**TAUGHT.run, "validate_every": 1, "patience": patience}
    request = replace(TAUGHT, training=training, run=run, budget=Budget(steps=200))
    *_, ended = _events(tmp_path / "run", corpus, request)
    assert isinstance(ended, Finished)
    assert ended.step < 200
    course = load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]
    assert course["member"] == 7
    assert len(course["own_nats"]) < 6
    assert standing(tmp_path / "run").state == "finished"
    assert _events(tmp_path / "run", corpus, request) == [ended]
    assert ended.reason == "patience"
    assert beyond(plan_start(request, len(corpus)), ended) == {"patience": patience}
    longer = replace(request, run={**run, "patience": patience + 3})
    assert _events(tmp_path / "run", corpus, longer)[-1].step == ended.step + 3  # type: ignore[union-attr]


def test_a_run_that_goes_on_is_not_finished(corpus: Corpus, tmp_path: Path) -> None:
    """Where more members follow, it is called stopped while they do, and takes another budget."""
    _events(tmp_path / "run", corpus)
    more = replace(SEVERAL, training={**SEVERAL.training, "ensemble": 4}, budget=Budget(steps=60))
    _events(tmp_path / "run", corpus, more, most=40)
    assert standing(tmp_path / "run").state == "stopped"
    course = load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]
    assert (course["member"], course["is_over"]) == (4, False)
    *_, ended = _events(tmp_path / "run", corpus, replace(more, budget=Budget(steps=70)))
    assert isinstance(ended, Finished)
    assert ended.step == 70


def test_nothing_is_left_of_a_budget_that_is_used_up(corpus: Corpus, tmp_path: Path) -> None:
    """A run that has not trained all its members takes no budget that is smaller than what they have used."""
    train(tmp_path / "run", corpus, SEVERAL, stop_after=9)
    done = load(tmp_path / "run" / "last.safetensors").progress["step"]
    assert 0 < done < STEPS
    with pytest.raises(UsageError, match=f"{done} steps are used up"):
        _events(tmp_path / "run", corpus, replace(SEVERAL, budget=Budget(steps=done)))


class _Clock:
    """A clock that stands still but where it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("charrnn.training.trainer.time.monotonic", lambda: self.now)


def _timed(
    folder: Path, corpus: Corpus, request: TrainRequest, tick: Callable[[Event], float], clock: _Clock
) -> Finished:
    """A run in which `tick` says how many seconds pass at an event, beside a tenth of one at each step."""
    folder.mkdir(exist_ok=True)
    run, made = Run(folder), Trainer._step

    def step(trainer: Trainer) -> None:
        clock.now += 0.1
        made(trainer)

    resume = load(run.last, with_state=True) if run.last.exists() else None
    plan = plan_resume(request, resume, corpus.sha256) if resume else plan_start(request, len(corpus))
    trainer = Trainer(run, corpus, plan, device=torch.device("cpu"), resume=resume)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        for event in trainer.run():
            clock.now += tick(event)
    assert isinstance(event, Finished)
    return event


STUDENT_IN_TIME = replace(
    TAUGHT,
    training={**TAUGHT.training, "distill": 0.5},
    run={**TAUGHT.run, "validate_every": 1},
    budget=Budget(minutes=4 / 60),
)
"""Two members of a second each, and a student of two."""


def test_a_student_whose_time_is_up_in_a_validation_takes_its_place(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does a member where nothing is held out, whose last weights are in the average."""
    request = replace(STUDENT_IN_TIME, data={**STUDENT_IN_TIME.data, "validation_fraction": 0.0})
    clock, late = _Clock(monkeypatch), dict.fromkeys((0.5, 1.5, 3.5), 0.6)

    def tick(event: Event) -> float:
        if not isinstance(event, Saved) or event.path.name != "last.safetensors":
            if isinstance(event, Saved) and event.path.name == "member-2.safetensors":
                assert load(tmp_path / "run" / "best.safetensors").members == 2
            return 0.0
        due = [second for second in late if clock.now >= second]
        return sum(map(late.pop, due))  # which is beyond the share of the one in training

    _timed(tmp_path / "run", corpus, request, tick, clock)
    course = load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]
    best = load(tmp_path / "run" / "best.safetensors")
    assert course["member"] == 3
    assert best.members == 1
    assert course["distilled_from"] == course["step"] < best.progress["step"] == course["best_step"]
    assert verify_run(tmp_path / "run").damaged == 0
    assert load(tmp_path / "run" / "ensemble.safetensors").members == 2


@pytest.mark.parametrize("has_share", [False, True])
def test_who_has_no_time_is_not_trained(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_share: bool
) -> None:
    """Nor written as a member. All time passes while the first member's file is written, and nobody follows until there
    is more; or the members' as the second begins, and the student learns from the first."""
    clock, seen = _Clock(monkeypatch), list[Event]()

    def tick(event: Event) -> float:
        seen.append(event)
        names = [each.path.name for each in seen if isinstance(each, Saved)]
        late = ["member-1.safetensors", "last.safetensors"] if has_share else ["member-1.safetensors"]
        is_late = isinstance(event, Saved) and names[-len(late) :] == late and clock.now < 4.0  # of the first run
        return (1.5 if has_share else 9.0) * is_late

    def is_said(text: str) -> bool:
        return any(text in event.text for event in seen if isinstance(event, Notice))

    _timed(tmp_path / "run", corpus, STUDENT_IN_TIME, tick, clock)
    assert not (tmp_path / "run" / "member-2.safetensors").exists()
    assert is_said("nothing is left of the budget for member 2 of 2")
    assert is_said("the student is finished") == has_share
    assert load(tmp_path / "run" / "last.safetensors", with_state=True).training["course"]["is_over"]
    assert standing(tmp_path / "run").state == "finished"
    if not has_share:
        seen.clear()
        _timed(tmp_path / "run", corpus, replace(STUDENT_IN_TIME, budget=Budget(minutes=20 / 60)), tick, clock)
        assert is_said("the student is finished")


def test_a_run_with_a_student_killed_after_any_event_is_the_same_run(corpus: Corpus, tmp_path: Path) -> None:
    """Also while the student learns."""
    _kill_anywhere(tmp_path, corpus, TAUGHT, every=3)


def test_a_student_killed_before_it_is_concluded_is_the_same_run(corpus: Corpus, tmp_path: Path) -> None:
    """Its last validation is saved before what it has reached is recorded: a run that goes on from there records it,
    though nothing is left to train, to validate or to write."""
    silent = replace(TAUGHT, run={**TAUGHT.run, "sample_every": 0})
    events = len(_events(tmp_path / "whole", corpus, silent))
    for most in range(events - 6, events):
        folder = tmp_path / f"killed-after-{most}"
        _events(folder, corpus, silent, most)
        *_, ended = _events(folder, corpus, silent)
        assert isinstance(ended, Finished)
        _assert_same(folder, tmp_path / "whole")
        assert standing(folder).state == "finished"


def test_the_share_of_the_budget_that_is_used_is_told(corpus: Corpus, tmp_path: Path) -> None:
    """Whatever share the one in training has of it: after members that patience ended, and in a larger budget."""
    training = {**TAUGHT.training, "learning_rate": 1e-12, "average": 0.0, "ensemble": 6, "distill": 0.2}
    hasty = {**TAUGHT.run, "validate_every": 1, "patience": 2, "log_every": 1}
    request = replace(TAUGHT, training=training, run=hasty, budget=Budget(steps=200))
    told = [event for event in _events(tmp_path / "hasty", corpus, request) if isinstance(event, Progress)]
    assert 9 <= told[-1].step < 100
    request = replace(TAUGHT, run={**TAUGHT.run, "log_every": 1}, budget=Budget(steps=20))
    _events(tmp_path / "run", corpus, request)
    more = _events(tmp_path / "run", corpus, replace(request, budget=Budget(steps=60)))
    others = [event for event in more if isinstance(event, Progress)]
    assert others[-1].step == 60
    for events, steps in ((told, 200), (others, 60)):
        assert [event.fraction for event in events] == pytest.approx([event.step / steps for event in events])


def test_what_patience_has_left_is_there_for_more_members(corpus: Corpus, tmp_path: Path) -> None:
    """Two members that patience ended, of whom the second has made the average better, have used little of the budget:
    a third takes the rest of it."""
    training = {**SEVERAL.training, "learning_rate": 1e-12, "average": 0.0, "ensemble": 2, "seed": 2}
    run = {**SEVERAL.run, "validate_every": 1, "patience": 2}
    request = replace(SEVERAL, training=training, run=run, budget=Budget(steps=200))
    *_, ended = _events(tmp_path / "run", corpus, request)
    assert isinstance(ended, Finished)
    assert ended.step < 20
    more = replace(request, training={**training, "ensemble": 3})
    with pytest.raises(UsageError, match=f"nothing is left of {ended.step} steps"):
        _events(tmp_path / "run", corpus, replace(more, budget=Budget(steps=ended.step)))
    *_, later = _events(tmp_path / "run", corpus, more)
    assert isinstance(later, Finished)
    assert later.step > ended.step


@pytest.mark.parametrize(("members", "steps", "stop", "stages"), [(40, 20, 15, 37), (2, 4, 3, 2)])
def test_a_run_that_goes_on_has_a_step_for_each_that_is_to_come(
    corpus: Corpus, tmp_path: Path, members: int, steps: int, stop: int, stages: int
) -> None:
    """As one that begins has."""
    request = SEVERAL if members > 2 else TAUGHT
    train(tmp_path / "run", corpus, request, stop_after=stop)
    other = replace(request, training={**request.training, "ensemble": members}, budget=Budget(steps=steps))
    with pytest.raises(UsageError, match=f"too few for the {stages} models that are to come") as caught:
        _events(tmp_path / "run", corpus, other)
    needed = int(" ".join(filter(None, caught.value.hints)).split("--steps ")[1].split()[0])
    *_, ended = _events(tmp_path / "run", corpus, replace(other, budget=Budget(steps=needed)))
    assert isinstance(ended, Finished)
    assert ended.step == needed


def test_members_with_the_shares_that_they_had_go_on_exactly(corpus: Corpus, tmp_path: Path) -> None:
    """Twice as many in twice the budget are those of one run of it, which is said; the command that goes on names the
    members that the run has by then."""
    two = replace(SEVERAL, training={**SEVERAL.training, "ensemble": 2}, budget=Budget(steps=8))
    four = replace(SEVERAL, training={**SEVERAL.training, "ensemble": 4}, budget=Budget(steps=16))
    _events(tmp_path / "run", corpus, two)
    events = _events(tmp_path / "run", corpus, four)
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("exact resume at step 8: the run goes on from there" in one for one in said)
    _events(tmp_path / "whole", corpus, four)
    for name in ("best.safetensors", "member-2.safetensors", "member-4.safetensors"):
        assert tensors(tmp_path / "run" / name) == tensors(tmp_path / "whole" / name)
    plan = plan_of(load(tmp_path / "run" / "last.safetensors", with_state=True))
    words = whole_command(plan, TrainRequest(), Origin(["text.txt"]), Run(tmp_path / "run"))
    assert "--ensemble 4" in words


def test_a_validation_at_which_an_earlier_student_takes_over_is_not_called_the_best(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is better than each member and worse than their average, so that it takes their place at its end, with the
    weights of the validation before."""
    own = {12: 2.9, 16: 2.7, 20: 2.95}
    steps = iter((4, 8, 12, 16, 20))
    monkeypatch.setattr("charrnn.training.trainer.held_out_nats", lambda *_: own.get(next(steps), 3.0))
    monkeypatch.setattr("charrnn.training.members.Members.joint_nats", lambda _members, _number, _losses=None: 2.5)
    events = _events(tmp_path / "run", corpus, TAUGHT)
    students = [event for event in events if isinstance(event, Validated) and event.is_student]
    assert [(event.step, event.is_best) for event in students] == [(12, False), (16, False), (20, False)]
    assert isinstance(events[-1], Finished)
    assert (events[-1].best_nats, events[-1].best_step) == (2.7, 16)
    best = load(tmp_path / "run" / "best.safetensors")
    assert (best.members, best.progress["step"], best.progress["characters"]) == (1, 16, students[1].characters)
    assert not [each.said for each in verify_run(tmp_path / "run").findings if each.verdict == "damaged"]


def test_members_go_on_with_a_text_that_has_grown(corpus: Corpus, tmp_path: Path) -> None:
    """Finished members get the new characters as the one in training does, and the average is scored with them."""
    train(tmp_path / "run", corpus, SEVERAL, stop_after=9)
    path = tmp_path / "grown.txt"
    path.write_text("".join(map(chr, corpus.vocabulary.code_points[corpus.ids[:]])) + "\u0416\u0411" * 100)
    resume = load(tmp_path / "run" / "last.safetensors", with_state=True)
    grown = corpora.load([Source(path, "grown.txt")], DataConfig(), name="text", known=resume.vocabulary)
    growth = growth_of(grown, resume.corpus["characters"], resume.corpus["sha256"])
    plan = plan_resume(replace(SEVERAL, change=True), resume, grown.sha256, growth)
    run = Run(tmp_path / "run")
    *_, ended = Trainer(run, grown, plan, device=torch.device("cpu"), resume=resume).run()
    assert isinstance(ended, Finished)
    member, before = load(run.member(1)), resume.state["members.1.embedding"]
    assert member.vocabulary == resume.vocabulary  # it was finished before
    last = load(run.last, with_state=True)
    assert len(last.vocabulary) == len(before) + 2
    kept = last.state["members.1.embedding"]
    rows = [last.vocabulary.lookup(chr(point))[0] for point in resume.vocabulary.code_points]
    np.testing.assert_array_equal(kept[rows], before)


def test_the_place_of_a_student_in_the_budget() -> None:
    """The last share is its own, also where the members have ended early; the members share what is before it."""
    assert share_of(Budget(steps=100), Course(), 3, 0.25) == Budget(steps=25)
    assert share_of(Budget(steps=100), Course(member=3, step=50), 3, 0.25) == Budget(steps=25)
    assert share_of(Budget(steps=100), Course(member=4, step=75), 3, 0.25) == Budget(steps=25)
    assert share_of(Budget(steps=100), Course(member=4, step=40), 3, 0.25) == Budget(steps=60)
    for member, step in ((1, 0), (2, 4), (3, 9)):  # the members leave a step
        assert share_of(Budget(steps=10), Course(member=member, step=step), 2, 0.04) == Budget(
            steps=(4, 5, 1)[member - 1]
        )
    assert share_of(Budget(minutes=10), Course(member=4, seconds=420.0), 3, 0.25) == Budget(minutes=3.0)


def test_what_no_student_can_be_trained_with_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    """Without members there is nobody to learn from; a run that has a student takes no more members."""
    with pytest.raises(UsageError, match="there is one model"):
        plan_start(replace(SINGLE, training={**SINGLE.training, "distill": 0.3}), len(corpus))
    with pytest.raises(UsageError, match="too few for --ensemble 2 and a student"):
        plan_start(replace(TAUGHT, budget=Budget(steps=2)), len(corpus))
    _events(tmp_path / "run", corpus, TAUGHT)
    changed = replace(TAUGHT, training={**TAUGHT.training, "ensemble": 4}, budget=Budget(steps=40))
    with pytest.raises(UsageError, match="takes neither more members nor more text"):
        _events(tmp_path / "run", corpus, changed)


def test_records_of_members_that_do_not_fit_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    """A course that is missing, of unknown fields or of no member; arrays of a member of another shape."""
    train(tmp_path / "run", corpus, SEVERAL, stop_after=9)
    last = load(tmp_path / "run" / "last.safetensors", with_state=True)
    course = last.training["course"]
    for damaged in (
        {},
        {"course": {"what": 1}},
        {"course": {**course, "member": 0}},
        {"course": {**course, "member": "2"}},
    ):
        with pytest.raises(CheckpointError, match="the run's last checkpoint"):
            course_in(damaged)
    assert course_in(last.training).to_dict() == course
    name = next(name for name in last.state if name.startswith("members.1."))
    wrong = replace(last, state={**last.state, name: np.zeros((1, 1), np.float32)})
    plan = plan_resume(SEVERAL, last, corpus.sha256)
    with pytest.raises(CheckpointError, match=r"cannot be resumed from: the arrays of a member are not those"):
        Trainer(Run(tmp_path / "run"), corpus, plan, device=torch.device("cpu"), resume=wrong)
