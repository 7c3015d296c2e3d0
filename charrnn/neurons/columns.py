"""Rewrites a model so that every matrix has a separate column for each unit it reads; the function stays the same.

Skip connections add outputs up before they are read, and a tied decoder shares its matrix with the embedding, so that
no single weight connects one unit to one reader. Rewritten, one does: a matrix times a sum is the matrix beside itself
times both, W (a + b) = (W W)(a; b), so residual and sum connections become dense ones whose columns repeat (or are
zero); a tied decoder becomes a matrix of its own that equals the embedding; an orthogonal matrix that is computed from
another array is stored as the matrix. The model computes the same numbers, except for rounding.

Shape letters: E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.cells.members import count_members, joined, parted
from charrnn.cells.parameters import decoder_weight, parameter_shapes, written_out
from charrnn.cells.registry import make_cell
from charrnn.settings.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[Any]]


def with_own_columns(config: ModelConfig, parameters: Arrays) -> tuple[ModelConfig, Arrays]:
    """Returns configuration and parameters of the rewritten model, or those given where nothing is to be rewritten.

    Of an ensemble each member is rewritten.
    """
    if (members := count_members(parameters)) > 1:
        each = [with_own_columns(config, own) for own in parted(parameters, members)]
        return each[0][0], joined([arrays for _, arrays in each])
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
    """Returns `matrix` (rows, H) widened to read (e; h_1; ...; h_below): their sum, or only the last of them."""
    reads_embedding = config.skip == "residual" and config.embedding_size == config.hidden_size
    first = matrix if reads_embedding else np.zeros((len(matrix), config.embedding_size), matrix.dtype)
    others = matrix if reads_all else np.zeros_like(matrix)
    return np.concatenate([first, *[others] * (below - 1), matrix], axis=1)


class Reader(NamedTuple):
    """A matrix that reads the outputs of a layer."""

    matrix: str
    bias: str
    """The name of the bias that is added to the product with the matrix."""
    first: int
    """The first of the H columns for the layer."""


def readers(config: ModelConfig, layer: int) -> list[Reader]:
    """Returns all that reads the outputs of `layer`: the layer itself, those above it, and the decoder.

    The model must have been rewritten by `with_own_columns`.
    """
    assert not config.tie
    assert config.skip in ("none", "dense"), "see with_own_columns"
    cell, L = make_cell(config), config.num_layers
    start = config.embedding_size + (layer - 1) * config.hidden_size if config.skip == "dense" else 0
    above = range(layer + 1, L + 1) if config.skip == "dense" else range(layer + 1, min(layer + 1, L) + 1)
    found = [Reader(f"layers.{layer}.weight_hh", f"layers.{layer}.{cell.recurrent_bias}", 0)]
    found += [Reader(f"layers.{each}.weight_ih", f"layers.{each}.{cell.input_bias}", start) for each in above]
    if config.skip == "dense" or layer == L:
        found.append(Reader("decoder.weight", "decoder.bias", start))
    return found
