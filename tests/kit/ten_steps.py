"""Ten steps of training, made twice by other kernels, and how far apart they may end.

Shape letters: T window, B lanes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch

from charrnn.settings.choices import SEARCHING, OptimizerName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.training.recipe import completed_training

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = tuple(name for name in get_args(OptimizerName) if name not in SEARCHING)
"""Those whose steps can be made without the host; the others are tested in `training/test_hessian_free.py`."""
LOSS, WEIGHTS = 1e-4, 1e-3
"""The largest differences of a loss and of a weight."""
_RATE = 0.01
_RATES = {"rmsprop": 0.001}
"""Where the rule divides by the root of a gradient's own square, a small gradient's rounding moves a weight as far as a
large gradient; at the usual rate two kernels of one CPU end further apart than the bounds."""

_T, _B, _V = 12, 8, 11


def make_learner(cell: str, optimizer: str, device: torch.device) -> Learner:
    """Of two layers, in fp32, without dropout and resets; from the same seed for each device."""
    model = ModelConfig(cell=cell, num_layers=2, hidden_size=20, embedding_size=7)  # type: ignore[arg-type]
    asked = {"batch_size": _B, "bptt": _T, "seed": 2, "precision": "fp32", "state_reset": 0.0, "optimizer": optimizer}
    return Learner(model, TrainingConfig(**completed_training(asked)), _V, device)


def assert_ten_steps_agree(learners: Sequence[Learner], optimizer: str) -> None:
    """Losses of each step, and the weights in the end."""
    rate = _RATES.get(optimizer, _RATE)
    for window in torch.from_numpy(np.random.default_rng(0).integers(0, _V, (10, _T + 1, _B))):
        losses = [learner.step(window[:-1], window[1:], rate)[0].item() for learner in learners]
        assert losses[0] == pytest.approx(losses[1], abs=LOSS)
    one, other = (learner.model.numpy_arrays() for learner in learners)
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], atol=WEIGHTS)
