"""Decides from a run's counters how much of the budget is used, and when to validate and to sample.

These are pure functions of the counters and read no clock. With a budget in steps or epochs they depend on the number
of steps alone, so that a resumed run does the same things at the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charrnn.errors import UsageError
from charrnn.settings.config import Budget, TrainingConfig
from charrnn.settings.run import RunConfig
from charrnn.training.lanes import Reading
from charrnn.training.schedule import averaging_begins

_VALIDATIONS = 20
_FIRST_SHARE = 0.01
# Of the samples between rare validations.
_FIRST_SAMPLED, _LONGEST_SAMPLED = 0.02, 0.1
# What a trained character costs in scored ones, until a validation has shown it (beside bf16 less: scoring is in fp32).
_TRAINING_OVER_SCORING = 3
# Between two validations, under any budget, so many characters are trained on for each one scored.
_TRAINED_PER_VALIDATED = 6
# Where clocks may decide, in budgets of minutes, also so many seconds for each one that the last validation took: they
# get a thirteenth of the time at most.
_SECONDS_PER_SECOND = 12
_ROUNDED = 1e-6  # of a step
_SHORTEST_BUDGET = 1e-9
"""Seconds that a budget in minutes has at least."""


@dataclass(slots=True)
class Counters:
    """The state of a run apart from its arrays. All of it is in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    validated_step: int = 0
    validated_seconds: float = 0.0
    """The time at which the last validation ended, in seconds of the run."""
    validation_cost: float = 0.0
    """Seconds that the last validation took, with its saves."""
    sampled_step: int = 0
    sampled_seconds: float = 0.0
    first_nats: float | None = None
    """The loss of the first step."""
    best_nats: float | None = None
    best_step: int = 0
    without_gain: int = 0
    """Validations in a row that brought no new best."""
    learning_rate_scale: float = 1.0
    rollbacks: int = 0
    skipped: int = 0
    """Steps whose gradient overflowed the range of fp16, up to the last line of metrics."""
    history: list[list[float | None]] = field(default_factory=list)
    """One list for each validation: step, training nats, validation nats."""
    position: int = 0
    """Characters that each lane has read."""
    kept_step: int = 0
    """The last step whose weights --keep-every has kept."""
    averaging_since: int | None = None
    """The step after which the plain mean of the weights began."""

    def advance(self, length: int) -> None:
        """Counts a step over `length` characters of each lane."""
        self.position += length
        self.step += 1

    def take(self, train_nats: float | None, nats: float | None) -> bool:
        """Records a validation and returns whether it is the best so far; without held-out text the latest is."""
        self.history.append([self.step, train_nats, nats])
        is_best = nats is None or self.best_nats is None or nats < self.best_nats
        self.without_gain = 0 if is_best else self.without_gain + 1
        if is_best:
            self.best_nats, self.best_step = nats, self.step
        self.validated_step = self.step
        return is_best

    def trigger(self, training: TrainingConfig, fraction: float) -> None:
        """Lets averaging begin where that is due after a step or a validation; `fraction` is the share of the budget
        used. No validation counts against the run's patience before a mean begins that is sure to come."""
        if self.averaging_since is not None:
            return
        if training.average_from is not None and training.average_after is None:
            self.without_gain = 0
        if averaging_begins(training, self.without_gain, fraction):
            self.averaging_since = self.step

    def reconsider(self, training: TrainingConfig, fraction: float) -> None:
        """Lets a mean begin anew that began too early now that the budget is another one, of which `fraction` is used:
        at its time, where that is yet to come, and here, where here is nearer to that time than where it began."""
        wanted = training.average_from
        if self.averaging_since is None or wanted is None or training.average_after is not None or fraction >= 1.0:
            return
        if fraction - wanted < wanted - fraction * self.averaging_since / self.step:
            self.averaging_since, self.without_gain = None if fraction < wanted else self.step, 0

    def mean_is_due(self, training: TrainingConfig, fraction: float) -> bool:
        """Whether the plain mean of the weights began, or will begin, at its share of the budget, of which `fraction`
        is used now: as in a run that had this budget from its first step."""
        wanted, since = training.average_from, self.averaging_since
        if wanted is None or training.average_after is not None:
            return False
        if since is None:
            return fraction < wanted
        step = fraction / self.step
        return (since == 1 or step * (since - 1) < wanted) and wanted <= step * (since + _ROUNDED)

    def to_dict(self) -> dict[str, Any]:
        """Returns the counters by name, ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def check_trigger(training: TrainingConfig, run: RunConfig, held_out: int) -> None:
    """Raises UsageError where averaging waits for an event that cannot happen in this run."""
    if training.average_after is None:
        return
    if not held_out:
        raise UsageError(
            "--average-after waits for validations without a new best, but nothing is held out to validate on",
            "give --average-from, or a --validation-fraction above 0",
        )
    if run.patience is not None and run.patience <= training.average_after:
        raise UsageError(
            f"--patience {run.patience} ends the run before --average-after {training.average_after} begins to average",
            "make --patience larger, or leave it out",
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """Decides what is due in a run, by its budget."""

    budget: Budget
    run: RunConfig
    ring: Reading
    validation_characters: int

    @property
    def total_steps(self) -> int | None:
        """Returns the steps in the budget (roughly, where windows differ in length); None where it is in minutes."""
        if self.budget.steps is not None:
            return self.budget.steps
        return None if self.budget.epochs is None else self.ring.steps(self.budget.epochs)

    def fraction(self, counters: Counters) -> float:
        """Returns the share of the budget used. A budget in minutes leaves room for the last validation and save."""
        if self.budget.steps is not None:
            return min(1.0, counters.step / self.budget.steps)
        if self.total_steps is not None:  # an epoch is over when its characters have been read
            return min(1.0, counters.position / (self.total_steps * self.ring.window))
        assert self.budget.minutes is not None
        seconds = self.budget.minutes * 60
        # Half of the smallest number above 0 is 0, and no clock is so fine.
        left = max(seconds - self._validation_cost(counters), 0.5 * seconds, _SHORTEST_BUDGET)
        return min(1.0, counters.seconds / left)

    def _validation_cost(self, counters: Counters) -> float:
        """Estimates the seconds of the next validation from the last one, or from the training speed before any."""
        if counters.validation_cost or not counters.step:
            return counters.validation_cost
        seconds_per_character = counters.seconds / (counters.position * self.ring.lanes)
        return self.validation_characters * seconds_per_character / _TRAINING_OVER_SCORING

    def is_over(self, counters: Counters) -> bool:
        """Whether the budget or the patience is used up."""
        return self.fraction(counters) >= 1.0 or self.is_out_of_patience(counters)

    def is_out_of_patience(self, counters: Counters) -> bool:
        """Whether too many validations in a row brought no gain."""
        return self.run.patience is not None and counters.without_gain >= self.run.patience

    def validation_is_due(self, counters: Counters) -> bool:
        """Whether to validate: at the end, and as `validate_every` says, else at 1, 2, 4 % and then every 5 %."""
        since = counters.step - counters.validated_step
        if since == 0:
            return False
        if self.is_over(counters):
            return True
        if self.run.validate_every is not None:
            return counters.step % self.run.validate_every == 0
        if since * self.ring.characters_per_step < _TRAINED_PER_VALIDATED * self.validation_characters:
            return False
        if (
            self.total_steps is None
            and counters.seconds - counters.validated_seconds < _SECONDS_PER_SECOND * counters.validation_cost
        ):
            return False
        if self.fraction(counters) > 1.0 - 0.5 / _VALIDATIONS:  # the last one follows at once
            return False
        return self._interval_is_over(counters, counters.validated_step, counters.validated_seconds)

    def sample_is_due(self, counters: Counters) -> bool:
        """Whether to sample: as `sample_every` says, else with each validation, and between rare validations.

        Between them, samples are due at 2, 4, 8 and 16 % of the budget and then every 10 %.
        """
        if counters.step == counters.sampled_step:
            return False
        if self.run.sample_every is not None:
            return self.run.sample_every > 0 and counters.step % self.run.sample_every == 0
        if counters.validated_step == counters.step:
            return True
        if self.fraction(counters) > 1.0 - _LONGEST_SAMPLED:  # one comes with the last validation
            return False
        return self._interval_is_over(
            counters, counters.sampled_step, counters.sampled_seconds, shares=(_FIRST_SAMPLED, _LONGEST_SAMPLED)
        )

    def keep_is_due(self, counters: Counters) -> bool:
        """Whether the weights of this step are to be kept, and are not yet."""
        every, step = self.run.keep_every, counters.step
        return every is not None and step % every == 0 and step > counters.kept_step

    def _interval_is_over(
        self,
        counters: Counters,
        step: int,
        seconds: float,
        shares: tuple[float, float] = (_FIRST_SHARE, 1 / _VALIDATIONS),
    ) -> bool:
        """Whether an event that last happened at `step`, after `seconds`, is due again."""
        if self.total_steps is not None:
            return counters.step - step >= _interval(step, self.total_steps, *shares)
        assert self.budget.minutes is not None
        return counters.seconds - seconds >= _interval(seconds, self.budget.minutes * 60, *shares)


def _interval(last: float, total: float, shortest: float, longest: float) -> float:
    """Returns the distance to the next event: that of the last one from the start, within two shares of the total."""
    return min(total * longest, max(total * shortest, last))
