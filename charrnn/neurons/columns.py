"""The same model with a column of its own for everything that a matrix reads.

Skip connections add outputs up before they are read, and a tied decoder shares its matrix with the embedding, so that
no single weight says what one reader makes of one unit. Written out, one does: a sum under a matrix is the matrix
beside itself, W (a + b) = (W W)(a; b), so residual and sum are dense connections whose columns repeat (or are zero),
and a tied decoder is one that happens to equal the embedding. An orthogonal matrix that is made of another array is the
matrix itself. The numbers a model computes stay what they are, bar
rounding.

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
    """Returns configuration and parameters of the rewritten model; the same ones where nothing is to be rewritten."""
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
    """Returns `matrix` (rows, H) widened to read (e; h_1; ...; h_below): their sum, or the last of them alone."""
    reads_embedding = config.skip == "residual" and config.embedding_size == config.hidden_size
    first = matrix if reads_embedding else np.zeros((len(matrix), config.embedding_size), matrix.dtype)
    others = matrix if reads_all else np.zeros_like(matrix)
    return np.concatenate([first, *[others] * (below - 1), matrix], axis=1)


def reading_columns(config: ModelConfig, layer: int) -> dict[str, int]:
    """Returns the matrices that read the outputs of `layer`, each with the first of the H columns that do.

    The model is one that `with_own_columns` has rewritten.
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
