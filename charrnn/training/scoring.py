"""Scores what is held out by a model in training; of several processes the first one does."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from charrnn.evaluation.bpc import Stopped, score
from charrnn.text.corpus import Parts
from charrnn.text.stored import TextIds, part_of
from charrnn.training.distributed import World
from charrnn.training.learner import Learner, NotFinite

_LOOKED_AT = 4096  # characters
Stop = Callable[[], int | None]


def held_out_nats(
    learner: Learner,
    parts: Parts,
    bound: float,
    world: World,
    stop: Stop,
    losses: npt.NDArray[np.float32] | None = None,
) -> float | None:
    """Returns the held-out part's nats per character by the averaged weights; None where `stop` tells of a signal.

    Every process must call this, and all get the same. Raises NotFinite where the weights are thrown about: what they
    were trained on costs more than `bound`, too. A held-out part that is unlike the text may do so by itself, such as
    one in another language at the text's end. The nats of each held-out character but the first are written into
    `losses`, by the first process.
    """
    nats = _nats_of(learner, parts.validation, world, stop, losses)
    if nats is None or nats <= bound:
        return nats
    known = _nats_of(learner, part_of(parts.train, 0, _LOOKED_AT), world, stop) if math.isfinite(nats) else math.inf
    if known is not None and not known <= bound:
        raise NotFinite(nats, math.nan)
    return None if known is None else nats


def _nats_of(
    learner: Learner, text: TextIds, world: World, stop: Stop, losses: npt.NDArray[np.float32] | None = None
) -> float | None:
    """Returns a text's nats per character, infinity where they are not finite; None where a signal came first."""

    def give_up(_done: int) -> None:
        if stop() is not None:
            raise Stopped

    nats = -1.0
    if world.is_first:
        with contextlib.suppress(Stopped), learner.averaged():
            nats = score(learner.model, text, proceed=give_up, losses=losses).nats_per_character
            nats = nats if math.isfinite(nats) else math.inf  # a number that ranks can compare
    nats = world.first_says(nats)
    return None if nats == -1.0 else nats
