"""A checkpoint's arrays stepped in numpy by the cells' own step: the reference of all engines, for every cell.

The equations are written once, in `cells/`. Torch is not needed.

Shape letters: T characters, B lanes, L layers, V vocabulary, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.cells.cell import Gates, State
from charrnn.cells.parameters import decoder_weight, layer_parameters
from charrnn.cells.registry import make_cell
from charrnn.cells.wiring import decoder_input, layer_input
from charrnn.inference.engine import Floats, RecordingEngine
from charrnn.settings.config import ModelConfig

NetworkState: TypeAlias = tuple[State, ...]
"""One state a layer, from the first."""
Change = Callable[[int, State], State]
"""A function of a layer's place (from 0) and its new state, (B, H) each array: the state that takes its place."""


def unchanged(_layer: int, state: State) -> State:
    """Returns the state as it is."""
    return state


class Network(RecordingEngine):
    """Embedding, layers and decoder over numpy arrays."""

    def __init__(
        self, config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], *, end: int | None = None
    ) -> None:
        self.config, self._parameters, self.end = config, parameters, end
        self.embedding = parameters["embedding"]
        self.vocabulary_size = len(self.embedding)
        self.cell = make_cell(config).core
        self.decoder_weight = decoder_weight(parameters)
        self.decoder_bias = parameters["decoder.bias"]

    @cached_property
    def _layers(self) -> list[Mapping[str, npt.NDArray[Any]]]:
        """Each layer's arrays as the steps read them; made by the first step, since `InPlaceNetwork` has its own."""
        numbers = range(1, self.config.num_layers + 1)
        return [make_cell(self.config).derive(layer_parameters(self._parameters, layer)) for layer in numbers]

    def zero_state(self, lanes: int = 1) -> NetworkState:
        """Returns the state before the first character."""
        return tuple(self.cell.zero_state(p, lanes) for p in self._layers)

    def step(self, ids: npt.ArrayLike, state: NetworkState) -> tuple[Floats, NetworkState]:
        """Reads one character in each lane: `ids` (B,) -> logits of the next (B, V), new state.

        Weights too large to compute with give logits that are not finite, without a warning.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            state, _ = self.observe(ids, state)
            return self.decode(ids, state), state

    def observe(
        self, ids: npt.ArrayLike, state: NetworkState, change: Change = unchanged
    ) -> tuple[NetworkState, tuple[Gates, ...]]:
        """Reads one character in each lane and returns the new state and every layer's gates.

        Each layer's new state is what `change` makes of it; the layers above and the next step read that.
        Raises IndexError for an id that does not exist, ValueError where there is not one for each lane.
        """
        rows = np.asarray(ids, np.int32).view(np.uint32)  # -1 is no id, and not the last one either
        if len(rows) != len(state[0][0]):
            raise ValueError(f"{len(rows)} ids, the state has {len(state[0][0])} lanes")
        if self.end is not None and (rows == self.end).any():
            state = self._begun_anew(state, rows == self.end)
        below = [self.embedding[rows]]
        states, gates = [], []
        for layer, (p, layer_state) in enumerate(zip(self._layers, state, strict=True)):
            x = layer_input(self.config.skip, below)
            new_state, layer_gates = self.cell.advance(p, self.cell.prepare(p, x), layer_state)
            new_state = change(layer, new_state)
            states.append(new_state)
            gates.append(layer_gates)
            below.append(new_state[0])
        return tuple(states), tuple(gates)

    def _begun_anew(self, state: NetworkState, lanes: npt.NDArray[np.bool_]) -> NetworkState:
        """Returns the zero state in these lanes (B,), and `state` in the others."""
        chosen, zero = lanes[:, None], self.zero_state(len(lanes))
        return tuple(
            tuple(np.where(chosen, nought, array) for nought, array in zip(begun, layer, strict=True))
            for begun, layer in zip(zero, state, strict=True)
        )

    def decode(self, ids: npt.ArrayLike, state: NetworkState) -> Floats:
        """Returns the logits (B, V) of the next character, from the state after reading `ids` (B,)."""
        below = [self.embedding[np.asarray(ids)], *(layer[0] for layer in state)]
        x = decoder_input(self.config.skip, below)
        logits: Floats = x @ self.decoder_weight.T + self.decoder_bias
        return logits

    def record(self, ids: npt.ArrayLike, state: NetworkState) -> tuple[dict[str, Floats], NetworkState]:
        """Reads `ids` (T,) in one lane: what every unit did after each, by kind (T, L, H), and the new state."""
        ids = np.asarray(ids)
        names = (*self.cell.state_names, *self.cell.gate_names)
        shape = (len(ids), self.config.num_layers, self.config.hidden_size)
        taken = {name: np.empty(shape, np.float32) for name in names}
        with np.errstate(over="ignore", invalid="ignore"):
            for place, id_ in enumerate(ids.tolist()):
                state, gates = self.observe([id_], state)
                for layer, values in enumerate(zip(state, gates, strict=True)):
                    for name, value in zip(names, (*values[0], *values[1]), strict=True):
                        taken[name][place, layer] = value[0]
        return taken, state
