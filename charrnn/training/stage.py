"""One model in training: its learner, the text it reads, its budget, and how far it has come.

A run of one model has one stage; a run of several has one for each, one after the other. A stage knows nothing of those
before it: its counters begin at zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.settings.config import Budget
from charrnn.text.corpus import Parts
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.distributed import World
from charrnn.training.divergence import bound
from charrnn.training.feed import make_feed
from charrnn.training.fitting import first_learner
from charrnn.training.lanes import Reading
from charrnn.training.learner import NotFinite
from charrnn.training.pace import Counters, Pace
from charrnn.training.plan import Plan
from charrnn.training.schedule import averaging_share, learning_rate, window_length
from charrnn.training.tally import Recent, StepSums, load_tallies, tally_arrays


class Stage:
    """A model that is trained with a budget of its own; `plan` holds its seed."""

    def __init__(
        self,
        plan: Plan,
        budget: Budget,
        vocabulary: Vocabulary,
        parts: Parts,
        ring: Reading,
        device: torch.device,
        world: World,
    ) -> None:
        self.plan, self.ring, self._world, self._vocabulary = plan, ring, world, vocabulary
        self.counters = Counters()
        self.pace = Pace(budget, plan.run, ring, len(parts.validation))
        self.learner = first_learner(plan, vocabulary, parts, device, world)
        feed = make_feed(ring, world.lanes(plan.training.batch_size), device)
        self.tally, self.since_validation = self._tallies = StepSums(device), StepSums(device)
        self.recent = Recent(self.since_validation)
        self.learner.connect(feed, self._tallies)

    @property
    def bound(self) -> float:
        """Returns the nats per character above which it has diverged."""
        return bound(len(self._vocabulary), self.counters.first_nats)

    @property
    def fraction(self) -> float:
        """Returns the share of its budget that is used."""
        return self.pace.fraction(self.counters)

    @property
    def averages_otherwise(self) -> bool:
        """Whether the weights are averaged over other steps than in a run that had this budget from its first step."""
        training = self.plan.training
        if self.counters.mean_is_due(training, self.fraction):
            return False
        return bool(training.average) or training.average_after is not None or training.average_from is not None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, since the budget was used up or patience ended earlier."""
        counters, pace = self.counters, self.pace
        # A run that was killed between its last validation and its end may lack the last sample.
        return pace.is_over(counters) and not (pace.validation_is_due(counters) or pace.sample_is_due(counters))

    def make_step(self) -> None:
        """Makes one update of the weights. Raises NotFinite where loss or gradient is not a number."""
        counters, training = self.counters, self.plan.training
        rate = counters.learning_rate_scale * learning_rate(training, counters.step, self.fraction)
        length = window_length(training, counters.step)
        self.learner.step_at(counters.position, rate, length)
        counters.advance(length)
        if counters.step == 1 and math.isfinite(nats := self.tally.means(self._world)["nats"]):
            counters.first_nats = nats

    def average(self) -> None:
        """Moves the averaged weights after a step, once the clock has been read."""
        counters, training, fraction = self.counters, self.plan.training, self.fraction
        counters.trigger(training, fraction)
        self.learner.average(averaging_share(training, counters.step, fraction, counters.averaging_since))

    def means(self) -> dict[str, float]:
        """Returns the means since the last line of metrics. Raises NotFinite where a step since was bad."""
        means = self.tally.means(self._world)
        if not (means["nats"] <= self.bound and math.isfinite(means["gradient_norm"])):
            raise NotFinite(means["nats"], means["gradient_norm"])
        return means

    def train_nats(self) -> float | None:
        """Returns the mean loss since the last validation; None where no step was made. Raises NotFinite where it is
        too large."""
        if not self.since_validation.steps:
            return None
        nats = self.since_validation.means(self._world)["nats"]
        if not nats <= self.bound:
            raise NotFinite(nats, math.nan)
        return nats

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns all arrays beyond the weights that the next step depends on; every process must call this."""
        return {**self.learner.state(), **tally_arrays(self._tallies, self._world)}

    def restore(self, checkpoint: Checkpoint, before: Budget) -> list[str]:
        """Loads a `last` checkpoint, so that the next step is the one that would have been made; returns a sentence for
        each thing that begins anew on another kind of device. `before` is the budget that it had till then. Raises
        KeyError, TypeError, ValueError or RuntimeError where something does not fit."""
        anew = self.learner.load(checkpoint.parameters, checkpoint.state)
        load_tallies(self._tallies, checkpoint.state, self._world)
        counters: Mapping[str, Any] = checkpoint.training["counters"]
        self.counters = Counters(**counters)
        training = self.plan.training
        if (before, checkpoint.training["training"]["average_from"]) != (self.pace.budget, training.average_from):
            self.counters.reconsider(training, self.fraction)
        return anew
