"""Writes the samples that a run shows as it learns."""

from __future__ import annotations

from collections.abc import Callable

from charrnn.errors import CheckpointError
from charrnn.inference.make_engine import make_engine
from charrnn.sampling.sampler import sample
from charrnn.settings.config import SamplingConfig
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training.learner import Learner
from charrnn.training.plan import Plan


def write_sample(
    learner: Learner,
    plan: Plan,
    vocabulary: Vocabulary,
    prime: Ids,
    number: int,
    stop: Callable[[], int | None] = lambda: None,
) -> str | None:
    """Returns what the averaged weights write after the prime, with it; None where the weights are not finite.

    numpy reads the weights without a copy, and the training state is not touched. `number` chooses the random numbers.
    As soon as `stop` returns a signal, nothing is returned but an empty text.
    """
    run = plan.run
    config = SamplingConfig(length=run.sample_length, temperature=run.sample_temperature, seed=plan.training.seed)
    try:
        with learner.averaged():
            engine = make_engine(plan.model, learner.model.numpy_arrays(), threads=1)
            pieces = [run.prime]
            for piece in sample(engine, vocabulary, prime.tolist(), config, number):
                if stop() is not None:
                    return ""
                pieces.append(piece)
            return "".join(pieces)
    except CheckpointError:
        return None
