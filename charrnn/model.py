"""The language model: embedding -> stack of recurrent layers -> decoder.

Knows ids in and logits out. Refuses to know characters, losses and optimizers. Its parameters go by the names of
`cells/parameters.py` (`arrays`), whichever path computes with them.

Shape letters: T time, B lanes, E embedding size, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.config import ModelConfig
from charrnn.fused.decoder import decode
from charrnn.recurrent import Layer, Stack, StackState


class CharacterModel(nn.Module):
    """A distribution over the next character, given those before."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.cell = make_cell(config)
        self.embedding = nn.Parameter(torch.empty(vocabulary_size, config.embedding_size))
        self.stack = Stack(self.cell, config.num_layers, config.embedding_size, config.hidden_size, config.dropout)
        self.decoder = nn.Linear(config.hidden_size, vocabulary_size)

    def initialise(self, generator: torch.Generator) -> None:
        """Draws the initial weights: embedding N(0, 1), everything else U(-1/sqrt(H), 1/sqrt(H)), recurrent biases 0.

        Gains of a normalisation start at 1. The lstm's forget gate starts at `forget_bias`, so that it remembers (Gers
        et al. 2000; Jozefowicz et al. 2015).
        """
        bound = self.config.hidden_size**-0.5
        with torch.no_grad():
            for name, array in self.arrays().items():
                if name == "embedding":
                    array.normal_(generator=generator)
                elif name.startswith("layers.") and "bias" in name:
                    nn.init.zeros_(array)
                elif name.startswith("layers.") and "gain" in name:
                    nn.init.ones_(array)
                else:
                    array.uniform_(-bound, bound, generator=generator)
            if self.config.cell == "lstm":
                rows = self.cell.rows("f", self.config.hidden_size)
                for layer in self._layers():
                    layer.arrays()["bias"][rows].fill_(self.config.forget_bias)

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.stack.layers if isinstance(layer, Layer)]

    def arrays(self) -> dict[str, nn.Parameter]:
        """Every trained parameter under its one name, in a fixed order."""
        named: dict[str, nn.Parameter] = {"embedding": self.embedding}
        for number, layer in enumerate(self._layers(), start=1):
            named.update({f"layers.{number}.{name}": array for name, array in layer.arrays().items()})
        for name in ("weight", "bias"):
            named[f"decoder.{name}"] = self.decoder.get_parameter(name)
        assert {name: tuple(array.shape) for name, array in named.items()} == parameter_shapes(
            self.config, self.vocabulary_size
        ), "the model's arrays differ from the published layout"
        return named

    def load_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes over the values of `arrays` (the names and shapes of `arrays()`)."""
        with torch.no_grad():
            for name, parameter in self.arrays().items():
                parameter.copy_(torch.from_numpy(np.array(arrays[name])))

    def numpy_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters as numpy arrays: on a CPU they share memory with the model, so read them at once."""
        return {name: array.detach().cpu().numpy() for name, array in self.arrays().items()}

    def zero_state(self, lanes: int) -> StackState:
        """The state before the first character, (B, H) each."""
        return tuple(self.cell.zero_state(layer.arrays(), lanes) for layer in self._layers())

    def forward(
        self,
        ids: Tensor,
        state: StackState,
        masks: Sequence[Tensor] = (),
        *,
        inside: Sequence[Sequence[Tensor]] = (),
        is_narrow: bool = False,
    ) -> tuple[Tensor, StackState]:
        """`ids` (T, B) -> logits of each one's successor (T, B, V), and the state after the window.

        `masks`, `inside` and `is_narrow`: see `Stack.forward`.
        """
        x, state = self.stack(self.embedding, state, masks, ids=ids, inside=inside, is_narrow=is_narrow)
        if is_narrow and torch.is_grad_enabled():
            return decode(x, self.decoder.weight, self.decoder.bias), state
        return linear(x, self.decoder.weight, self.decoder.bias), state
