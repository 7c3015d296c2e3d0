"""A run at one moment, as a checkpoint that describes itself."""

from __future__ import annotations

from typing import Any

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.network import device as devices
from charrnn.text.corpus import Corpus, Parts
from charrnn.training.course import Course
from charrnn.training.learner import Learner
from charrnn.training.pace import Counters
from charrnn.training.plan import Plan


def snapshot(
    plan: Plan, corpus: Corpus, parts: Parts, reached: Counters | Course, learner: Learner, *, place: dict[str, Any]
) -> Checkpoint:
    """Returns the weights with all that describes them, which is what best.safetensors holds of a run of one model.

    `reached` has the history of the run's validations, and the best of them.
    """
    return Checkpoint(
        kind="best",
        model=plan.model,
        vocabulary=corpus.vocabulary,
        data=plan.data,
        corpus={
            "name": corpus.name,
            "characters": len(corpus),
            "bytes": corpus.num_bytes,
            "sha256": corpus.sha256,
            "train": parts.size,
            "validation": len(parts.validation),
            "test": len(parts.test),
            "held_out": None if parts.held_out is None else parts.held_out.to_dict(),
            "traits": corpus.traits.to_dict(),
        },
        progress={
            **place,
            "best_nats": reached.best_nats,
            "best_step": reached.best_step,
            "history": reached.history,
        },
        parameters=learner.model.numpy_arrays(),
        environment=environment(plan, learner),
        lineage=plan.lineage,
    )


def environment(plan: Plan, learner: Learner) -> dict[str, Any]:
    """Returns what a bit-exact resume of this run depends on."""
    return devices.environment(
        learner.device,
        learner.precision,
        is_compiled=learner.is_compiled,
        world_size=learner.world.size,
        accumulate=plan.run.accumulate,
    )
