"""The models that a run trains, one after the other: the one in training, and what is kept of those before it.

A run of one model has this one alone. Of an ensemble each member keeps its best weights by its own validation; where
nothing is held out, its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch

from charrnn.cells.members import joined
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.events import Finished
from charrnn.text.corpus import Corpus, Parts
from charrnn.training.course import COURSE, Course, course_in, member_seed, share_of
from charrnn.training.distributed import World
from charrnn.training.documents import reading_of
from charrnn.training.members import Arrays, Losses, Members
from charrnn.training.pace import Counters
from charrnn.training.plan import Plan
from charrnn.training.snapshot import snapshot
from charrnn.training.stage import Stage
from charrnn.training.standing import finished, fraction_of, place


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
        self.stage = self._begun()

    def _course_of(self, saved: Checkpoint | None) -> Course:
        return Course() if saved is None or self.of == 1 else course_in(saved.training)

    def _begun(self) -> Stage:
        """Returns the member in training as it begins."""
        training = member_seed(self._plan.training, self.course.member)
        ring = reading_of(self._parts, training)
        budget = share_of(self._plan.budget, self.course, self.of, ring.epoch)
        plan = replace(self._plan, training=training)
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
        course, patience = self.course, self._plan.run.patience
        is_concluded = len(course.own_nats) == course.member
        return is_concluded and (course.member >= self.of or (patience is not None and course.brings_nothing))

    def place(self) -> dict[str, Any]:
        """Returns step, epoch, characters and seconds of the run."""
        return place(self.stage.counters, self.stage.ring, self.course)

    @property
    def fraction(self) -> float:
        """Returns the share of the run's budget that is used."""
        return fraction_of(self.stage.counters, self.stage.pace, self.course, self.of)

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

    def conclude(self) -> tuple[float | None, float | None]:
        """Records what the finished member has reached; returns its nats alone, and those of the average with it."""
        own = self.stage.counters.best_nats
        joint = None if own is None else self.kept.joint_nats(self.course.member)
        self.course.conclude(own, joint)
        return own, joint

    def go_on(self) -> None:
        """Begins the next member."""
        counters = self.stage.counters
        self.course = self.course.next(
            step=counters.step, position=counters.position, seconds=counters.seconds, skipped=counters.skipped
        )
        del self.stage  # so that two are never in memory
        self.stage = self._begun()

    def snapshot(self, weights: Sequence[Arrays] = ()) -> Checkpoint:
        """Returns the model in training as a checkpoint, or models with these weights."""
        taken = snapshot(self._plan, self._corpus, self._parts, self.reached, self.stage.learner, place=self.place())
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
        return self.stage.restore(saved)
