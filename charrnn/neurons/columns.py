"""The same model with a column of its own for everything that a matrix reads.

Skip connections add outputs up before they are read, and a tied decoder shares its matrix with the embedding, so that
no single weight says what one reader makes of one unit. Written out, one does: a sum under a matrix is the matrix
beside itself, W (a + b) = (W W)(a; b), so residual and sum are dense connections whose columns repeat (or are zero),
and a tied decoder is one that happens to equal the embedding. An orthogonal matrix that is made of another array is the
matrix itself. The numbers a model computes stay what they are, bar
rounding.

Knows wirings and layouts. Refuses to know why.

Shape letters: E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import decoder_weight, parameter_shapes, written_out
from charrnn.settings.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[Any]]


def with_own_columns(config: ModelConfig, parameters: Arrays) -> tuple[ModelConfig, Arrays]:
    """Its configuration and parameters; the very ones where every column is one reader's of one unit already."""
    config, parameters = written_out(config, parameters)
    if not config.tie and config.skip in ("none", "dense"):
        return config, parameters
    written = replace(config, tie=False, skip="none" if config.skip == "none" else "dense")
    arrays = {**parameters, "decoder.weight": decoder_weight(parameters)}
    if written.skip == "dense":
        for layer in range(2, config.num_layers + 1):
            name = f"layers.{layer}.weight_ih"
            arrays[name] = _beside(config, arrays[name], layer - 1, reads_all=config.skip == "residual")
        arrays["decoder.weight"] = _beside(config, arrays["decoder.weight"], config.num_layers, reads_all=True)
    return written, {name: arrays[name] for name in parameter_shapes(written, len(parameters["embedding"]))}


def _beside(config: ModelConfig, matrix: npt.NDArray[Any], below: int, *, reads_all: bool) -> npt.NDArray[Any]:
    """`matrix` (rows, H) over (e; h_1; ...; h_below): of their sum, or of the last of them alone."""
    reads_embedding = config.skip == "residual" and config.embedding_size == config.hidden_size
    first = matrix if reads_embedding else np.zeros((len(matrix), config.embedding_size), matrix.dtype)
    others = matrix if reads_all else np.zeros_like(matrix)
    return np.concatenate([first, *[others] * (below - 1), matrix], axis=1)


def reading_columns(config: ModelConfig, layer: int) -> dict[str, int]:
    """Which matrices above read the outputs of `layer`, each with the first of the H columns that do.

    Of a model whose columns are its own.
    """
    assert not config.tie
    assert config.skip in ("none", "dense"), "see with_own_columns"
    L = config.num_layers
    start = config.embedding_size + (layer - 1) * config.hidden_size if config.skip == "dense" else 0
    above = range(layer + 1, L + 1) if config.skip == "dense" else range(layer + 1, min(layer + 1, L) + 1)
    readers = {f"layers.{number}.weight_ih": start for number in above}
    if config.skip == "dense" or layer == L:
        readers["decoder.weight"] = start
    return readers
