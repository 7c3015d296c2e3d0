"""Ten steps of training, made twice by other kernels, and how far apart they may end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch

from charrnn.learner import Learner

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("muon", "adamw", "schedule-free", "sgd", "rmsprop")
LOSS, WEIGHTS = 1e-4, 1e-3
"""The largest differences of a loss and of a weight."""
_RATE = 0.01
_RATES = {"rmsprop": 0.001}
"""Where the rule divides by the root of a gradient's own square, a small gradient's rounding moves a weight as far as a
large gradient; at the usual rate two kernels of one CPU end further apart than the bounds."""

Window = tuple[torch.Tensor, torch.Tensor]


def assert_ten_steps_agree(learners: Sequence[Learner], windows: Iterable[Window], optimizer: str) -> None:
    """Losses of each step, and the weights in the end."""
    rate = _RATES.get(optimizer, _RATE)
    for window in windows:
        losses = [learner.step(*window, rate).loss.item() for learner in learners]
        assert losses[0] == pytest.approx(losses[1], abs=LOSS)
    one, other = (learner.model.numpy_arrays() for learner in learners)
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], atol=WEIGHTS)
