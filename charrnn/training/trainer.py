"""A training run, as a generator of events.

`Trainer.run` trains until the budget is used, patience ends or a signal arrives, and yields what happens. It writes
the run's directory (checkpoints, metrics, samples) and never prints. Validation, sampling and saving leave the
training state unchanged. `learner.py` makes the steps; `stage.py` is one model in training, of which a run has several,
one after the other, where it trains an ensemble (`course.py`, `members.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.records import Records
from charrnn.errors import CheckpointError, DivergenceError, TextLost
from charrnn.events import Event, Finished, Notice, RolledBack, Sampled, Saved, Validated
from charrnn.network import device as devices
from charrnn.text.corpus import Corpus
from charrnn.training.above import TRAIN_ABOVE, explains_train
from charrnn.training.beginning import resumed
from charrnn.training.distributed import ALONE, World, check_parts
from charrnn.training.divergence import MOST_ROLLBACKS, divergence, guessing
from charrnn.training.fitting import adapted
from charrnn.training.learner import SMALLER, NotFinite
from charrnn.training.pace import Counters, check_trigger
from charrnn.training.parts import parts_of
from charrnn.training.plan import Plan
from charrnn.training.samples import Written, write_sample
from charrnn.training.saving import Saver
from charrnn.training.scoring import held_out_nats
from charrnn.training.stage import Stage
from charrnn.training.succession import Succession
from charrnn.training.teaching import prepared

_SECONDS_BETWEEN_REPORTS = 0.2

StopSignal = Callable[[], int | None]
"""A function called after every step: returns the number of a signal that asks the run to end, or None."""


class Trainer:
    """One training run: a model in training, those that are finished, the text and the run's progress."""

    def __init__(
        self,
        run: Run,
        corpus: Corpus,
        plan: Plan,
        *,
        device: torch.device,
        resume: Checkpoint | None = None,
        stop: StopSignal = lambda: None,
        world: World = ALONE,
    ) -> None:
        self._run, self._corpus, self._plan = run, corpus, plan
        self._device, self._world = device, world
        self._resume = resume
        self._stop = stop
        self._signal: int | None = None
        self._parts = parts_of(plan, corpus)
        check_trigger(plan.training, plan.run, len(self._parts.validation))
        self._prime = corpus.vocabulary.encode(plan.run.prime)
        self._guess = guessing(len(corpus.vocabulary))
        check_parts(plan.training.batch_size, world.size, plan.run.accumulate)
        with devices.out_of_memory_explained(SMALLER, device):
            self._line = Succession(plan, corpus, self._parts, device, world, resume)
        self._records = Records(run)
        self._saver = Saver(run, plan, self._line, self._records, world)
        self.mended: list[str] = []
        """What was wrong with the metrics and the samples of the run that goes on, a sentence each."""
        if resume is not None:
            resume = adapted(resume, plan, corpus.vocabulary, self._parts.train, self._stage.learner)
        self._anew = [] if resume is None else self._restore(resume)
        self._started = time.monotonic() - self._line.course.seconds - self._counters.seconds
        self._saved_at = self._reported_at = self._counters.seconds

    @property
    def _stage(self) -> Stage:
        return self._line.stage

    @property
    def _counters(self) -> Counters:
        return self._line.stage.counters

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, since the budget was used up or patience ended earlier."""
        return self._line.is_finished

    def outcome(self, signal: int | None = None) -> Finished:
        """Returns the run's last event, which says where it stands."""
        return self._line.outcome(signal, self._guess)

    def run(self) -> Iterator[Event]:
        """Trains, yielding events; the last one is Finished.

        Raises DivergenceError where loss or gradient is not finite (before the weights are touched) or a loss is
        far above guessing, and ResourceError where memory or disk run out, or the text is lost (TextLost); what was
        saved before stays.
        """
        with devices.out_of_memory_explained(SMALLER, self._device):
            yield from self._begin()
            while True:
                yield from self._train()
                if self._signal is not None:
                    break
                if self._line.of > 1:
                    yield from self._conclude()
                if self.is_finished:
                    self._line.course.is_over = True
                    break
                yield from self._go_on_with_next()
            yield self._save_last()
            yield self.outcome(self._signal)

    def _train(self) -> Iterator[Event]:
        """Trains the model in training until it is finished, or a signal arrives."""
        if not self._stage.is_finished:
            yield from prepared(self._stage.learner.teacher, self._stop)
        self._look()
        while True:
            stage = self._stage
            try:
                # Before a validation, which a signal may put off: so what is kept never depends on signals.
                if stage.pace.keep_is_due(self._counters):
                    yield self._keep()
                if is_validated := stage.pace.validation_is_due(self._counters):
                    yield from self._validate()
                    is_validated = self._counters.validated_step == self._counters.step
                    self._look()
                if stage.pace.sample_is_due(self._counters):
                    yield from self._sample()
                    self._look()
                if is_validated and explains_train(stage.plan.model, self._line.reached.history):
                    yield Notice(TRAIN_ABOVE)
                if self._signal is not None or stage.is_finished:
                    self._means()  # which raises where the last steps were bad
                    return
                if not stage.pace.is_over(self._counters):  # else the time ran out while a sample was written
                    self._step()
                    yield from self._report()
            except DivergenceError as error:
                yield self._roll_back(error)
            except TextLost:  # before a step or a validation has changed anything
                if self._world.is_alone:  # else the others are in the middle of it
                    yield self._save_last()
                raise

    def _begin(self) -> Iterator[Event]:
        for notice in self._plan.notices:
            yield Notice(notice)
        if self._resume is None:
            if self._world.is_first:
                self._records.begin()
            # A full or read-only disk is found now, not after the first hour.
            yield self._save_last()
        else:
            said = resumed(self._resume, self._plan, self._line, is_whole=not self.mended)
            yield Notice("; ".join((said, *self._anew, *self.mended)))
            self._resume = None  # its arrays have been copied
            if change := self._plan.change:
                self._append_metrics(change={what: told for what, told in change.items() if what != "step"})
                yield self._save_last()  # from now on it is the same run, with these settings
        if not len(self._parts.validation):
            yield Notice(
                "nothing is held out to validate on: best.safetensors has the last weights of each model, not the best"
            )

    def _conclude(self) -> Iterator[Event]:
        """Keeps what the finished member, or the student, has reached; nothing is trained or validated."""
        said, weights = self._line.conclude()
        self._look()
        if weights is not None:
            yield self._saver.best(weights)
        if self._counters.step and not self._line.is_student:
            yield self._saver.member()
        yield Notice(said)

    def _go_on_with_next(self) -> Iterator[Event]:
        """Begins the next member, or the student, whose first step follows, from the time at which the last ended."""
        if self._line.has_student_next:
            yield self._saver.ensemble()
            yield Notice(f"a student learns from the average of the {len(self._line.kept.weights)} members")
        self._line.go_on()
        self._saved_at = self._reported_at = 0.0
        yield self._save_last()

    def _step(self) -> None:
        """Makes one update of the weights."""
        try:
            self._stage.make_step()
        except NotFinite as error:
            raise self._divergence(error) from error
        self._look()
        self._stage.average()

    def _report(self) -> Iterator[Event]:
        """Writes a line of metrics and yields a report of progress, when they are due."""
        counters, stage = self._counters, self._stage
        if counters.averaging_since == counters.step - 1:
            yield Notice(f"the weights are averaged from step {self._place()['step']:,} on")
        is_logged = counters.step % self._plan.run.log_every == 0
        now = counters.seconds
        if not is_logged and now - self._reported_at < _SECONDS_BETWEEN_REPORTS:
            return
        means = self._means()
        progress = self._line.progress(means)
        if is_logged:
            counters.skipped += round(means["skipped"])
            self._append_metrics(
                train_nats=means["nats"],
                learning_rate=progress.learning_rate,
                gradient_norm=means["gradient_norm"],
                clip_rate=means["clip_rate"],
                skipped_steps=round(means["skipped"]) or None,
                characters_per_second=progress.characters_per_second,
            )
            stage.tally.clear()
        self._reported_at = now
        yield progress
        if now - self._saved_at >= self._plan.run.save_every:
            yield self._save_last()

    def _means(self) -> dict[str, float]:
        """Returns the means since the last line of metrics. Raises DivergenceError where a step since was bad."""
        try:
            return self._stage.means()
        except NotFinite as error:
            raise self._divergence(error) from error

    def _validate(self) -> Iterator[Event]:
        """Scores the held-out part, keeps the best and saves. When a signal arrives, it stops and changes nothing."""
        counters, began, stage, nats = self._counters, self._counters.seconds, self._stage, None
        losses = self._line.empty_losses()
        self._means()  # which raises where the last steps were bad, so that nothing of them is kept
        try:
            train_nats = stage.train_nats()
            if len(self._parts.validation):
                nats = held_out_nats(stage.learner, self._parts, stage.bound, self._world, self._stop, losses)
                if nats is None:
                    return
        except NotFinite as error:
            raise self._divergence(error) from error
        is_best = counters.take(train_nats, nats)
        counters.trigger(stage.plan.training, stage.fraction)  # which may put off the end of its patience
        nats, weights, own = self._line.judge(train_nats, nats, losses, is_best=is_best)
        recent_nats = stage.recent.mean(self._world)
        stage.since_validation.clear()
        stage.recent.forget(unshown=recent_nats if nats is None else None)
        bpc = None if nats is None else nats / math.log(2)
        self._append_metrics(train_nats=train_nats, validation_nats=nats, validation_bpc=bpc, **own)
        if nats is not None:
            # One worse than guessing is not called so, nor one beside which an earlier one has become the best.
            is_new_best = weights is not None and nats == self._line.reached.best_nats and nats <= self._guess
            told = {**self._place(), **own, "members": self._line.of}
            yield Validated(train_nats=recent_nats, validation_nats=nats, is_best=is_new_best, **told)
        if weights is not None:
            self._look()
            yield self._saver.best(weights)
        self._look()
        counters.validation_cost = counters.seconds - began
        counters.validated_seconds = counters.seconds
        yield self._save_last()

    def _sample(self) -> Iterator[Event]:
        """Lets the model write a sample, and touches no training state. When a signal arrives, it stops as well."""
        counters, stage, here, written = self._counters, self._stage, self._place(), Written("")
        if self._world.is_first:
            vocabulary = self._corpus.vocabulary
            written = write_sample(stage.learner, stage.plan, vocabulary, self._prime, here["step"], self._stop)
        if self._world.first_says(not written.is_finite):
            raise self._divergence(NotFinite(math.nan, math.nan))
        if self._world.first_says(written.text is None):
            return
        counters.sampled_step, counters.sampled_seconds = counters.step, counters.seconds
        text = written.text or ""
        if self._world.is_first:
            self._records.add_sample(f"step {here['step']}, epoch {here['epoch']:.2f}", text)
        yield Sampled(
            here["step"],
            text,
            characters=here["characters"],
            fraction=self._line.fraction,
            train_nats=stage.recent.mean(self._world),
            primed=len(self._plan.run.prime),
        )

    def _look(self) -> None:
        """Reads the clock and whether a signal has come; all ranks get the same answer."""
        seconds, signal = self._world.agree(time.monotonic() - self._started, self._stop() or 0)
        self._counters.seconds = seconds - self._line.course.seconds
        self._signal = int(signal) or None

    def _append_metrics(self, **values: Any) -> None:
        if self._world.is_first:
            self._records.add_metrics({**self._place(), **values})

    def _place(self) -> dict[str, Any]:
        return self._line.place()

    def _keep(self) -> Saved:
        """Keeps the weights of this step."""
        self._means()  # which raises where the last steps were bad
        self._look()
        saved = self._saver.keep()
        self._counters.kept_step = self._counters.step
        return saved

    def _save_last(self) -> Saved:
        self._look()
        saved = self._saver.last()
        self._saved_at = self._counters.seconds
        return saved

    def _restore(self, checkpoint: Checkpoint) -> list[str]:
        """Loads a `last` checkpoint, so that the next step is the one that the run would have made; returns a sentence
        for each thing that begins anew on another kind of device."""
        try:
            anew = self._line.restore(checkpoint)
            if self._world.is_first:
                self.mended = self._records.go_on(checkpoint.training, self._place()["step"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._run.last} cannot be resumed from: {error}", "start over with --fresh"
            ) from error
        return anew

    def _divergence(self, error: NotFinite) -> DivergenceError:
        step, rate = self._place()["step"], self._stage.learner.learning_rate
        rollbacks = self._counters.rollbacks
        return divergence(self._run, self._plan, step, rollbacks, error.loss, error.gradient_norm, rate)

    def _roll_back(self, error: DivergenceError) -> RolledBack:
        """Goes back to the last save at half the learning rate; gives up after a few times."""
        counters = self._counters
        rollbacks = counters.rollbacks + 1
        if self._plan.run.on_divergence == "stop" or rollbacks > MOST_ROLLBACKS:
            raise error
        scale, diverged_at, seconds = counters.learning_rate_scale / 2, self._place()["step"], counters.seconds
        self._restore(checkpoints.load(self._run.last, with_state=True))
        self._counters.learning_rate_scale, self._counters.rollbacks = scale, rollbacks
        self._counters.seconds = seconds  # the time is spent all the same
        return RolledBack(diverged_at, self._place()["step"], scale)
