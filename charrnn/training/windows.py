"""How long the window of a step is: bptt characters, or under `random_bptt` another number in every step.

Merity, Keskar & Socher 2018 (arXiv 1708.02182, section 4.1): so that not the same characters of a text are always those
at the edge of a window. The length of a step is a pure function of seed and step (a counter-based generator, as in
`inference/distribution.py`), so that a resumed run needs nothing restored. Knows numbers. Refuses to know texts.
"""

from __future__ import annotations

import numpy as np

from charrnn.settings.config import TrainingConfig

_DEVIATION = 5.0
_SHORTEST = 5
_HALVED = 0.05
# Theirs has no bound. Once in 30,000 steps a draw would be above this one, which is what memory is needed for.
_SPARE = 20
_STREAM = (0, 0, 0, 1)  # a part of the generator's period that no sample's characters come from


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
