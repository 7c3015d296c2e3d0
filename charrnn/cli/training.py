"""What `charrnn train` does once its options are read: find the text, decide in the run's folder, train, show.

Knows the order of things: what can be wrong is found before a folder is made or a run set aside. Loads torch only once
the text has been read and found long enough. Refuses to know options, how a run goes and how it is drawn.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn import checkpoint as checkpoints
from charrnn.cli import texts as text_arguments
from charrnn.cli.signals import StopOnSignal
from charrnn.config import DataConfig, DeviceName
from charrnn.corpus import Corpus
from charrnn.display.progress import TrainingDisplay, WorkDisplay
from charrnn.errors import CheckpointError
from charrnn.events import Finished, Notice
from charrnn.plan import Plan, Request, plan_resume, plan_start
from charrnn.runs import RUNS, Run

if TYPE_CHECKING:
    import torch


def carry_out(
    request: Request,
    arguments: list[str],
    validation: str | None,
    glob: str | None,
    out: Path | None,
    device_name: DeviceName,
    threads: int | None,
    *,
    fresh: bool,
    quiet: bool,
    dry_run: bool,
) -> int | None:
    """Finds the text, decides what to do, does it. Gives the number of the signal that ended the run, if one did."""
    with TrainingDisplay(quiet=quiet) as display:
        work = WorkDisplay(quiet=quiet)
        data = DataConfig(**request.data)
        texts = text_arguments.find(arguments, glob=glob, report=work, config=data)
        held_out = text_arguments.find([validation], glob=glob, report=work, config=data) if validation else None
        work.close()
        for notice in [*texts.notices, *(held_out.notices if held_out else [])]:
            display.show(Notice(notice))
        request = replace(request, data={**texts.customary, **request.data})
        if held_out and "validation_fraction" not in request.data:
            request = replace(request, data={**request.data, "validation_fraction": 0.0})
        run = Run(out or RUNS / texts.name)
        corpus = text_arguments.load(
            texts, DataConfig(**request.data), held_out.sources if held_out else (), quiet=quiet
        )
        corpus.check_size()  # before torch is loaded
        with StopOnSignal(quiet=quiet) as stop:
            return _run(request, run, corpus, display, device_name, threads, stop, fresh=fresh, dry_run=dry_run)


def _run(
    request: Request,
    run: Run,
    corpus: Corpus,
    display: TrainingDisplay,
    device_name: DeviceName,
    threads: int | None,
    stop: StopOnSignal,
    *,
    fresh: bool,
    dry_run: bool,
) -> int | None:
    from charrnn.cli.outlook import describe
    from charrnn.device import choose_device, choose_precision, prepare
    from charrnn.train import Trainer

    device = choose_device(device_name)
    prepare(device, threads)
    choose_precision(request.training.get("precision", "auto"), device)  # before a folder is made
    if dry_run:
        plan, resume = _plan(request, run, corpus, device, fresh=fresh)
        for text in (*plan.notices, *describe(plan, corpus, run, device, resume)):
            display.show(Notice(text))
        return None
    with run.locked():
        plan, resume = _plan(request, run, corpus, device, fresh=fresh)
        trainer = Trainer(run, corpus, plan, device=device, resume=resume, stop=stop)
        if resume is not None and trainer.is_finished:
            notice = f"this run is finished; a larger budget than {plan.budget} goes on, --fresh starts over"
            display.show(Notice(notice))
            display.show(trainer.outcome())
            return None
        if fresh and (run.last.exists() or run.best.exists()):
            run.set_aside()  # only now that nothing can be wrong with the new one
            display.show(Notice(f"the run before is kept in {run.aside} until this one has a validated checkpoint"))
        for text in describe(plan, corpus, run, device, resume):
            display.show(Notice(text))
        for event in trainer.run():
            display.show(event)
            if isinstance(event, Finished):
                return event.signal
    raise AssertionError("a run ends with Finished")


def _plan(
    request: Request, run: Run, corpus: Corpus, device: torch.device, *, fresh: bool
) -> tuple[Plan, checkpoints.Checkpoint | None]:
    """What to do in the run's folder."""
    from charrnn.device import choose_precision, nominal_speed

    precision = choose_precision(request.training.get("precision", "auto"), device)
    speed = nominal_speed(device, precision)
    if fresh:
        return plan_start(request, len(corpus) - corpus.separate_validation, device.type, speed), None
    if run.last.exists():
        resume = checkpoints.load(run.last, with_state=True)
        return plan_resume(request, resume, corpus.sha256), resume
    if run.best.exists():
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "start over with --fresh, or choose another --out",
        )
    return plan_start(request, len(corpus) - corpus.separate_validation, device.type, speed), None
