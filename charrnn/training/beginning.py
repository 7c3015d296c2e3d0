"""How a run begins: what is decided once its folder, its text and its device are known.

The command line and `charrnn.train` ask here, so that both start, resume and refuse alike.
"""

from __future__ import annotations

import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.errors import CheckpointError
from charrnn.network.device import describe_machine
from charrnn.network.precision import choose_precision
from charrnn.text.corpus import Corpus
from charrnn.training.plan import Plan, TrainRequest, plan_resume, plan_start


def begin(
    request: TrainRequest, run: Run, corpus: Corpus, device: torch.device, *, fresh: bool, processes: int = 1
) -> tuple[Plan, Checkpoint | None]:
    """Returns what to do in the run's folder, and the checkpoint to go on from, if the run goes on.

    Raises UsageError where the folder holds another run, CheckpointError where a run cannot be gone on with.
    """
    if not fresh and run.last.exists():
        resume = checkpoints.load(run.last, with_state=True)
        return plan_resume(request, resume, corpus.sha256), resume
    if not fresh and run.best.exists():
        raise CheckpointError(
            f"{run.folder} holds {run.best.name} but no {run.last.name} to go on from",
            "start over with --fresh, or choose another --out",
        )
    precision = choose_precision(request.training.get("precision", "auto"), device)
    machine = describe_machine(device, precision, processes=processes)
    return plan_start(request, len(corpus) - corpus.separate_validation, machine), None
