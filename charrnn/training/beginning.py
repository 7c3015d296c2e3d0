"""How a run begins: what is decided once its folder, its text and its device are known.

The command line and `charrnn.train` ask here, so that both start, resume and refuse alike.
"""

from __future__ import annotations

import os

import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import Origin, write_config
from charrnn.checkpoints.folder import Run
from charrnn.errors import CheckpointError
from charrnn.network.device import describe_machine
from charrnn.network.precision import choose_precision
from charrnn.settings.launch import Launch
from charrnn.settings.settings_file import values_of
from charrnn.text.corpus import Corpus
from charrnn.training.plan import Plan, TrainRequest, plan_resume, plan_start
from charrnn.training.request import GROUPS, read_last


def begin(
    request: TrainRequest, run: Run, corpus: Corpus, device: torch.device, *, fresh: bool, processes: int = 1
) -> tuple[Plan, Checkpoint | None]:
    """Returns what to do in the run's folder, and the checkpoint to go on from, if the run goes on.

    Raises UsageError where the folder holds another run, CheckpointError where a run cannot be gone on with.
    """
    if not fresh and os.path.exists(run.last):
        resume = read_last(run)
        return plan_resume(request, resume, corpus.sha256), resume
    if not fresh and os.path.exists(run.best):
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "start over with --fresh, or choose another --out",
        )
    precision = choose_precision(request.training.get("precision", "auto"), device)
    machine = describe_machine(device, precision, processes=processes)
    return plan_start(request, len(corpus) - corpus.separate_validation, machine), None


def record(run: Run, plan: Plan, origin: Origin, launch: Launch) -> None:
    """Writes into the run's folder with which settings and on which text it runs, where that is not said there.

    Raises UsageError where a config.json is there that is not a run's, and that or ResourceError where none can be
    written.
    """
    computing = {"device": launch.device, "threads": launch.threads}
    settings = {name: value for name, value in computing.items() if value is not None}
    for group in GROUPS:
        if group != "launch":
            settings |= values_of(getattr(plan, group))
    write_config(run.config, origin, settings)
