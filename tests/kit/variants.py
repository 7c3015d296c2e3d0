"""Models of every cell and variant, with weights that move everything: gates, gains, biases and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig
from tests.kit.every_option import CELLS, OPTIONS, V, configured


def models() -> dict[str, ModelConfig]:
    """Every different configuration of a model by its description: the plain cells, and each option's."""
    settings: list[dict[str, Any]] = [{"cell": cell} for cell in CELLS] + list(OPTIONS)
    settings += [{"cell": "gru", "skip": "dense"}, {"cell": "rnn", "skip": "residual", "embedding_size": 10}]
    found: dict[ModelConfig, str] = {}
    for each in settings:
        found.setdefault(configured(each)[0], " ".join(f"{name}={value}" for name, value in each.items()))
    return {name: config for config, name in found.items()}


def moved(config: ModelConfig) -> CharacterModel:
    """A model in evaluation mode whose arrays are all a little off where they begin; V characters."""
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    random = np.random.default_rng(4)
    with torch.no_grad():
        for array in model.arrays().values():
            array += torch.from_numpy(random.uniform(-0.1, 0.1, tuple(array.shape)).astype(np.float32))
    return model.eval()
