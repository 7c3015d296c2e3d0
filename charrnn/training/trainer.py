"""A training run, as a generator of events.

`Trainer.run` trains until the budget is used, patience ends or a signal arrives, and yields what happens. It writes
the run's directory (checkpoints, metrics, samples) and never prints. Validation, sampling and saving leave the
training state unchanged. `learner.py` makes the steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.records import FILES, Records
from charrnn.errors import CheckpointError, DivergenceError, TextLost
from charrnn.events import Event, Finished, Notice, RolledBack, Sampled, Saved, Validated
from charrnn.network import device as devices
from charrnn.text.corpus import Corpus
from charrnn.training.above import TRAIN_ABOVE, explains_train
from charrnn.training.beginning import resumed
from charrnn.training.distributed import ALONE, World, check_parts
from charrnn.training.divergence import MOST_ROLLBACKS, bound, divergence, guessing
from charrnn.training.documents import reading_of
from charrnn.training.feed import make_feed
from charrnn.training.fitting import adapted, first_learner
from charrnn.training.learner import SMALLER, NotFinite
from charrnn.training.pace import Counters, Pace, check_trigger, finished, place, progress_of
from charrnn.training.parts import parts_of
from charrnn.training.plan import Plan
from charrnn.training.samples import Written, write_sample
from charrnn.training.schedule import averaging_share, learning_rate, window_length
from charrnn.training.scoring import held_out_nats
from charrnn.training.snapshot import snapshot
from charrnn.training.tally import Recent, StepSums, load_tallies, tally_arrays

_SECONDS_BETWEEN_REPORTS = 0.2

StopSignal = Callable[[], int | None]
"""A function called after every step: returns the number of a signal that asks the run to end, or None."""


class Trainer:
    """One training run: a model, its optimizer, the text and the run's progress."""

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
        self._device = device
        self._resume = resume
        self._stop = stop
        self._world = world
        self._signal: int | None = None
        self._parts, self._counters = parts_of(plan, corpus), Counters()
        lanes, accumulate = plan.training.batch_size, plan.run.accumulate
        self._ring = reading_of(self._parts, plan.training)
        self._pace = Pace(plan.budget, plan.run, self._ring, len(self._parts.validation))
        check_trigger(plan.training, plan.run, len(self._parts.validation))
        self._prime = corpus.vocabulary.encode(plan.run.prime)
        self._guess = guessing(len(corpus.vocabulary))
        check_parts(lanes, world.size, accumulate)
        with devices.out_of_memory_explained(SMALLER, device):
            self._learner = first_learner(plan, corpus.vocabulary, self._parts, device, world)
            self._feed = make_feed(self._ring, world.lanes(lanes), device)
        self._tally, self._since_validation = self._tallies = StepSums(device), StepSums(device)
        self._recent = Recent(self._since_validation)
        self._learner.connect(self._feed, self._tallies)
        self._records = Records(run)
        self.mended: list[str] = []
        """What was wrong with the metrics and the samples of the run that goes on, a sentence each."""
        if resume is not None:
            resume = adapted(resume, plan, corpus.vocabulary, self._parts.train, self._learner)
        self._anew = [] if resume is None else self._restore(resume)
        self._started = time.monotonic() - self._counters.seconds
        self._saved_at = self._reported_at = self._counters.seconds

    @property
    def _bound(self) -> float:
        return bound(len(self._corpus.vocabulary), self._counters.first_nats)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, since the budget was used up or patience ended earlier."""
        counters, pace = self._counters, self._pace
        # A run that was killed between its last validation and its end may lack the last sample.
        return pace.is_over(counters) and not (pace.validation_is_due(counters) or pace.sample_is_due(counters))

    def outcome(self, signal: int | None = None) -> Finished:
        """Returns the run's last event, which says where the run stands."""
        since_then = round(self._tally.means(self._world)["skipped"])
        skipped = self._counters.skipped + since_then
        return finished(self._counters, self._pace, skipped=skipped, signal=signal, guess=self._guess)

    def run(self) -> Iterator[Event]:
        """Trains, yielding events; the last one is Finished.

        Raises DivergenceError where loss or gradient is not finite (before the weights are touched) or a loss is
        far above guessing, and ResourceError where memory or disk run out, or the text is lost (TextLost); what was
        saved before stays.
        """
        with devices.out_of_memory_explained(SMALLER, self._device):
            yield from self._begin()
            self._look()
            while True:
                try:
                    # Before a validation, which a signal may put off: so what is kept never depends on signals.
                    if self._pace.keep_is_due(self._counters):
                        yield self._keep()
                    if is_validated := self._pace.validation_is_due(self._counters):
                        yield from self._validate()
                        is_validated = self._counters.validated_step == self._counters.step
                        self._look()
                    if self._pace.sample_is_due(self._counters):
                        yield from self._sample()
                        self._look()
                    if is_validated and explains_train(self._plan.model, self._counters.history):
                        yield Notice(TRAIN_ABOVE)
                    if self._signal is not None or self.is_finished:
                        self._means()  # which raises where the last steps were bad
                        break
                    if not self._pace.is_over(self._counters):  # else the time ran out while a sample was written
                        self._step()
                        yield from self._report()
                except DivergenceError as error:
                    yield self._roll_back(error)
                except TextLost:  # before a step or a validation has changed anything
                    if self._world.is_alone:  # else the others are in the middle of it
                        yield self._save_last()
                    raise
            yield self._save_last()
            yield self.outcome(self._signal)

    def _begin(self) -> Iterator[Event]:
        for notice in self._plan.notices:
            yield Notice(notice)
        if self._resume is None:
            if self._world.is_first:
                self._records.begin()
            # A full or read-only disk is found now, not after the first hour.
            yield self._save_last()
        else:
            said = resumed(self._resume, self._plan, self._learner, step=self._counters.step, is_whole=not self.mended)
            yield Notice("; ".join((said, *self._anew, *self.mended)))
            self._resume = None  # its arrays have been copied
            if change := self._plan.change:
                self._append_metrics(change={what: told for what, told in change.items() if what != "step"})
                yield self._save_last()  # from now on it is the same run, with these settings
        if not len(self._parts.validation):
            yield Notice(
                "nothing is held out to validate on, so best.safetensors is the latest checkpoint, not the best"
            )

    def _step(self) -> None:
        """Makes one update of the weights."""
        counters = self._counters
        rate = counters.learning_rate_scale * learning_rate(
            self._plan.training, counters.step, self._pace.fraction(counters)
        )
        length = window_length(self._plan.training, counters.step)
        try:
            self._learner.step_at(counters.position, rate, length)
        except NotFinite as error:
            raise self._divergence(error.loss, error.gradient_norm) from error
        counters.advance(length)
        if counters.step == 1 and math.isfinite(nats := self._tally.means(self._world)["nats"]):
            counters.first_nats = nats
        self._look()
        fraction, since = self._pace.fraction(counters), counters.averaging_since
        self._learner.average(averaging_share(self._plan.training, counters.step, fraction, since))

    def _report(self) -> Iterator[Event]:
        """Writes a line of metrics and yields a report of progress, when they are due."""
        counters = self._counters
        is_logged = counters.step % self._plan.run.log_every == 0
        now = counters.seconds
        if not is_logged and now - self._reported_at < _SECONDS_BETWEEN_REPORTS:
            return
        means = self._means()
        progress = progress_of(counters, self._pace, means, self._learner.learning_rate)
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
            self._tally.clear()
        self._reported_at = now
        yield progress
        if now - self._saved_at >= self._plan.run.save_every:
            yield self._save_last()

    def _means(self) -> dict[str, float]:
        """Returns the means since the last line of metrics. Raises DivergenceError where a step since was bad."""
        means = self._tally.means(self._world)
        if not (means["nats"] <= self._bound and math.isfinite(means["gradient_norm"])):
            raise self._divergence(means["nats"], means["gradient_norm"])
        return means

    def _validate(self) -> Iterator[Event]:
        """Scores the held-out part, keeps the best and saves. When a signal arrives, it stops and changes nothing."""
        counters, began = self._counters, self._counters.seconds
        train_nats = self._since_validation.means(self._world)["nats"] if self._since_validation.steps else None
        if train_nats is not None and not train_nats <= self._bound:
            raise self._divergence(train_nats, math.nan)
        nats = None
        if len(self._parts.validation):
            try:
                nats = held_out_nats(self._learner, self._parts, self._bound, self._world, self._stop)
            except NotFinite as error:
                raise self._divergence(error.loss, error.gradient_norm) from error
            if nats is None:
                return
        is_best = counters.take(train_nats, nats)
        if counters.trigger(self._plan.training, self._pace.fraction(counters)):
            yield Notice(f"the weights are averaged from step {counters.step:,} on")
        recent_nats = self._recent.mean(self._world)
        self._since_validation.clear()
        self._recent.forget(unshown=recent_nats if nats is None else None)
        bpc = None if nats is None else nats / math.log(2)
        self._append_metrics(train_nats=train_nats, validation_nats=nats, validation_bpc=bpc)
        if nats is not None:
            is_new_best = is_best and nats <= self._guess  # one that is worse than guessing is not called so
            yield Validated(**self._place(), train_nats=recent_nats, validation_nats=nats, is_best=is_new_best)
        if is_best:
            yield self._save_best()
        self._look()
        counters.validation_cost = counters.seconds - began
        counters.validated_seconds = counters.seconds
        yield self._save_last()

    def _sample(self) -> Iterator[Event]:
        """Lets the model write a sample, and touches no training state. When a signal arrives, it stops as well."""
        counters, written = self._counters, Written("")
        if self._world.is_first:
            vocabulary = self._corpus.vocabulary
            written = write_sample(self._learner, self._plan, vocabulary, self._prime, counters.step, self._stop)
        if self._world.first_says(not written.is_finite):
            raise self._divergence(math.nan, math.nan)
        if self._world.first_says(written.text is None):
            return
        counters.sampled_step, counters.sampled_seconds = counters.step, counters.seconds
        text = written.text or ""
        if self._world.is_first:
            self._records.add_sample(f"step {counters.step}, epoch {self._place()['epoch']:.2f}", text)
        yield Sampled(
            counters.step,
            text,
            characters=self._place()["characters"],
            fraction=self._pace.fraction(counters),
            train_nats=self._recent.mean(self._world),
            primed=len(self._plan.run.prime),
        )

    def _look(self) -> None:
        """Reads the clock and whether a signal has come; all ranks get the same answer."""
        seconds, signal = self._world.agree(time.monotonic() - self._started, self._stop() or 0)
        self._counters.seconds = seconds
        self._signal = int(signal) or None

    def _append_metrics(self, **values: Any) -> None:
        if self._world.is_first:
            self._records.add_metrics({**self._place(), **values})

    def _place(self) -> dict[str, Any]:
        return place(self._counters, self._ring)

    def _snapshot(self) -> Checkpoint:
        self._look()
        return snapshot(self._plan, self._corpus, self._parts, self._counters, self._learner, place=self._place())

    def _keep(self) -> Saved:
        """Writes the weights of this step, those that would be validated now, to a file of their own."""
        self._means()  # which raises where the last steps were bad
        with self._learner.averaged():
            weights = self._snapshot()
            path = self._run.kept(self._counters.step)
            if self._world.is_first:
                checkpoints.save(path, replace(weights, kind="step"))
        self._counters.kept_step = self._counters.step
        return Saved(path, self._counters.step)

    def _save_best(self) -> Saved:
        """Writes best.safetensors: the weights that were validated."""
        with self._learner.averaged():
            weights = self._snapshot()
            if self._world.is_first:
                checkpoints.save(self._run.best, weights)
        return Saved(self._run.best, self._counters.step)

    def _save_last(self) -> Saved:
        """Writes last.safetensors, which holds all that the next step depends on."""
        weights = self._snapshot()
        state = {**self._learner.state(), **tally_arrays(self._tallies, self._world)}
        if self._world.is_first:
            settings = {**self._plan.to_dict(), "counters": self._counters.to_dict(), FILES: self._records.marks()}
            checkpoints.save(self._run.last, replace(weights, kind="last", training=settings, state=state))
        self._saved_at = self._counters.seconds
        return Saved(self._run.last, self._counters.step)

    def _restore(self, checkpoint: Checkpoint) -> list[str]:
        """Loads a `last` checkpoint, so that the next step is the one that the run would have made; returns a sentence
        for each thing that begins anew on another kind of device."""
        try:
            anew = self._learner.load(checkpoint.parameters, checkpoint.state)
            load_tallies(self._tallies, checkpoint.state, self._world)
            self._counters = Counters(**checkpoint.training["counters"])
            if self._world.is_first:
                self.mended = self._records.go_on(checkpoint.training, self._counters.step)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._run.last} cannot be resumed from: {error}", "start over with --fresh"
            ) from error
        return anew

    def _divergence(self, nats: float, norm: float) -> DivergenceError:
        return divergence(self._run, self._plan.run, self._counters, nats, norm, self._learner.learning_rate)

    def _roll_back(self, error: DivergenceError) -> RolledBack:
        """Goes back to the last save at half the learning rate; gives up after a few times."""
        counters = self._counters
        rollbacks = counters.rollbacks + 1
        if self._plan.run.on_divergence == "stop" or rollbacks > MOST_ROLLBACKS:
            raise error
        scale, diverged_at, seconds = counters.learning_rate_scale / 2, counters.step, counters.seconds
        self._restore(checkpoints.load(self._run.last, with_state=True))
        self._counters.learning_rate_scale, self._counters.rollbacks = scale, rollbacks
        self._counters.seconds = seconds  # the time is spent all the same
        return RolledBack(diverged_at, self._counters.step, scale)
