"""Where a run of several members stands: which one is in training, and what those before it have used and reached.

The members of an ensemble are trained one after the other. Each is what a run of one model is, with counters of its
own, its own seed and its own share of the budget: what is left of it when the member begins, divided by the members
that are left. A run of one model has one member, before which nothing was. With --distill a student comes last, in a
share of the budget of its own; it counts as one more member where places are counted, but is none of the average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from charrnn.errors import CheckpointError, UsageError
from charrnn.settings.checks import MOST_MEMBERS
from charrnn.settings.config import Budget, TrainingConfig

COURSE = "course"
"""The entry of the record `training` in a `last` checkpoint that holds a course, where there are several members."""
_SEEDS = 1 << 63
_LEAST = 1e-9
# Of what each member has had, what is left for each that is added.
_LEAST_SHARE = 0.1


@dataclass(slots=True)
class Course:
    """What the members before the one in training have used, and what the run has reached with all of them."""

    member: int = 1
    """The number of the one in training, from 1."""
    step: int = 0
    position: int = 0
    seconds: float = 0.0
    skipped: int = 0
    """Steps, characters of each lane, seconds and skipped steps of the members before."""
    own_nats: list[float | None] = field(default_factory=list)
    """The best validation of each finished member alone; None where nothing is held out."""
    joint_nats: list[float | None] = field(default_factory=list)
    """The validation of the average of the members, after each finished one."""
    best_nats: float | None = None
    best_step: int = 0
    history: list[list[float | None]] = field(default_factory=list)
    """One list for each validation: step, training nats, the better of the member alone and with those before it."""
    distilled_from: int | None = None
    """The steps of all members, once the student has taken their place as the best."""
    student_best: dict[str, Any] | None = None
    """Step, epoch, characters and seconds at the best validation of the student."""
    student_step: int = 0
    """The student's own step at which what it has reached was recorded last."""
    is_over: bool = False
    """Whether no member comes after the one in training, which is finished."""

    def take(self, step: int, train_nats: float | None, nats: float | None) -> bool:
        """Records a validation, and returns whether it is the best so far."""
        self.history.append([step, train_nats, nats])
        is_best = nats is not None and (self.best_nats is None or nats < self.best_nats)
        if is_best:
            self.best_nats, self.best_step = nats, step
        return is_best

    def conclude(self, own: float | None, joint: float | None) -> None:
        """Records what the member in training has reached, alone and with those before it; again where that was."""
        self.own_nats[self.member - 1 :] = [own]
        self.joint_nats[self.member - 1 :] = [joint]

    @property
    def brings_nothing(self) -> bool:
        """Whether the member that was finished last has not made the average better."""
        *before, last = self.joint_nats or [None]
        return bool(before) and before[-1] is not None and last is not None and last >= before[-1]

    def next(self, member: int, *, step: int, position: int, seconds: float, skipped: int) -> Course:
        """Returns the course of the next member, of this number, where the one in training has used so much."""
        return replace(
            self,
            member=member,
            step=self.step + step,
            position=self.position + position,
            seconds=self.seconds + seconds,
            skipped=self.skipped + skipped,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it by name, ready for JSON."""
        return asdict(self)


def course_in(training: Mapping[str, Any]) -> Course:
    """Returns the course in the record `training` of a `last` checkpoint. Raises CheckpointError without one."""
    try:
        course = Course(**training[COURSE])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"the run's last checkpoint does not say where its members stand ({error})", "start over with --fresh"
        ) from error
    if type(course.member) is not int or not 1 <= course.member <= MOST_MEMBERS:
        raise CheckpointError("the run's last checkpoint is of no member", "start over with --fresh")
    return course


def member_seed(training: TrainingConfig, member: int) -> TrainingConfig:
    """Returns the settings of a member: those of the run, with a seed of its own."""
    return replace(training, seed=(training.seed + member - 1) % _SEEDS)


def share_of(
    budget: Budget, course: Course, members: int, distill: float, epoch: Callable[[int], float] = lambda _position: 0.0
) -> Budget:
    """Returns the budget of the member in training, or of the student, to which the share `distill` belongs.

    `epoch` says how often the text was read at a position.
    """
    if members == 1:
        return budget
    is_student = course.member > members
    left, share = (1, 1.0) if is_student else (members - course.member + 1, 1.0 - distill)
    if budget.steps is not None:
        theirs = min(max(members, round(share * budget.steps)), budget.steps - bool(distill))
        return Budget(steps=max(1, ((budget.steps if is_student else theirs) - course.step) // left))
    if budget.epochs is not None:
        return Budget(epochs=max(_LEAST, (share * budget.epochs - epoch(course.position)) / left))
    assert budget.minutes is not None
    return Budget(minutes=max(_LEAST, (share * budget.minutes - course.seconds / 60) / left))


def has_time(budget: Budget, course: Course, members: int, distill: float) -> bool:
    """Whether anything is left of a budget in minutes for the member in training, or for the student; always true of
    other budgets, in which each has a step at least."""
    share = share_of(budget, course, members, distill).minutes
    return share is None or share > _LEAST


def check_members(training: TrainingConfig, budget: Budget, *, has_initial: bool) -> None:
    """Raises UsageError where an ensemble cannot be begun as asked."""
    members = training.ensemble
    if members == 1:
        return
    stages = members + bool(training.distill)
    if has_initial:
        raise UsageError(
            f"--ensemble {members} begins each model from its own seed, and --init-from gives all of them the same",
            "give one of the two settings",
        )
    if budget.steps is not None and budget.steps < stages:
        raise UsageError(
            f"--steps is {budget.steps}, too few for --ensemble {members}{' and a student' * bool(training.distill)}",
            f"give --steps {stages} or more",
        )


def check_other_members(
    before: tuple[int, Budget],
    now: tuple[int, Budget],
    training: Mapping[str, Any],
    progress: Mapping[str, Any],
    *,
    grows: bool,
    has_student: bool,
) -> None:
    """Raises UsageError where a run with so many members and this budget `before` cannot go on as asked `now`.

    `training` and `progress` are the records of its last checkpoint. A run of several members takes more of them, and a
    larger budget. `grows` says that its text does, `has_student` that a student follows.
    """
    (had, budget), (members, larger) = before, now
    if members != had and 1 in (had, members):
        several, one = (had, members) if had > 1 else (members, had)
        raise UsageError(
            f"--ensemble {had} -> {members}: a run of {several} members and a run of {one} model are different runs",
            "choose another --out, or start over with --fresh",
        )
    if had == 1:
        return
    course = course_in(training)
    if course.member > had and (members != had or grows):
        raise UsageError(
            f"the student of the {had} members learns from what they say of the text, and takes neither more members "
            "nor more text",
            "leave that out to go on, choose another --out, or start over with --fresh",
        )
    used = {"steps": progress["step"], "epochs": progress["epoch"], "minutes": progress["seconds"] / 60}[larger.unit]
    if not course.is_over and larger != budget and larger.amount <= used:
        raise UsageError(
            f"{larger} are used up: {used:.4g} were, and not all that the run trains is trained",
            "give more, or use the run as it is, whose best.safetensors is of what is trained",
        )
    if members < course.member <= had:
        raise UsageError(
            f"--ensemble is {members}, and member {course.member} is in training", f"give {course.member} or more"
        )
    is_trained = course.is_over and members == had == len(course.own_nats) == course.member
    if is_trained and (grows or (larger != budget and not has_student)):
        raise UsageError(
            f"all {had} members are trained, and more training would change none of them",
            f"more members go on, such as --ensemble {2 * had} with twice the budget, or start over with --fresh",
        )
    added = max(0, members - had)
    if course.is_over and added and larger.amount - used < _LEAST_SHARE * added * used / had:
        more = budget.amount if larger.unit == budget.unit else used
        raise UsageError(
            f"--ensemble {members} adds members, for which nothing is left of {larger}",
            f"give a larger budget too, such as --{larger.unit} {more * members / had:g}",
        )
    done, is_other = progress["step"], (members, larger) != (had, budget) and course.member <= had
    stages = members - course.member + has_student + (done == course.step)  # which has made no step yet
    if is_other and larger.steps is not None and stages and larger.steps - done < stages:
        raise UsageError(
            f"--steps is {larger.steps}, and {done} are used: too few for the {stages} models that are to come",
            f"give --steps {done + stages} or more",
        )
