"""Sizes and a window for the tests that compare penalties with the equations written out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

T, B, V, E, H, L = 6, 5, 9, 4, 7, 2
"""Steps, lanes, vocabulary, size of the embedding, hidden size, layers."""
RATE = 0.5
CPU = torch.device("cpu")


def window() -> tuple[Tensor, Tensor]:
    """Inputs and targets (T, B), always the same."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (T + 1, B)))
    return ids[:-1], ids[1:]
