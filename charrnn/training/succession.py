"""The models that a run trains, one after the other: the one in training, and what is kept of those before it.

A run of one model has this one alone. Of an ensemble each member keeps its best weights by its own validation; where
nothing is held out, its last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch

from charrnn.cells.members import joined
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.events import Finished, Progress
from charrnn.settings.config import Budget
from charrnn.text.corpus import Corpus, Parts
from charrnn.training.course import COURSE, Course, course_in, has_time, member_seed, share_of
from charrnn.training.distributed import World
from charrnn.training.documents import reading_of
from charrnn.training.members import Arrays, Losses, Members
from charrnn.training.pace import Counters
from charrnn.training.plan import Plan
from charrnn.training.recipe import STUDENT_DROPOUT
from charrnn.training.snapshot import snapshot
from charrnn.training.stage import Stage
from charrnn.training.standing import finished, fraction_of, place, progress_of
from charrnn.training.teacher_model import TeacherModel


class Succession:
    """The members of a run."""

    def __init__(
        self, plan: Plan, corpus: Corpus, parts: Parts, device: torch.device, world: World, saved: Checkpoint | None
    ) -> None:
        """`saved` is the `last` checkpoint of a run that goes on."""
        self._plan, self._corpus, self._parts = plan, corpus, parts
        self._device, self._world = device, world
        self.of = plan.training.ensemble
        """How many members the run has."""
        self.course = self._course_of(saved)
        self.kept = Members(plan.model, corpus.vocabulary, parts.validation, device, world)
        if saved is not None and self.is_student:  # which learns from those that are kept
            self.kept.load(saved.state)
        self.stage = self._begun()

    def _course_of(self, saved: Checkpoint | None) -> Course:
        return Course() if saved is None or self.of == 1 else course_in(saved.training)

    @property
    def is_student(self) -> bool:
        """Whether the one in training is the student of the members."""
        return self.course.member > self.of

    def _begun(self) -> Stage:
        """Returns the member in training, or the student, as it begins."""
        training = member_seed(self._plan.training, self.course.member)
        ring = reading_of(self._parts, training)
        budget = share_of(self._plan.budget, self.course, self.of, training.distill, ring.epoch)
        plan, vocabulary = replace(self._plan, training=training), self._corpus.vocabulary
        if self.is_student:
            taught = TeacherModel(config=plan.model, members=self.kept.weights, vocabulary=vocabulary)
            model = replace(plan.model, dropout=min(plan.model.dropout, STUDENT_DROPOUT))
            plan = replace(plan, teacher=taught, model=model)
        return Stage(plan, budget, self._corpus.vocabulary, self._parts, ring, self._device, self._world)

    @property
    def reached(self) -> Counters | Course:
        """What has the history of the run's validations, and its best."""
        return self.stage.counters if self.of == 1 else self.course

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, since the budget was used up or patience ended earlier."""
        if not self.stage.is_finished or self.of == 1:
            return self.stage.is_finished
        course = self.course
        if self.is_student:
            return self._is_untrained or course.student_step == self.stage.counters.step
        return (len(course.own_nats) >= course.member or self._is_untrained) and self._next is None

    @property
    def _is_untrained(self) -> bool:
        """Whether nothing was left of the budget for the one in training, once it is finished."""
        return not self.stage.counters.step

    @property
    def _next(self) -> int | None:
        """The number of what is trained after the one in training, which is concluded; None where nothing is."""
        course, patience = self.course, self._plan.run.patience
        if self.is_student:
            return None
        is_last = course.member == self.of or (patience is not None and course.brings_nothing) or self._is_untrained
        ways = [] if is_last else [course.member + 1]
        ways += [self.of + 1] if self._plan.training.distill and self.kept.weights else []
        return next((number for number in ways if self._has_time(number)), None)

    def _has_time(self, number: int) -> bool:
        return has_time(self._plan.budget, self._course_after(number), self.of, self._plan.training.distill)

    def _course_after(self, number: int) -> Course:
        """Returns the course of another member, or of the student, once the one in training is finished."""
        used = self.stage.counters
        return self.course.next(
            number, step=used.step, position=used.position, seconds=used.seconds, skipped=used.skipped
        )

    def place(self) -> dict[str, Any]:
        """Returns step, epoch, characters and seconds of the run."""
        return place(self.stage.counters, self.stage.ring, self.course)

    @property
    def fraction(self) -> float:
        """Returns the share of the run's budget that is used."""
        return fraction_of(self.stage.counters, self.stage.pace, self.course, self._plan.budget)

    def progress(self, means: Mapping[str, float]) -> Progress:
        """Returns a report of progress; `means` are those since the last line of metrics."""
        stage = self.stage
        rate, teacher = stage.learner.learning_rate, stage.learner.teacher
        apart = 0.0 if teacher is None else teacher.preparing_seconds
        return progress_of(stage.counters, stage.pace, means, rate, self.course, self._plan.budget, apart)

    def outcome(self, signal: int | None, guess: float) -> Finished:
        """Returns the run's last event; a guess costs `guess` nats per character."""
        counters = self.stage.counters
        since_then = round(self.stage.tally.means(self._world)["skipped"])
        return finished(
            counters, self.stage.pace, skipped=counters.skipped + since_then, signal=signal, guess=guess,
            course=self.course, members=self.of,
        )  # fmt: skip

    def empty_losses(self) -> Losses | None:
        """Returns room for what each held-out character costs the member in training; None where it is the only one."""
        return self.kept.empty_losses() if self.of > 1 else None

    def judge(
        self, train_nats: float | None, nats: float | None, losses: Losses | None, *, is_best: bool
    ) -> tuple[float | None, list[Arrays] | None, dict[str, Any]]:
        """Compares the member in training, alone and with those before it, with the best that the run has reached.

        `nats` is what it costs alone, and `is_best` says whether that is its own best. Returns the nats that count; the
        weights of each model that is now the best or in the best average, none for the only one in training, and None
        where an earlier one stays the best; and what is told besides. Every process must call this.
        """
        if losses is None:
            return nats, [] if is_best else None, {}
        course, number, step = self.course, self.course.member, self.place()["step"]
        with self.stage.learner.averaged():
            current = {name: array.copy() for name, array in self.stage.learner.model.numpy_arrays().items()}
        if self.is_student:
            return self._judge_student(train_nats, nats, current, is_best=is_best)
        if is_best:
            self.kept.keep(number, current, None if nats is None else losses)
        done = self.kept.weights[: number - 1]
        is_over = self.stage.pace.is_over(self.stage.counters)
        if nats is None:  # the latest counts, and a member that has hardly begun would spoil the average
            course.take(step, train_nats, None)
            course.best_step = step if number == 1 or is_over else course.best_step
            return None, [*done, current] if number == 1 or is_over else None, {}
        told: dict[str, Any] = {"member": number, "member_nats": nats}
        weights: list[Arrays] = [current]
        if done:
            told["ensemble_nats"] = joint = self.kept.joint_nats(number - 1, losses)
            ways: list[tuple[float, list[Arrays]]] = [(nats, weights), (joint, [*done, current])]
            if is_over:
                ways.append((self.kept.joint_nats(number), self.kept.weights[:number]))
            nats, weights = min(ways, key=lambda way: way[0])
        return nats, weights if course.take(step, train_nats, nats) else None, told

    def _judge_student(
        self, train_nats: float | None, nats: float | None, current: Arrays, *, is_best: bool
    ) -> tuple[float | None, list[Arrays] | None, dict[str, Any]]:
        """Keeps the best of the student. It takes the place of the members once it is better than all that was reached;
        and when it is finished, where it is better than the best of them alone, since it costs no more than that."""
        course, counters, step = self.course, self.stage.counters, self.place()["step"]
        if is_best:
            self.kept.student, course.student_best = current, self.place()
        course.history.append([step, train_nats, nats])
        told = {} if nats is None else {"is_student": True}
        own = counters.best_nats
        is_better = is_best and own is not None and (course.best_nats is None or own < course.best_nats)
        if is_better or self.stage.pace.is_over(counters):
            return nats, self._taken_over(is_better=is_better), told
        return nats, None, told

    def _taken_over(self, *, is_better: bool = False) -> list[Arrays] | None:
        """Lets the student take the place of the members, for which it `is_better` than all before, or has ended.
        Returns its weights, or None where it took it before or does not take it."""
        course, own, student = self.course, self.stage.counters.best_nats, self.kept.student
        if student is None or course.student_best is None:
            return None
        best = course.student_best["step"]
        had = course.distilled_from is not None and (own is not None or course.best_step == best)
        if not (is_better or (not had and self._beats_members(own))):
            return None
        course.best_nats, course.best_step, course.distilled_from = own, best, course.step
        return [student]

    def _beats_members(self, own: float | None) -> bool:
        """Whether the student, whose best validation is `own`, is better than each of the members alone; taken for
        granted where nothing is held out."""
        return own is None or all(nats is None or own <= nats for nats in self.course.own_nats)

    def conclude(self) -> tuple[str, list[Arrays] | None]:
        """Records what the finished member has reached, and returns it in words; of a student beside what it has
        learned from. Returns the weights too that are the best with it, where its time was up before a validation could
        tell, else None. Every process must call this."""
        course, number, own, step = self.course, self.course.member, self.stage.counters.best_nats, self.place()["step"]
        if self._is_untrained:
            who = "the student" if self.is_student else f"member {number} of {self.of}"
            return f"nothing is left of the budget for {who}", None
        if self.is_student:
            weights, course.student_step = self._taken_over(), self.stage.counters.step
            said = "the student is finished"
            if own is not None and (joint := course.joint_nats[-1]) is not None:
                best = min(nats for nats in course.own_nats if nats is not None)
                said += f": {_bpc(own)} bpc; the average of its {len(course.own_nats)} members has {_bpc(joint)}, "
                said += f"the best of them alone {_bpc(best)}"
                said += "" if self._beats_members(own) else ", so that what was best before stays the run's model"
            return said, weights
        joint = None if own is None else self.kept.joint_nats(number)
        course.conclude(own, joint)
        said = f"member {number} of {self.of} is finished"
        if own is not None and joint is not None:
            said += f": {_bpc(own)} bpc alone" + (f", {_bpc(joint)} the average of {number}" if number > 1 else "")
        if own is not None or course.best_step == step:
            return said, None
        course.best_step = step
        return said, self.kept.weights[:number]

    @property
    def has_student_next(self) -> bool:
        """Whether the student follows the member that is concluded."""
        return self._next == self.of + 1

    def go_on(self) -> None:
        """Begins the next member, or the student."""
        following = self._next
        assert following is not None
        self.course = self._course_after(following)
        del self.stage  # so that two are never in memory
        self.stage = self._begun()

    def snapshot(self, weights: Sequence[Arrays] = ()) -> Checkpoint:
        """Returns the model in training as a checkpoint, or models with these weights."""
        place = self.place() if not (weights and self.is_student) else self.course.student_best or {}
        taken = snapshot(self._plan, self._corpus, self._parts, self.reached, self.stage.learner, place=place)
        if self.course.distilled_from is not None:
            taken.progress["distilled_from"] = self.course.distilled_from
        return replace(taken, parameters=joined(weights), members=len(weights)) if weights else taken

    def record(self) -> dict[str, Any]:
        """Returns the counters as a `last` checkpoint keeps them."""
        course = {COURSE: self.course.to_dict()} if self.of > 1 else {}
        return {"counters": self.stage.counters.to_dict(), **course}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns all arrays beyond the weights in training that a resume needs; every process must call this."""
        return {**self.stage.state(), **self.kept.state()}

    def restore(self, saved: Checkpoint) -> list[str]:
        """Loads a `last` checkpoint of the member in training. Returns and raises what `Stage.restore` does."""
        self.course = self._course_of(saved)
        self.kept.load(saved.state)
        anew = self.stage.restore(saved, self.share_before(saved))
        self.course.is_over = self.course.is_over and self.is_finished  # which other settings may have changed
        return anew

    def share_before(self, saved: Checkpoint, course: Course | None = None) -> Budget:
        """Returns the budget of the one in training, or where a `course` stands, under the settings of its `last`
        checkpoint."""
        kept = saved.training["training"]
        budget = Budget.from_dict(saved.training["budget"])
        return share_of(budget, course or self.course, kept["ensemble"], kept["distill"], self.stage.ring.epoch)

    def has_equal_shares(self, saved: Checkpoint) -> bool:
        """Whether the first member of several and the one in training have the shares of the budget that they had under
        the settings of the `last` checkpoint, so that other ones change nothing for those that are trained."""
        first = share_of(self._plan.budget, Course(), self.of, self._plan.training.distill)
        is_first_alike = self.share_before(saved, Course()) == first
        return self.of > 1 and is_first_alike and self.share_before(saved) == self.stage.pace.budget


def _bpc(nats: float) -> str:
    return f"{nats / math.log(2):.4f}"
