"""Decides what `train` does, given the user's request and the contents of the run's directory.

It starts, resumes, goes on with a larger budget, or refuses and shows the difference; decisions are pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any, Self

from charrnn.cells import registry
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.lineage import FROM, TAUGHT, held_out_of
from charrnn.checkpoints.runs import is_finished
from charrnn.errors import CheckpointError, UsageError
from charrnn.network.speed import REFERENCE, Machine
from charrnn.settings.choices import SEARCHING
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.conflicts import check_together
from charrnn.settings.fields import Record, settings_of
from charrnn.settings.presets import PRESETS, PresetName
from charrnn.settings.run import RunConfig
from charrnn.text.growth import Growth
from charrnn.text.held_out import HeldOut
from charrnn.training.changes import GROUPS, Difference, check_changes, differences, lineage_with, record_of, told
from charrnn.training.course import check_members, check_other_members
from charrnn.training.initial_model import InitialModel
from charrnn.training.recipe import (
    choose,
    choose_data,
    completed,
    completed_training,
    fit_to_corpus,
    for_fine_tuning,
    for_student,
    machine_for,
    with_falling_rate,
)
from charrnn.training.teacher_model import NamedTeacher, TeacherModel
from charrnn.wording import count


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """The settings that the user gave, by field name; settings left open are absent."""

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    notices: tuple[str, ...] = ()
    """Messages about the request that the user sees when a run begins."""
    change: bool = False
    """Whether a run that goes on is to take over the settings that are given otherwise."""

    def check(self, *, has_initial: bool = False) -> None:
        """Raises UsageError for settings that are wrong by themselves or do not go together, on any text.

        Where the run begins from another model, which `has_initial` says, its settings are not known yet.
        """
        DataConfig(**self.data)
        if has_initial:
            TrainingConfig(**completed_training(self.training))
            return
        model, training = ModelConfig(**completed(self.model)), TrainingConfig(**completed_training(self.training))
        registry.check(model, training)
        check_together(model, training, parts=RunConfig(**self.run).accumulate)


def with_preset(request: TrainRequest, name: PresetName) -> TrainRequest:
    """Returns `request` with the preset's settings added where the request gives none."""
    preset = PRESETS[name]
    merged = replace(
        request,
        model={**preset.model, **request.model},
        training={**preset.training, **request.training},
        data={**preset.data_beside(request.data), **request.data},
        budget=request.budget or preset.budget,
    )
    assert merged.budget is not None
    settings = [*starmap(ModelConfig.spelled, merged.model.items())]
    settings += starmap(TrainingConfig.spelled, merged.training.items())
    settings += [DataConfig.spelled(name, merged.data[name]) for name in preset.data_beside(request.data)]
    settings.append(Budget.spelled(merged.budget.unit, merged.budget.amount))
    return replace(
        merged,
        notices=(
            f"preset {name} ({preset.source}) stands for {' '.join(settings)}",
            *([f"preset {name} departs from the paper: {preset.departs}"] if preset.departs else []),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All settings of a run, decided."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    run: RunConfig
    budget: Budget
    requested: dict[str, dict[str, Any]]
    """The settings that the user gave when the run began; a request to resume is compared with them."""
    notices: tuple[str, ...] = ()
    lineage: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from, as the run's checkpoints keep it."""
    change: dict[str, Any] = field(default_factory=dict)
    """What changes with this start of a run that goes on; empty where nothing does."""
    initial: InitialModel | None = field(default=None, repr=False, compare=False)
    """The model that a run which begins takes its weights from."""
    teacher: TeacherModel | None = field(default=None, repr=False, compare=False)
    """The models that it learns from."""
    held_out: HeldOut | None = None
    """Which places of its text a run that goes on holds out."""

    def __post_init__(self) -> None:
        registry.check(self.model, self.training)
        check_together(self.model, self.training, parts=self.run.accumulate)

    def to_dict(self) -> dict[str, Any]:
        """Returns the part of the plan that a checkpoint stores as training settings (model and data are separate)."""
        return {
            "training": self.training.to_dict(),
            "run": self.run.to_dict(),
            "budget": self.budget.to_dict(),
            "requested": self.requested,
            **({} if self.teacher is None else self.teacher.record()),
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Returns the plan of the run that `checkpoint` (with its state) belongs to."""
        kept = checkpoint.training
        return cls(
            model=checkpoint.model,
            data=checkpoint.data,
            training=TrainingConfig.from_dict(kept["training"]),
            run=RunConfig.from_dict(kept["run"]),
            budget=Budget.from_dict(kept["budget"]),
            requested=kept["requested"],
            lineage=checkpoint.lineage,
            teacher=TeacherModel.kept_in(checkpoint),
            held_out=held_out_of(checkpoint),
        )


class OtherSettings(UsageError):
    """A run that is there was made with other settings, or of another text, than are asked for."""

    def __init__(
        self,
        differences: list[str],
        before: Plan,
        *,
        is_other_text: bool,
        reads_otherwise: bool,
        has_grown: bool = False,
        can_change: bool = False,
        is_used_up: bool = False,
    ) -> None:
        """`can_change` says that --change would let the run go on so; `is_used_up` says so of its budget."""
        made = "" if has_grown else "the run in this folder was made with other settings: "
        super().__init__(
            made + "; ".join(differences),
            "with --change it goes on so from where it is" if can_change else None,
            "repeat them to go on, choose another --out, or start over with --fresh",
        )
        self.has_grown, self.can_change, self.is_used_up = has_grown, can_change, is_used_up
        self.before = before
        """The plan of the run that is there."""
        self.is_other_text = is_other_text
        self.reads_otherwise = reads_otherwise
        """Whether settings differ that decide what is read from a text."""


def plan_start(
    request: TrainRequest,
    characters: int,
    machine: Machine = REFERENCE,
    initial: InitialModel | None = None,
    teacher: NamedTeacher | None = None,
    *,
    files: int = 1,
) -> Plan:
    """Returns the plan of a new run on `machine`; `characters` count the corpus without separate held-out text, and
    `files` its files.

    It begins with the weights and with the settings of `initial`, where there is one, and learns from `teacher`. Raises
    UsageError where what is asked for does not go with these.
    """
    model = request.model if initial is None else initial.settings(request.model)
    machine = machine_for(request.training.get("optimizer"), machine)
    data = choose_data(request.data, characters, files)
    characters = int(characters * (1.0 - data.validation_fraction - data.test_fraction))
    is_searched = request.training.get("optimizer") in SEARCHING
    if is_searched and teacher is not None:
        raise UsageError(
            "--distill-from does not go with --optimizer hessian-free: the loss that it searches along is that of the "
            "true characters", "choose another --optimizer",
        )  # fmt: skip
    is_single = initial is not None or teacher is not None or is_searched
    members = request.training.get("ensemble", 1 if is_single else None)
    distill = request.training.get("distill")
    recipe = choose(characters, request.budget, machine, model, members=members, distill=distill)
    if initial is not None:
        recipe = with_falling_rate(recipe)
    training = replace(recipe.training, **completed_training(request.training))
    check_members(training, recipe.budget, has_initial=initial is not None)
    fitted = fit_to_corpus(training, characters)
    notices = []
    is_chosen = "dropout" not in request.model and bool(recipe.model.dropout)
    if teacher is not None and is_chosen and training.distill_weight:
        recipe = for_student(recipe)
        notices.append(
            f"dropout is {recipe.model.dropout:g}, where none is given: learning from a teacher keeps a model from "
            "learning the text by heart"
        )
    elif initial is not None and is_chosen:
        recipe = for_fine_tuning(recipe)
        notices.append(
            f"dropout is {recipe.model.dropout:g}, where none is given: half of what a new model gets, since these "
            "weights have learned already; the learning rate is that of a new one"
        )
    if fitted != training:
        notices.append(
            f"the training part has only {count(characters, 'character')}, so a step reads "
            f"{count(fitted.batch_size, 'lane')} of {count(fitted.bptt, 'character')} "
            f"instead of {training.batch_size} of {training.bptt}"
        )
    return Plan(
        model=recipe.model,
        data=data,
        training=fitted,
        run=RunConfig(**request.run),
        budget=recipe.budget,
        requested={group: dict(getattr(request, group)) for group in GROUPS},
        notices=(*request.notices, *notices),
        lineage=({} if initial is None else {FROM: initial.record})
        | ({} if teacher is None else {TAUGHT: teacher.lineage()}),
        initial=initial,
        teacher=None if teacher is None else teacher.model,
    )


def plan_resume(
    request: TrainRequest, checkpoint: Checkpoint, corpus_sha256: str, growth: Growth | None = None
) -> Plan:
    """Returns the plan to resume from `checkpoint`: its own settings, with the request's budget and reporting.

    With the request's `change` also the other settings that are given, and a text that has grown. Raises UsageError
    where else the request differs in anything that decides what is learned, or in the corpus.
    """
    before = plan_of(checkpoint)
    found, name = _differences(request, before), checkpoint.corpus["name"]
    then, is_other_text = checkpoint.corpus["sha256"], corpus_sha256 != checkpoint.corpus["sha256"]
    given = [each for each in found if each.is_given]
    if request.change:
        check_changes(given)
    members = request.training.get("ensemble", before.training.ensemble)
    check_other_members(
        (before.training.ensemble, before.budget), (members, request.budget or before.budget), checkpoint.training,
        checkpoint.progress, grows=growth is not None, has_student=bool(before.training.distill),
    )  # fmt: skip
    goes_on = not is_other_text or (request.change and growth is not None)
    if not goes_on or (found and not request.change):
        said = list(map(str, found))
        if growth is not None:
            said.insert(0, f"the text of {name} has grown by {count(growth.by, 'character')} at its end")
        elif is_other_text:
            said.insert(0, f"corpus: {name} {then[:12]} -> {corpus_sha256[:12]}")
        raise OtherSettings(
            said,
            before,
            is_other_text=is_other_text,
            reads_otherwise=any(each.group == "data" for each in found),
            has_grown=growth is not None,
            is_used_up=is_finished(checkpoint.progress, checkpoint.training),
            can_change=(growth is not None or not is_other_text)
            and not any(each.is_given and each.declared.fixed for each in found),
        )
    return _resumed(request, before, given, growth, (then, corpus_sha256), checkpoint.progress["step"])


def _resumed(
    request: TrainRequest,
    before: Plan,
    given: Sequence[Difference],
    growth: Growth | None,
    sha256: tuple[str, str],
    step: int,
) -> Plan:
    """Returns the plan of a run that goes on with the settings that are `given` otherwise, on a text that may have
    grown."""
    budget = request.budget or before.budget
    taken = {group: _that_may_change(getattr(before, group), getattr(request, group)) for group in GROUPS}
    for each in given:
        taken[each.group][each.name] = each.now
    change = record_of(given, (before.budget, budget), growth, sha256, step) if request.change else {}
    return replace(
        before,
        budget=budget,
        requested={group: {**before.requested.get(group, {}), **taken[group]} for group in GROUPS},
        notices=tuple(told(given, growth, step)),
        lineage=lineage_with(before.lineage, change) if change else before.lineage,
        change=change,
        **{group: replace(getattr(before, group), **taken[group]) for group in GROUPS},
    )


def plan_of(checkpoint: Checkpoint) -> Plan:
    """Returns the plan of the run that `checkpoint` (with its state) belongs to. Raises CheckpointError without one."""
    try:
        return Plan.from_checkpoint(checkpoint)
    except (KeyError, TypeError, UsageError) as error:
        reason = error.message if isinstance(error, UsageError) else error
        raise CheckpointError(
            f"the run's last checkpoint lacks its settings ({reason})", "start over with --fresh"
        ) from error


def _that_may_change(resolved: Record, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those requested settings that may change whenever a run is resumed."""
    declared = settings_of(type(resolved))
    return {name: value for name, value in asked.items() if declared[name].may_change}


def _differences(request: TrainRequest, before: Plan) -> list[Difference]:
    resolved: dict[str, Record] = {group: getattr(before, group) for group in GROUPS}
    return differences({group: getattr(request, group) for group in GROUPS}, before.requested, resolved)
