"""What `train` is to do, given what was asked and what lies in the run's directory.

Start, resume, go on with a larger budget, or say that the run is finished; or refuse, showing the difference. Pure
decisions over plain values. Knows settings. Refuses to know torch and files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import CheckpointError, UsageError
from charrnn.network.speed import REFERENCE, Machine
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.conflicts import check_together
from charrnn.settings.presets import PRESETS, PresetName
from charrnn.settings.run import RunConfig
from charrnn.settings.variants import OPTIONS, spelled
from charrnn.training.recipe import choose, completed_training, default_budget, fit_to_corpus, validation_share

_GROUPS = ("model", "data", "training")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """What the user asked for: only what was said, by field name."""

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    notices: tuple[str, ...] = ()
    """What there is to say about it when a run begins."""


def with_preset(request: RunRequest, name: PresetName) -> RunRequest:
    """What the preset asks for, where `request` does not say otherwise."""
    preset = PRESETS[name]
    merged = replace(
        request,
        model={**preset.model, **request.model},
        training={**preset.training, **request.training},
        budget=request.budget or preset.budget,
    )
    assert merged.budget is not None
    settings = [spelled(field, value) for group in (merged.model, merged.training) for field, value in group.items()]
    budget = f"--{merged.budget.unit} {merged.budget.amount:g}"
    return replace(
        merged,
        notices=(
            f"preset {name}, {preset.source}: {' '.join([*settings, budget])}",
            *([f"preset {name} departs from the paper: {preset.departs}"] if preset.departs else []),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """Everything decided."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    run: RunConfig
    budget: Budget
    requested: dict[str, dict[str, Any]]
    """What had been asked for when the run began; a resumed run is compared with it."""
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_together(self.model, self.training, parts=self.run.accumulate)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it (the model's and data's configuration stand there by themselves)."""
        return {
            "training": self.training.to_dict(),
            "run": self.run.to_dict(),
            "budget": self.budget.to_dict(),
            "requested": self.requested,
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """The plan of the run that `checkpoint` (with its state) belongs to."""
        kept = checkpoint.training
        return cls(
            model=checkpoint.model,
            data=checkpoint.data,
            training=TrainingConfig.from_dict(kept["training"]),
            run=RunConfig.from_dict(kept["run"]),
            budget=Budget.from_dict(kept["budget"]),
            requested=kept["requested"],
        )


def plan_start(request: RunRequest, characters: int, machine: Machine = REFERENCE) -> RunPlan:
    """The plan of a new run on `machine`; `characters` are those of the corpus but for held-out text of its own."""
    data = DataConfig(**{"validation_fraction": validation_share(characters), **request.data})
    characters = int(characters * (1.0 - data.validation_fraction - data.test_fraction))
    budget = request.budget or default_budget(characters, machine, request.model)
    recipe = choose(characters, budget, machine, request.model)
    training = replace(recipe.training, **completed_training(request.training))
    fitted = fit_to_corpus(training, characters)
    notices = []
    if fitted != training:
        notices.append(
            f"the training part has only {characters:,} characters: {fitted.batch_size} lanes instead of "
            f"{training.batch_size}, windows of {fitted.bptt} instead of {training.bptt}"
        )
    return RunPlan(
        model=recipe.model,
        data=data,
        training=fitted,
        run=RunConfig(**request.run),
        budget=budget,
        requested={group: dict(getattr(request, group)) for group in _GROUPS},
        notices=(*request.notices, *notices),
    )


def plan_resume(request: RunRequest, checkpoint: Checkpoint, corpus_sha256: str) -> RunPlan:
    """The plan of going on from `checkpoint`: its own settings, with the request's budget and reporting.

    Raises UsageError where the request differs in anything that decides what is learned, or in the corpus.
    """
    try:
        before = RunPlan.from_checkpoint(checkpoint)
    except (KeyError, TypeError, UsageError) as error:
        raise CheckpointError(
            f"the run's last checkpoint lacks its settings ({error})", "start over with --fresh"
        ) from error
    differences = _differences(request, before)
    if corpus_sha256 != checkpoint.corpus["sha256"]:
        differences.insert(
            0,
            f"corpus: {checkpoint.corpus['name']} {checkpoint.corpus['sha256'][:12]} -> {corpus_sha256[:12]}",
        )
    if differences:
        raise UsageError(
            "the run in this folder was made with other settings: " + "; ".join(differences),
            "repeat them to go on, choose another --out, or start over with --fresh",
        )
    return replace(
        before,
        budget=request.budget or before.budget,
        run=replace(before.run, **request.run),
    )


def _differences(request: RunRequest, before: RunPlan) -> list[str]:
    """Settings that are not what they were, as `--hidden 64 -> 128`.

    What was left open then and now is the same, and so is what is spelled out now as it was chosen then.
    """
    found = []
    for group in _GROUPS:
        asked, then = getattr(request, group), before.requested.get(group, {})
        resolved = getattr(before, group)
        for name in dict.fromkeys([*then, *asked]):
            same_as_chosen = name in asked and asked[name] == getattr(resolved, name)
            if asked.get(name) != then.get(name) and not same_as_chosen:
                shown = asked.get(name, "left open")
                found.append(f"{OPTIONS[name]} {then.get(name, getattr(resolved, name))} -> {shown}")
    return found
