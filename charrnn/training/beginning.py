"""How a run begins or goes on: what is decided once its folder, its text and its device are known.

The command line and `charrnn.train` ask here, so that both start, resume and refuse alike.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import Origin, settings_in, write_config
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.lineage import begun_from, held_out_of, taught_by
from charrnn.errors import CheckpointError
from charrnn.network.device import describe_machine, differences
from charrnn.network.precision import choose_precision
from charrnn.settings.config import Budget, DataConfig
from charrnn.settings.launch import Launch
from charrnn.settings.settings_file import BEGUN_FROM, TAUGHT_BY, typed, values_of
from charrnn.text.corpus import Corpus
from charrnn.text.growth import growth_of
from charrnn.text.lists import list_notice
from charrnn.training.inherited import Inherited, lasting
from charrnn.training.parts import parts_of
from charrnn.training.plan import Plan, TrainRequest, plan_resume, plan_start
from charrnn.training.request import GROUPS, read_last
from charrnn.training.snapshot import environment
from charrnn.training.succession import Succession
from charrnn.wording import count, figure

_CUT = ("held_out", "split_seed", "validation_fraction", "test_fraction")
"""The settings of what is held out of a text."""


def begin(
    request: TrainRequest,
    run: Run,
    corpus: Corpus,
    device: torch.device,
    *,
    fresh: bool,
    processes: int = 1,
    known: Inherited = Inherited(),  # noqa: B008 - it is frozen
) -> tuple[Plan, Checkpoint | None]:
    """Returns what to do in the run's folder, and the checkpoint to go on from, if the run goes on.

    One that begins takes its weights from a model, and learns from others, as `known` says. Raises UsageError where the
    folder holds another run, or links in the place of files, CheckpointError where a run cannot be gone on with, and
    TextError where a teacher does not know the text's characters.
    """
    plan, resume = _begin(request, run, corpus, device, fresh=fresh, processes=processes, known=known)
    if plan.teacher is not None:
        plan.teacher.check_characters(corpus.vocabulary)
    seen = () if resume is not None else _seen(plan, corpus, known)
    return replace(plan, notices=(*plan.notices, *seen, *_idle(plan, corpus))), resume


def _begin(
    request: TrainRequest,
    run: Run,
    corpus: Corpus,
    device: torch.device,
    *,
    fresh: bool,
    processes: int,
    known: Inherited,
) -> tuple[Plan, Checkpoint | None]:
    if not fresh:
        run.check_files()
    if not fresh and run.has(run.last):
        resume = read_last(run)
        growth = None
        if corpus.sha256 != resume.corpus["sha256"]:
            growth = growth_of(corpus, resume.corpus["characters"], resume.corpus["sha256"])
        return plan_resume(request, resume, corpus.sha256, growth), resume
    if not fresh and run.has(run.best):
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "start over with --fresh, or choose another --out",
        )
    precision = choose_precision(request.training.get("precision", "auto"), device)
    machine = describe_machine(device, precision, processes=processes)
    initial, teacher = known.initial, known.teacher
    plan = plan_start(
        request, len(corpus) - corpus.separate_validation, machine, initial, teacher, files=corpus.num_files
    )
    before = [] if initial is None else initial.notices(corpus)
    if teacher is not None:
        before += teacher.notices(plan.training.distill_weight)
    found = list_notice(corpus)
    plan = replace(plan, notices=(*before, *plan.notices, *(() if found is None else (found,))))
    return plan, None


def _seen(plan: Plan, corpus: Corpus, known: Inherited) -> Iterator[str]:
    """Says so where a model that the run begins or learns from has learned, of the same text, what is held out now."""
    now = parts_of(plan, corpus).held_out
    for option, named in (("--init-from", known.initial), ("--distill-from", known.teacher)):
        if named is None or now is None or named.checkpoint.corpus["sha256"] != corpus.sha256:
            continue
        then = held_out_of(named.checkpoint)
        if then is not None and (number := now.outside(then, len(corpus) - corpus.separate_validation)):
            data = named.checkpoint.data.to_dict()
            as_then = typed(DataConfig, {name: data[name] for name in _CUT if data[name] is not None})
            yield (
                f"the model that {option} names has learned {count(number, 'character')} of what is held out here, so "
                f"that validation is too good: {shlex.join(as_then)} holds out what it held out"
            )


def _idle(plan: Plan, corpus: Corpus) -> Iterator[str]:
    """Says so where --patience waits for validations that never come."""
    if plan.run.patience is not None and not len(parts_of(plan, corpus).validation):
        yield (
            f"nothing is held out to validate on, so --patience {plan.run.patience:,} does nothing: "
            "--validation-fraction holds a share out"
        )


def resumed(resume: Checkpoint, plan: Plan, line: Succession, *, is_whole: bool) -> str:
    """Says how a run goes on at a step, and whether exactly; its metrics and samples may be whole or not."""
    changes, step = differences(resume.environment, environment(plan, line.stage.learner)), line.place()["step"]
    other = other_course(resume, plan, line) if step else None
    place = f"at step {step:,}"
    if changes:
        return f"approximate resume: {', '.join(changes)} {place}" + (f"; {other}" if other else "")
    if not is_whole:
        return f"exact resume of the training alone {place}" + (f"; {other}" if other else "")
    return f"exact resume {place}: {other or 'the run goes on from there'}"


def other_course(resume: Checkpoint, plan: Plan, line: Succession) -> str | None:
    """Returns how a run that goes on differs from one that had the plan's budget and members from its beginning.

    What falls over the budget, is averaged over a share of it or has had a share of it follows another course under
    another budget; None where nothing does. A mean whose time is yet to come does not.
    """
    before, members = Budget.from_dict(resume.training["budget"]), resume.training["training"]["ensemble"]
    budget, training = plan.budget, plan.training
    if training.decay != "constant" and training.final_learning_rate != 1.0:
        what = "the learning rate follows another course"
    elif line.course.member > 1:
        what = "the members before this one have had other shares"
    elif line.stage.averages_otherwise:
        what = "the weights are averaged over other steps"
    else:
        what = ""
    if not what or (budget == before and training.ensemble == members) or line.has_equal_shares(resume):
        return None
    if budget == before:
        return f"there are now {line.of} members instead of {members}, so {what} than in one run of {line.of} members"
    was = figure(before.amount, digits=15) if before.unit == budget.unit else str(before)
    return f"the budget is now {budget} instead of {was}, so {what} than in one run of {budget}"


def record(run: Run, plan: Plan, origin: Origin, launch: Launch) -> None:
    """Writes into the run's folder with which settings and on which text it runs, where that is not said there.

    Raises UsageError where a config.json is there that is not a run's, and that or ResourceError where none can be
    written.
    """
    computing = {"device": launch.device, "threads": launch.threads}
    settings: dict[str, Any] = {name: value for name, value in computing.items() if value is not None}
    for option, entry, path, sha256 in (
        ("init-from", BEGUN_FROM, launch.init_from, begun_from(plan.lineage)),
        ("distill-from", TAUGHT_BY, launch.distill_from, taught_by(plan.lineage)),
    ):
        if sha256 is not None:
            named = settings_in(run.config).get(option) if path is None else lasting(path)
            settings |= {option: named, entry: sha256} if named else {entry: sha256}
    for group in GROUPS:
        if group != "launch":
            settings |= values_of(getattr(plan, group))
    write_config(run.config, origin, settings)
