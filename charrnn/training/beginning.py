"""How a run begins or goes on: what is decided once its folder, its text and its device are known.

The command line and `charrnn.train` ask here, so that both start, resume and refuse alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import Origin, settings_in, write_config
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.lineage import begun_from
from charrnn.errors import CheckpointError
from charrnn.network.device import describe_machine, differences
from charrnn.network.precision import choose_precision
from charrnn.settings.config import Budget
from charrnn.settings.launch import Launch
from charrnn.settings.settings_file import BEGUN_FROM, values_of
from charrnn.text.corpus import Corpus
from charrnn.text.growth import growth_of
from charrnn.text.lists import list_notice
from charrnn.training.inherited import lasting
from charrnn.training.initial_model import InitialModel
from charrnn.training.learner import Learner
from charrnn.training.parts import parts_of
from charrnn.training.plan import Plan, TrainRequest, other_course, plan_resume, plan_start
from charrnn.training.request import GROUPS, read_last
from charrnn.training.snapshot import environment


def begin(
    request: TrainRequest,
    run: Run,
    corpus: Corpus,
    device: torch.device,
    *,
    fresh: bool,
    processes: int = 1,
    initial: InitialModel | None = None,
) -> tuple[Plan, Checkpoint | None]:
    """Returns what to do in the run's folder, and the checkpoint to go on from, if the run goes on.

    One that begins takes its weights from `initial`, where that is given. Raises UsageError where the folder holds
    another run, or links in the place of files, and CheckpointError where a run cannot be gone on with.
    """
    plan, resume = _begin(request, run, corpus, device, fresh=fresh, processes=processes, initial=initial)
    return replace(plan, notices=(*plan.notices, *_idle(plan, corpus))), resume


def _begin(
    request: TrainRequest,
    run: Run,
    corpus: Corpus,
    device: torch.device,
    *,
    fresh: bool,
    processes: int,
    initial: InitialModel | None,
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
    plan = plan_start(request, len(corpus) - corpus.separate_validation, machine, initial, files=corpus.num_files)
    before = () if initial is None else initial.notices(corpus)
    found = list_notice(corpus)
    plan = replace(plan, notices=(*before, *plan.notices, *(() if found is None else (found,))))
    return plan, None


def _idle(plan: Plan, corpus: Corpus) -> Iterator[str]:
    """Says so where --patience waits for validations that never come."""
    if plan.run.patience is not None and not len(parts_of(plan, corpus).validation):
        yield (
            f"nothing is held out to validate on, so --patience {plan.run.patience:,} does nothing: "
            "--validation-fraction holds a share out"
        )


def resumed(resume: Checkpoint, plan: Plan, learner: Learner, *, step: int, is_whole: bool) -> str:
    """Says how a run goes on at a step, and whether exactly; its metrics and samples may be whole or not."""
    changes = differences(resume.environment, environment(plan, learner))
    other = other_course(Budget.from_dict(resume.training["budget"]), plan) if step else None
    place = f"at step {step:,}"
    if changes:
        return f"approximate resume: {', '.join(changes)} {place}" + (f"; {other}" if other else "")
    if not is_whole:
        return f"exact resume of the training alone {place}" + (f"; {other}" if other else "")
    return f"exact resume {place}: {other or 'the run goes on from there'}"


def record(run: Run, plan: Plan, origin: Origin, launch: Launch) -> None:
    """Writes into the run's folder with which settings and on which text it runs, where that is not said there.

    Raises UsageError where a config.json is there that is not a run's, and that or ResourceError where none can be
    written.
    """
    computing = {"device": launch.device, "threads": launch.threads}
    settings: dict[str, Any] = {name: value for name, value in computing.items() if value is not None}
    if (sha256 := begun_from(plan.lineage)) is not None:
        named = settings_in(run.config).get("init-from") if launch.init_from is None else lasting(launch.init_from)
        settings |= {"init-from": named, BEGUN_FROM: sha256} if named else {BEGUN_FROM: sha256}
    for group in GROUPS:
        if group != "launch":
            settings |= values_of(getattr(plan, group))
    write_config(run.config, origin, settings)
