"""A trained model as plain modules of torch, for use outside of charrnn: nn.Embedding, nn.LSTM and its like, nn.Linear.

The weights are copies. What a plain module cannot express is refused.

Shape letters: T time, B lanes, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.cells.parameters import decoder_weight, layer_parameters, written_out
from charrnn.cells.registry import describe, make_cell
from charrnn.cells.wiring import decoder_input, input_sizes, layer_input
from charrnn.errors import UsageError
from charrnn.network.layers import KernelLayer, StackState
from charrnn.settings.config import ModelConfig


class PlainModel(nn.Module):
    """Embedding, recurrent layers and decoder, of which each is one of torch's own modules.

    `dropout` acts on each layer's outputs, in training mode only, as it did when the model was trained.
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]]) -> None:
        super().__init__()
        cell = make_cell(config).core.at_rest()
        *sizes, decoder_size = input_sizes(config)
        vocabulary_size = len(parameters["embedding"])
        self.skip = config.skip
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_size)
        self.layers = nn.ModuleList()
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = nn.Linear(decoder_size, vocabulary_size)
        with torch.no_grad():
            for number, size in enumerate(sizes, start=1):
                layer = KernelLayer(cell, size, config.hidden_size)
                _copy(layer_parameters(parameters, number), layer.arrays())
                self.layers.append(layer.kernel)
            named = {"embedding": self.embedding.weight, "weight": self.decoder.weight, "bias": self.decoder.bias}
            own = {"weight": decoder_weight(parameters), "bias": parameters["decoder.bias"]}
            _copy({"embedding": parameters["embedding"], **own}, named)
        if config.tie:
            self.decoder.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: StackState | None = None) -> tuple[Tensor, StackState]:
        """Reads `ids` (T, B) from `state` on, by default from zeros: logits (T, B, V) of each one's successor, and the
        state after the last: for each layer (h,) or (h, c), (B, H) each."""
        below, after = [self.embedding(ids)], []
        for number, layer in enumerate(self.layers):
            before = None if state is None else tuple(array[None] for array in state[number])
            is_single = not isinstance(layer, nn.LSTM)
            x, new = layer(layer_input(self.skip, below), before[0] if before and is_single else before)
            after.append(tuple(array[0] for array in ((new,) if is_single else new)))
            below.append(self.dropout(x))
        return self.decoder(decoder_input(self.skip, below)), tuple(after)


def _copy(arrays: Mapping[str, npt.NDArray[Any]], to: Mapping[str, Tensor]) -> None:
    for name, parameter in to.items():
        parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def plain_model(config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]]) -> PlainModel:
    """Returns the model of these arrays, in evaluation mode. Raises UsageError for a cell that torch has no module for.

    An orthogonal matrix becomes a matrix like any other, and what acts in training alone is gone, but for dropout.
    """
    config, parameters = written_out(config, parameters)
    cell = make_cell(config).core.at_rest()
    if cell.kernel is None:
        raise UsageError(
            f"torch has no module that computes what this cell does: {describe(config)}",
            "charrnn help layout says where its equations stand",
            None if cell.is_unitary else "to_onnx writes one step of it as a graph",
        )
    return PlainModel(config, parameters).eval()
