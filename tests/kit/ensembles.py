"""Small ensembles of random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.cells.members import joined
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.settings.config import ModelConfig
from tests.kit.tiny import tiny

Arrays = Mapping[str, Any]


def random_members(config: ModelConfig, vocabulary_size: int, members: int = 3) -> list[Arrays]:
    """Returns the arrays of so many models, each of other random numbers."""
    shapes = parameter_shapes(config, vocabulary_size)
    sources = [np.random.default_rng(seed) for seed in range(members)]
    return [
        {name: (random.normal(size=shape) / 3).astype(np.float32) for name, shape in shapes.items()}
        for random in sources
    ]


def tiny_ensemble(members: int = 3, **settings: Any) -> tuple[Checkpoint, list[Checkpoint]]:
    """Returns an ensemble, made like `tiny` is, and its members each by itself."""
    single = tiny(**settings)
    each = random_members(single.model, len(single.vocabulary), members)
    alone = [replace(single, parameters=arrays) for arrays in each]
    return replace(single, parameters=joined(each), members=members), alone
