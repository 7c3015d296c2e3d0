"""A small run of twenty steps, whole or stopped and gone on with."""

from __future__ import annotations

import signal
from pathlib import Path

import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.events import Finished
from charrnn.settings.config import Budget
from charrnn.text.corpus import Corpus
from charrnn.training.plan import Plan, TrainRequest, plan_resume, plan_start
from charrnn.training.trainer import Trainer

STEPS = 20
# An epoch of 1,800 characters is 12 steps of 5 x 30; validations, samples, lines of metrics and saves fall on
# different steps, so that each k cuts something else in two.
REQUEST = TrainRequest(
    model={"num_layers": 2, "hidden_size": 6, "embedding_size": 4, "dropout": 0.4},
    training={"batch_size": 5, "bptt": 30, "learning_rate": 0.01, "seed": 3},
    run={"log_every": 4, "validate_every": 7, "sample_every": 3, "sample_length": 11},
    budget=Budget(steps=STEPS),
)


def plan(corpus: Corpus, request: TrainRequest = REQUEST) -> Plan:
    """Of a run that begins."""
    return plan_start(request, len(corpus))


def train(folder: Path, corpus: Corpus, request: TrainRequest = REQUEST, stop_after: int | None = None) -> Finished:
    """Trains or goes on in `folder`; a stop is asked for after `stop_after` more steps."""
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    polled = 0

    def stop() -> int | None:
        nonlocal polled
        polled += 1
        return signal.SIGTERM if trainer._place()["step"] >= target else None

    resume = checkpoints.load(run.last, with_state=True) if run.last.exists() else None
    planned = plan_resume(request, resume, corpus.sha256) if resume else plan(corpus, request)
    trainer = Trainer(run, corpus, planned, device=torch.device("cpu"), resume=resume, stop=stop)
    target = 10**9 if stop_after is None else trainer._place()["step"] + stop_after
    *_, last = trainer.run()
    assert isinstance(last, Finished)
    return last
