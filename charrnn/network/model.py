"""The language model: embedding -> stack of recurrent layers -> decoder.

Ids go in and logits come out. Its parameters go by the names of `cells/parameters.py`, whatever computes with them.

Shape letters: T time, B lanes, E embedding size, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from charrnn.cells.initial import initial_arrays
from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import is_plain, make_cell
from charrnn.cells.wiring import input_sizes
from charrnn.network.compiled_layer import is_available
from charrnn.network.decoder import decode
from charrnn.network.jacobian_penalty import Keeper
from charrnn.network.layers import Layer, Stack, StackState
from charrnn.network.noise import QUIET, Noise
from charrnn.network.starts import find_starts
from charrnn.network.threads import is_compiled
from charrnn.settings.config import ModelConfig


class CharacterModel(nn.Module):
    """A distribution over the next character, given those before."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, end: int | None = None) -> None:
        super().__init__()
        self.end = end
        """The id before which a lane begins anew, from the zero state; None where there is none."""
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.cell = make_cell(config)
        self.embedding = nn.Parameter(torch.empty(vocabulary_size, config.embedding_size))
        self.stack = Stack(self.cell, config)
        self.decoder = nn.Linear(input_sizes(config)[-1], vocabulary_size)
        if config.tie:
            self.decoder.weight = self.embedding

    def initialise(self, generator: torch.Generator) -> None:
        """Draws the initial weights (`cells/initial.py`)."""
        named = self.arrays()
        with torch.no_grad():
            for name, array in initial_arrays(self.config, self.vocabulary_size, _Source(generator)):
                named[name].copy_(torch.from_numpy(array))

    @property
    def is_compiled(self) -> bool:
        """Whether compiled code makes its products outside training."""
        return is_compiled(self.embedding.device, is_plain=is_plain(self.config))

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.stack.layers if isinstance(layer, Layer)]

    def arrays(self) -> dict[str, nn.Parameter]:
        """Returns every parameter under its one name, in a fixed order."""
        named: dict[str, nn.Parameter] = {"embedding": self.embedding}
        for number, layer in enumerate(self._layers(), start=1):
            named.update({f"layers.{number}.{name}": array for name, array in layer.arrays().items()})
        for name in ("bias",) if self.config.tie else ("weight", "bias"):
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
        """Returns the parameters as numpy arrays. On a CPU they share memory with the model, so read them at once."""
        return {name: array.detach().cpu().numpy() for name, array in self.arrays().items()}

    def zero_state(self, lanes: int) -> StackState:
        """Returns the state before the first character, (B, H) each."""
        return tuple(self.cell.zero_state(layer.arrays(), lanes) for layer in self._layers())

    def forward(
        self,
        ids: Tensor,
        state: StackState,
        noise: Noise = QUIET,
        *,
        starts: Tensor | None = None,
        is_narrow: bool = False,
        is_stepwise: bool = False,
        is_watched: bool = False,
        keeper: Keeper | None = None,
    ) -> tuple[Tensor, StackState] | tuple[Tensor, StackState, Tensor, Tensor]:
        """Reads `ids` (T, B): returns the logits of each one's successor (T, B, V), and the state after the window.

        Before it reads `end` a lane's state becomes the zero state; and where `starts` (T, B) is true, which is needed
        where a lane begins in the middle of a document (see `find_starts`).

        With `is_watched` also what the decoder read, and the last layer's output (T, B, H) before any dropout.

        `noise`, `is_narrow`, `is_stepwise` and `keeper`: see `Stack.forward`. Of a tied embedding only what is read is
        dropped.
        """
        embedding = self.embedding if noise.characters is None else self.embedding * noise.characters
        begun = find_starts(ids, starts, self.end)
        x, last, state = self.stack(
            embedding, state, noise, ids=ids, starts=begun, is_narrow=is_narrow, is_stepwise=is_stepwise, keeper=keeper
        )
        decoder = self.decoder.weight, self.decoder.bias
        if is_available(x) and not is_stepwise:
            logits = decode(x, *decoder, is_narrow=is_narrow)
        else:
            logits = linear(x, *decoder)
        return (logits, state, x, last) if is_watched else (logits, state)


class _Source:
    """Draws random numbers from a torch generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def normal(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        drawn: npt.NDArray[Any] = torch.empty(shape).normal_(generator=self._generator).numpy()
        return drawn

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> npt.NDArray[Any]:
        drawn: npt.NDArray[Any] = torch.empty(shape).uniform_(low, high, generator=self._generator).numpy()
        return drawn
