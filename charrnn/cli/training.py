"""What `charrnn train` does once its options are read: find the text, decide in the run's folder, train, show.

Knows the order of things: what can be wrong is found before a folder is made or a run set aside. Loads torch only once
the text has been read and found long enough. Refuses to know options, how a run goes and how it is drawn.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import RUNS, Run
from charrnn.cli import texts as text_arguments
from charrnn.cli.anew import goes_on, without_graphs
from charrnn.cli.signals import StopOnSignal
from charrnn.display.progress import TrainingDisplay, WorkDisplay
from charrnn.errors import CheckpointError, RecordingFailed, UsageError
from charrnn.events import Finished, Notice
from charrnn.network import torchrun
from charrnn.settings.choices import DeviceName
from charrnn.settings.config import DataConfig
from charrnn.settings.conflicts import check_together
from charrnn.text.corpus import Corpus
from charrnn.training.plan import RunPlan, RunRequest, plan_resume, plan_start

if TYPE_CHECKING:
    import torch

    from charrnn.training.distributed import World

_REPEATED = 2.0
"""Seconds in which a signal may come again by way of torchrun, which passes on what the terminal has sent to all."""


def carry_out(
    request: RunRequest,
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
    quiet = quiet or torchrun.rank() > 0  # one process prints, and writes, for all
    fresh = fresh and not goes_on()
    stop: StopOnSignal | None = None
    try:
        with contextlib.ExitStack() as stack:
            display = stack.enter_context(TrainingDisplay(quiet=quiet))
            if torchrun.world_size() > 1:
                _join([*arguments, validation], device_name, stack, is_needed=not dry_run)
            request, run, corpus = _read(request, arguments, validation, glob, out, display, quiet=quiet)
            stop = stack.enter_context(StopOnSignal(quiet=quiet, deaf=_REPEATED if torchrun.world_size() > 1 else 0.0))
            return _run(request, run, corpus, display, device_name, threads, stop, fresh=fresh, dry_run=dry_run)
    except RecordingFailed as failed:  # at a first step, and before it the run has been saved
        signal = stop() if stop is not None else None
        if signal is not None:
            return signal
        without_graphs(failed, quiet=quiet)


def _join(
    arguments: list[str | None], device_name: DeviceName, stack: contextlib.ExitStack, *, is_needed: bool
) -> None:
    """Makes this process one of several, until the `stack` is left. Raises UsageError where they cannot all do it."""
    from charrnn.network.device import choose_device
    from charrnn.training.distributed import joined, local_device, world_from_environment

    if "-" in arguments:
        raise UsageError("several processes cannot read one standard input (-)", "put the text into a file")
    world = world_from_environment()
    stack.enter_context(joined(world, local_device(choose_device(device_name, is_needed=is_needed), world)))


def _read(
    request: RunRequest,
    arguments: list[str],
    validation: str | None,
    glob: str | None,
    out: Path | None,
    display: TrainingDisplay,
    *,
    quiet: bool,
) -> tuple[RunRequest, Run, Corpus]:
    """The text, what is customary for it, and where the run goes."""
    with _one_process_of_a_machine_first():
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
        corpus = text_arguments.load(
            texts, DataConfig(**request.data), held_out.sources if held_out else (), quiet=quiet
        )
        corpus.check_size()  # before torch is loaded
    return request, Run(out or RUNS / texts.name), corpus


@contextlib.contextmanager
def _one_process_of_a_machine_first() -> Iterator[None]:
    """What one process downloads and encodes, the others of its machine find in the cache."""
    if torchrun.world_size() == 1:
        yield
        return
    from charrnn.training.distributed import world_from_environment

    world = world_from_environment()
    if torchrun.local_rank() > 0:
        world.wait()
    yield
    if torchrun.local_rank() == 0:
        world.wait()


def _run(
    request: RunRequest,
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
    from charrnn.network.device import choose_device, passed_over, prepare
    from charrnn.network.precision import choose_precision
    from charrnn.training.distributed import check_parts, local_device, world_from_environment
    from charrnn.training.trainer import Trainer

    world = world_from_environment()
    device = local_device(choose_device(device_name, is_needed=not dry_run), world)
    not_taken = passed_over(device_name)
    if not_taken is not None:
        display.show(Notice(not_taken))
    prepare(device, threads)
    choose_precision(request.training.get("precision", "auto"), device)  # before a folder is made
    if dry_run:
        plan, resume = _plan(request, run, corpus, device, world, fresh=fresh)
        check_parts(plan.training.batch_size, world.size, plan.run.accumulate)
        check_together(plan.model, plan.training, parts=world.size * plan.run.accumulate)
        for text in (*plan.notices, *describe(plan, corpus, run, device, resume, world)):
            display.show(Notice(text))
        return None
    with run.locked() if world.is_first else contextlib.nullcontext():
        plan, resume = _plan(request, run, corpus, device, world, fresh=fresh)
        _check_same_start(world, run, corpus, plan, device, resume)
        trainer = Trainer(run, corpus, plan, device=device, resume=resume, stop=stop, world=world)
        if resume is not None and trainer.is_finished:
            notice = f"this run is finished; a larger budget than {plan.budget} goes on, --fresh starts over"
            display.show(Notice(notice))
            display.show(trainer.outcome())
            return None
        if world.is_first and fresh and (run.last.exists() or run.best.exists()):
            run.set_aside()  # only now that nothing can be wrong with the new one
            display.show(Notice(f"the run before is kept in {run.aside} until this one has a validated checkpoint"))
        for text in describe(plan, corpus, run, device, resume, world):
            display.show(Notice(text))
        for event in trainer.run():
            display.show(event)
            if isinstance(event, Finished):
                return event.signal
    raise AssertionError("a run ends with Finished")


def _check_same_start(
    world: World, run: Run, corpus: Corpus, plan: RunPlan, device: torch.device, resume: checkpoints.Checkpoint | None
) -> None:
    """Raises UsageError where processes would train different models on different texts, or some go on and some not."""
    if world.is_alone:
        return
    from charrnn.network.precision import choose_precision

    if not world.is_same(_number_for(corpus.sha256)):
        raise UsageError("the processes do not read the same text", "give each machine the same files")
    if not world.is_same(-1 if resume is None else resume.progress["step"]):
        raise UsageError(
            f"the processes do not find the same run in {run.folder}", "put it where all machines see it, with --out"
        )
    if not world.is_same(_number_for(repr((plan, choose_precision(plan.training.precision, device))))):
        raise UsageError(
            "the processes do not choose the same settings, since their machines differ",
            "choose them yourself: --hidden, --layers, --dropout, --batch, --precision",
        )


def _number_for(text: str) -> int:
    """A number that two texts share only where they are the same (or once in 10^14), and that fits into a float."""
    return int(hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12], 16)


def _plan(
    request: RunRequest, run: Run, corpus: Corpus, device: torch.device, world: World, *, fresh: bool
) -> tuple[RunPlan, checkpoints.Checkpoint | None]:
    """What to do in the run's folder."""
    from charrnn.network.device import describe_machine
    from charrnn.network.precision import choose_precision

    precision = choose_precision(request.training.get("precision", "auto"), device)
    machine = describe_machine(device, precision, processes=world.size)
    if fresh:
        return plan_start(request, len(corpus) - corpus.separate_validation, machine), None
    if run.last.exists():
        resume = checkpoints.load(run.last, with_state=True)
        return plan_resume(request, resume, corpus.sha256), resume
    if run.best.exists():
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "start over with --fresh, or choose another --out",
        )
    return plan_start(request, len(corpus) - corpus.separate_validation, machine), None
