"""A training run, as a generator of events.

`Trainer.run` trains until the budget is used, patience ends or a signal arrives, and yields what happens. It writes
the run's directory (checkpoints, metrics, samples) and never prints. Validation, sampling and saving leave the
training state as it is. Knows when and what to report. Refuses to know how a step is made (`learner.py`) and what
anything looks like.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from charrnn import checkpoint as checkpoints
from charrnn import device as devices
from charrnn.batches import Ring
from charrnn.checkpoint import Checkpoint, Kind
from charrnn.config import SamplingConfig
from charrnn.corpus import Corpus
from charrnn.errors import CheckpointError, DivergenceError
from charrnn.evaluate.bpc import score
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Saved, Validated
from charrnn.inference.engine import make_engine
from charrnn.learner import Learner, NotFinite
from charrnn.pace import Counters, Pace
from charrnn.plan import Plan
from charrnn.runs import Run
from charrnn.sampling import sample
from charrnn.schedule import averaging_share, learning_rate
from charrnn.snapshot import snapshot
from charrnn.tally import Tally

_SECONDS_BETWEEN_REPORTS = 0.2
_MOST_ROLLBACKS = 10
_TALLY = "tally"
_SMALLER = "a smaller --batch, --bptt or --hidden needs less; the last checkpoint is untouched"

StopSignal = Callable[[], int | None]
"""Asked after every step: the number of a signal that wants the run to end, or None."""


class Trainer:
    """One run: a model, its optimizer, the text and where it stands."""

    def __init__(
        self,
        run: Run,
        corpus: Corpus,
        plan: Plan,
        *,
        device: torch.device,
        resume: Checkpoint | None = None,
        stop: StopSignal = lambda: None,
    ) -> None:
        self._run = run
        self._corpus = corpus
        self._plan = plan
        self._device = device
        self._resume = resume
        self._stop = stop
        self._parts = corpus.split(plan.data)
        self._ring = Ring(self._parts.train, plan.training.batch_size, plan.training.bptt)
        self._pace = Pace(plan.budget, plan.run, self._ring, len(self._parts.validation))
        self._prime = corpus.vocabulary.encode(plan.run.prime)
        self._counters = Counters()
        with devices.out_of_memory_explained(_SMALLER):
            self._learner = Learner(plan.model, plan.training, len(corpus.vocabulary), device)
        self._tally = Tally(device)
        self._since_validation = Tally(device)
        if resume is not None:
            self._restore(resume)
        self._started = time.monotonic() - self._counters.seconds
        self._saved_at = self._reported_at = time.monotonic()

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do: the budget was used up, or patience ended, before."""
        counters = self._counters
        return self._pace.is_over(counters) and not self._pace.validation_is_due(counters)

    def outcome(self, signal: int | None = None) -> Finished:
        """Where the run stands, as its last event."""
        counters = self._counters
        reason: Literal["budget", "patience", "signal"] = "budget"
        if signal is not None:
            reason = "signal"
        elif self._pace.is_out_of_patience(counters):
            reason = "patience"
        return Finished(
            reason=reason,
            step=counters.step,
            characters=counters.step * self._ring.characters_per_step,
            seconds=counters.seconds,
            validation_nats=counters.history[-1][2] if counters.history else None,
            best_nats=counters.best_nats,
            best_step=counters.best_step,
            signal=signal,
        )

    def run(self) -> Iterator[Event]:
        """Trains, yielding events; the last one is Finished.

        Raises DivergenceError where loss or gradient is not finite (before the weights are touched) and
        ResourceError where memory or disk run out; what was saved before stays.
        """
        with devices.out_of_memory_explained(_SMALLER):
            yield from self._begin()
            while True:
                try:
                    if self._pace.validation_is_due(self._counters):
                        yield from self._validate()
                    if self._pace.sample_is_due(self._counters):
                        yield self._sample()
                    signal = self._stop()
                    if signal is not None or self._pace.is_over(self._counters):
                        break
                    self._step()
                    yield from self._report()
                except DivergenceError as error:
                    yield self._roll_back(error)
            yield self._save("last")
            yield self.outcome(signal)

    def _begin(self) -> Iterator[Event]:
        for notice in self._plan.notices:
            yield Notice(notice)
        if self._resume is None:
            # A full or read-only disk is found now, not after the first hour.
            yield self._save("last")
        else:
            now = devices.environment(self._device, self._learner.precision)
            changes = devices.differences(self._resume.environment, now)
            kind = "approximate resume: " + ", ".join(changes) if changes else "exact resume"
            yield Notice(f"{kind} at step {self._counters.step:,}")
            # The checkpoint's arrays lie in a memory map; let go of it before the file is replaced.
            self._resume = None
        if not len(self._parts.validation):
            yield Notice("nothing is held out: best.safetensors is the latest checkpoint, not the best")

    def _step(self) -> None:
        """One update of the weights."""
        counters = self._counters
        rate = counters.learning_rate_scale * learning_rate(
            self._plan.training, counters.step, self._pace.fraction(counters)
        )
        inputs, targets = self._ring.at(counters.step * self._ring.window)
        try:
            outcome = self._learner.step(inputs, targets, rate)
        except NotFinite as error:
            raise self._divergence(error.loss, error.gradient_norm) from error
        for tally in (self._tally, self._since_validation):
            tally.add(outcome.loss, outcome.gradient_norm, outcome.is_clipped)
        counters.step += 1
        self._tick()
        self._learner.average(averaging_share(self._plan.training, counters.step, self._pace.fraction(counters)))

    def _report(self) -> Iterator[Event]:
        """A line of metrics and a report of progress, when they are due."""
        counters = self._counters
        is_logged = counters.step % self._plan.run.log_every == 0
        now = time.monotonic()
        if not is_logged and now - self._reported_at < _SECONDS_BETWEEN_REPORTS:
            return
        means = self._means()
        progress = self._progress(means["nats"], means["gradient_norm"])
        if is_logged:
            self._run.append_metrics(
                {
                    **self._place(),
                    "train_nats": means["nats"],
                    "learning_rate": progress.learning_rate,
                    "gradient_norm": means["gradient_norm"],
                    "clip_rate": means["clip_rate"],
                    "characters_per_second": progress.characters_per_second,
                }
            )
            self._tally.clear()
        self._reported_at = now
        yield progress
        if now - self._saved_at >= self._plan.run.save_every:
            yield self._save("last")

    def _means(self) -> dict[str, float]:
        """Means since the last line of metrics. Raises DivergenceError where a step among them was bad."""
        means = self._tally.means()
        if not math.isfinite(means["nats"] + means["gradient_norm"]):
            raise self._divergence(means["nats"], means["gradient_norm"])
        return means

    def _validate(self) -> Iterator[Event]:
        """Scores the held-out part, keeps the best, saves. Given up, with nothing changed, when a signal arrives."""
        counters, began = self._counters, time.monotonic()
        train_nats = self._since_validation.means()["nats"] if self._since_validation.steps else None
        if train_nats is not None and not math.isfinite(train_nats):
            raise self._divergence(train_nats, math.nan)
        nats = None
        if len(self._parts.validation):
            with self._learner.averaged():
                result = score(
                    self._learner.model,
                    self._parts.validation,
                    device=self._device,
                    proceed=lambda _done: self._stop() is None,
                )
            if result is None:
                return
            nats = result.nats_per_character
            if not math.isfinite(nats):
                raise self._divergence(nats, math.nan)
        counters.history.append([counters.step, train_nats, nats])
        is_best = nats is None or counters.best_nats is None or nats < counters.best_nats
        counters.without_gain = 0 if is_best else counters.without_gain + 1
        if is_best:
            counters.best_nats, counters.best_step = nats, counters.step
        counters.validated_step = counters.step
        self._since_validation.clear()
        self._run.append_metrics(
            {
                **self._place(),
                "train_nats": train_nats,
                "validation_nats": nats,
                "validation_bpc": None if nats is None else nats / math.log(2),
            }
        )
        if nats is not None:
            place = self._place()
            yield Validated(
                step=counters.step,
                epoch=place["epoch"],
                characters=place["characters"],
                seconds=place["seconds"],
                train_nats=train_nats,
                validation_nats=nats,
                is_best=is_best,
            )
        if is_best:
            yield self._save("best")
            self._run.forget_aside()
        self._tick()
        counters.validation_cost = time.monotonic() - began
        counters.validated_seconds = counters.seconds
        yield self._save("last")

    def _sample(self) -> Sampled:
        """Lets the model write a little, on copies of nothing: numpy reads the weights, the training state rests."""
        run, vocabulary = self._plan.run, self._corpus.vocabulary
        config = SamplingConfig(
            length=run.sample_length, temperature=run.sample_temperature, seed=self._plan.training.seed
        )
        try:
            with self._learner.averaged():
                engine = make_engine(self._plan.model, self._learner.model.numpy_arrays(), threads=1)
                written = sample(engine, vocabulary, self._prime.tolist(), config, number=self._counters.step)
                text = run.prime + "".join(written)
        except CheckpointError as error:
            raise self._divergence(math.nan, math.nan) from error
        self._counters.sampled_step, self._counters.sampled_seconds = self._counters.step, self._counters.seconds
        self._run.append_sample(f"step {self._counters.step}, epoch {self._place()['epoch']:.2f}", text)
        return Sampled(self._counters.step, text)

    def _tick(self) -> None:
        self._counters.seconds = time.monotonic() - self._started

    def _place(self) -> dict[str, Any]:
        step = self._counters.step
        return {
            "step": step,
            "epoch": round(self._ring.epoch(step * self._ring.window), 6),
            "characters": step * self._ring.characters_per_step,
            "seconds": round(self._counters.seconds, 3),
        }

    def _progress(self, train_nats: float, gradient_norm: float) -> Progress:
        counters, place = self._counters, self._place()
        fraction = self._pace.fraction(counters)
        left = counters.seconds / fraction - counters.seconds if fraction else math.inf
        return Progress(
            fraction=fraction,
            seconds_left=left,
            train_nats=train_nats,
            learning_rate=self._learner.learning_rate,
            gradient_norm=gradient_norm,
            characters_per_second=place["characters"] / counters.seconds if counters.seconds else 0.0,
            **place,
        )

    def _save(self, kind: Kind) -> Saved:
        """Writes best.safetensors or last.safetensors."""
        self._tick()
        path = self._run.best if kind == "best" else self._run.last
        with self._learner.averaged() if kind == "best" else contextlib.nullcontext():
            weights = snapshot(
                self._plan, self._corpus, self._parts, self._counters, self._learner, place=self._place()
            )
            if kind == "best":
                checkpoints.save(path, weights)
        if kind == "last":
            tallies = np.stack([self._tally.to_numpy(), self._since_validation.to_numpy()])
            checkpoints.save(
                path,
                replace(
                    weights,
                    kind="last",
                    training={
                        **self._plan.to_dict(),
                        "counters": self._counters.to_dict(),
                        "lengths": self._run.lengths(),
                    },
                    state={**self._learner.state(), _TALLY: tallies},
                ),
            )
            self._saved_at = time.monotonic()
        return Saved(path, self._counters.step)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Takes over a `last` checkpoint: after it, the next step is the one the run would have made."""
        try:
            self._learner.load(checkpoint.parameters, checkpoint.state)
            tally, since_validation = checkpoint.state[_TALLY]
            self._tally.load(tally)
            self._since_validation.load(since_validation)
            self._counters = Counters(**checkpoint.training["counters"])
            self._run.cut_back(checkpoint.training["lengths"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._run.last} cannot be resumed from: {error}", "start over with --fresh"
            ) from error

    def _divergence(self, nats: float, norm: float) -> DivergenceError:
        return DivergenceError(
            f"training diverged at step {self._counters.step:,}: loss {nats:.4g}, gradient norm {norm:.4g}, "
            f"learning rate {self._learner.learning_rate:.4g}",
            f"{self._run.last} holds the last good state; start over with a smaller --lr or --clip, "
            "or let --on-divergence rollback try",
        )

    def _roll_back(self, error: DivergenceError) -> RolledBack:
        """Back to the last save at half the learning rate; gives up after a few times."""
        counters = self._counters
        rollbacks = counters.rollbacks + 1
        if self._plan.run.on_divergence == "stop" or rollbacks > _MOST_ROLLBACKS:
            raise error
        scale, diverged_at, seconds = counters.learning_rate_scale / 2, counters.step, counters.seconds
        self._restore(checkpoints.load(self._run.last, with_state=True))
        self._counters.learning_rate_scale, self._counters.rollbacks = scale, rollbacks
        self._counters.seconds = seconds  # the time is spent all the same
        return RolledBack(diverged_at, self._counters.step, scale)
