"""The weights of a model that has learned nothing, for comparison with one that has. Torch is not needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.cells.initial import initial_arrays
from charrnn.settings.config import ModelConfig

Doubles = npt.NDArray[np.float64]


class _Source:
    """A source of numpy's random numbers with the methods that `initial_arrays` calls."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.Generator(np.random.Philox(seed))

    def normal(self, shape: tuple[int, ...]) -> Doubles:
        return self._random.standard_normal(shape)

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Doubles:
        return self._random.uniform(low, high, shape)


def untrained_arrays(config: ModelConfig, vocabulary_size: int, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Returns untrained weights: drawn from the distributions that training starts from, by another generator."""
    return dict(initial_arrays(config, vocabulary_size, _Source(seed)))
