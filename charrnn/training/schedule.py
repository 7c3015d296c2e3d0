"""Learning rate, length of the window and averaging of weights as pure functions of where a run stands.

Nothing is remembered between calls, so that a resumed run needs nothing restored. Windows of random length are from
Merity, Keskar & Socher 2018 (arXiv 1708.02182, section 4.1): so that not the same characters of a text are always those
at the edge of a window. They are drawn by a counter-based generator, as samples are (`inference/distribution.py`).
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.settings.config import TrainingConfig

_BETWEEN = 8
# Of a random window.
_DEVIATION = 5.0
_SHORTEST = 5
_HALVED = 0.05
# Theirs has no bound. Once in 30,000 steps a draw would be above this one, which is what memory is needed for.
_SPARE = 20
_STREAM = (0, 0, 0, 1)  # a part of the generator's period that no sample's characters come from


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Learning rate of update `step` (counted from 0) when the share `progress` (0 to 1) of the budget is used.

    Linear warm-up over `config.warmup` steps times the decay: cosine is the half wave of Loshchilov & Hutter 2017
    (arXiv 1608.03983, eq. 5) without restarts, from the peak to `final_learning_rate` times the peak. A window of
    random length has a rate that goes with it (Merity, Keskar & Socher 2018, arXiv 1708.02182, section 4.1).

    >>> learning_rate(TrainingConfig(learning_rate=1.0, warmup=0, decay="linear"), step=7, progress=0.25)
    0.75
    """
    progress = min(max(progress, 0.0), 1.0)
    if config.decay == "cosine":
        remaining = 0.5 * (1.0 + math.cos(math.pi * progress))
    elif config.decay == "linear":
        remaining = 1.0 - progress
    else:
        remaining = 1.0
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    floor = config.final_learning_rate
    length = window_length(config, step) / config.bptt
    return config.learning_rate * warm * (floor + (1.0 - floor) * remaining) * length


def averaging_begins(config: TrainingConfig, without_gain: int, progress: float) -> bool:
    """Whether the plain mean of the weights is to begin: none of the last `without_gain` validations was best, or the
    share `progress` of the budget is used.

    The trigger of Merity, Keskar & Socher 2018 (arXiv 1708.02182, section 3), with the latest time that Melis, Kocisky
    & Blunsom 2020 (arXiv 1909.01792) set for it.
    """
    if progress >= 1.0:  # nothing will come that could be averaged
        return False
    is_stuck = config.average_after is not None and without_gain >= config.average_after
    return is_stuck or (config.average_from is not None and progress >= config.average_from)


def averaging_share(config: TrainingConfig, step: int, progress: float, since: int | None = None) -> float:
    """How far the averaged weights go to the weights after `step` updates, when the share `progress` is used.

    The average covers a share of the steps made, so that a young one forgets its beginnings, and of those to come,
    since a learning rate that falls to zero averages by itself, and an old average would lag behind. It moves at every
    eighth step, which is smooth enough and costs nothing.

    The plain mean of the weights after each step beyond `since` takes its place where that is given; the first of them
    replaces what was averaged before. Where that may yet come and nothing is averaged till then, the weights are
    followed from step to step.

    >>> averaging_share(TrainingConfig(average=0.1), step=240, progress=0.75)
    0.5
    """
    if since is not None and step > since:
        return 1.0 / (step - since)
    if not config.average:
        return 1.0
    if step % _BETWEEN:
        return 0.0
    left = step * (1.0 - progress) / progress if progress else float(step)
    return _BETWEEN / (_BETWEEN + config.average * max(0.0, min(float(step), left)))


def window_length(config: TrainingConfig, step: int) -> int:
    """Characters in the window of update `step` (counted from 0).

    N(bptt, 5), in one step of twenty N(bptt / 2, 5), cut to a whole number from 5 (bptt, if that is less) to
    `longest_window`.
    """
    if not config.random_bptt:
        return config.bptt
    random = np.random.Generator(np.random.Philox(key=[config.seed, step], counter=_STREAM))
    middle = config.bptt / 2 if random.random() < _HALVED else config.bptt
    drawn = int(random.normal(middle, _DEVIATION))
    return min(max(drawn, min(_SHORTEST, config.bptt)), longest_window(config))


def longest_window(config: TrainingConfig) -> int:
    """The most characters a window may have: 20 more than bptt, at most twice as many."""
    return config.bptt + spare_characters(config)


def spare_characters(config: TrainingConfig) -> int:
    """By how many a window may be longer than bptt."""
    return min(_SPARE, config.bptt) if config.random_bptt else 0
