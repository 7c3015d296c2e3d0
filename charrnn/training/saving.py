"""Writes the checkpoints of a run: the last, the best, those that are kept along the way, and finished members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.records import FILES, Records
from charrnn.events import Saved
from charrnn.training.distributed import World
from charrnn.training.members import Arrays
from charrnn.training.plan import Plan
from charrnn.training.succession import Succession


class Saver:
    """Writes to a run's folder where this is the first process; every process must call each of these."""

    def __init__(self, run: Run, plan: Plan, line: Succession, records: Records, world: World) -> None:
        self._run, self._plan, self._line, self._records, self._world = run, plan, line, records, world

    @property
    def _step(self) -> int:
        return int(self._line.place()["step"])

    def keep(self) -> Saved:
        """Writes the weights of this step, those that would be validated now, to a file of their own."""
        path = self._run.kept(self._step)
        with self._line.stage.learner.averaged():
            weights = self._line.snapshot()
            if self._world.is_first:
                checkpoints.save(path, replace(weights, kind="step"))
        return Saved(path, self._step)

    def member(self) -> Saved:
        """Writes the best weights of the member that is finished, alone."""
        path = self._run.member(self._line.course.member)
        if self._world.is_first:
            checkpoints.save(path, replace(self._line.snapshot([self._line.kept.weights[-1]]), kind="member"))
        return Saved(path, self._step)

    def ensemble(self) -> Saved:
        """Writes all members that are finished, as one model."""
        if self._world.is_first:
            together = replace(self._line.snapshot(self._line.kept.weights), kind="member")
            checkpoints.save(self._run.ensemble, together)
        return Saved(self._run.ensemble, self._step)

    def best(self, weights: Sequence[Arrays]) -> Saved:
        """Writes best.safetensors: the weights that were validated or, where some are given, these as an ensemble."""
        with self._line.stage.learner.averaged():
            best = self._line.snapshot(weights)
            if self._world.is_first:
                checkpoints.save(self._run.best, best)
        return Saved(self._run.best, self._step)

    def last(self) -> Saved:
        """Writes last.safetensors, which holds all that the next step depends on."""
        taught = {} if self._plan.teacher is None else self._plan.teacher.arrays()
        weights, state = self._line.snapshot(), {**self._line.state(), **taught}
        if self._world.is_first:
            settings = {**self._plan.to_dict(), **self._line.record(), FILES: self._records.marks()}
            checkpoints.save(self._run.last, replace(weights, kind="last", training=settings, state=state))
        return Saved(self._run.last, self._step)
