"""Writes the samples that a run shows as it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from charrnn.errors import CheckpointError
from charrnn.inference.make_engine import make_engine
from charrnn.sampling.sampler import sample
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training.learner import Learner
from charrnn.training.plan import Plan

_BEYOND = 1 << 40
"""More than any step, which numbers a sample: the documents of one sample have random numbers of their own."""


class Written(NamedTuple):
    """A sample."""

    text: str | None
    """With the prime; None where a signal came before its end."""
    is_finite: bool = True
    """Whether the weights and what they compute are finite."""


def write_sample(
    learner: Learner, plan: Plan, vocabulary: Vocabulary, prime: Ids, number: int, stop: Callable[[], int | None]
) -> Written:
    """Returns what the averaged weights write after the prime, unless `stop` tells of a signal.

    numpy reads the weights without a copy, and the training state is not touched. `number` chooses the random numbers.
    A model of documents writes as many, one below the other, as have the sample's length together.
    """
    run = plan.run
    text, left, others = "", run.sample_length, 0
    try:
        with learner.averaged():
            engine = make_engine(plan.model, learner.model.numpy_arrays(), threads=1, end=learner.model.end)
            while left > 0:
                config = SamplingConfig(length=left, temperature=run.sample_temperature, seed=plan.training.seed)
                written = run.prime
                for piece in sample(engine, vocabulary, prime.tolist(), config, number + others * _BEYOND):
                    written += piece
                    if stop() is not None:
                        return Written(None)
                text = f"{text}\n{written}" if others else written
                left = run.sample_length - len(text) - 1 if vocabulary.has_end else 0
                others += 1
    except CheckpointError:
        return Written(None, is_finite=False)
    return Written(text)
