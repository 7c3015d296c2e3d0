"""Recurrence over time: a layer is a cell run along a window, a stack is layers with dropout between them.

Each layer runs in our own compiled recurrence (`fused/`) on a CPU, and in a single-layer kernel of torch elsewhere,
with explicit dropout between layers, never as one module of many layers: cuDNN's own dropout state cannot be saved, so
a run could not be resumed exactly. `Layer.loop` is the plain loop over the cell's step on the same parameters, the
reference the fused path is tested against. State goes in and comes out of every call and is kept nowhere.

Shape letters: T time, B lanes, I input size, H hidden size.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as gather

from charrnn.cells.cell import Cell, State
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.registry import PLAIN_CELLS
from charrnn.cells.rnn import RNN, ReluRNN
from charrnn.factors import Factor
from charrnn.fused.recurrence import Buffers, is_available, run_window
from charrnn.noise import mask_scale

_KERNELS: dict[type[Cell], Callable[[int, int], nn.RNNBase]] = {
    LSTM: nn.LSTM,
    GRU: nn.GRU,
    RNN: nn.RNN,
    ReluRNN: functools.partial(nn.RNN, nonlinearity="relu"),
}
_TWO_BIASES = {
    "weight_ih": "weight_ih_l0",
    "weight_hh": "weight_hh_l0",
    "bias_ih": "bias_ih_l0",
    "bias_hh": "bias_hh_l0",
}
# Where the cell has one bias, the kernel's second one stays at zero and is not trained.
_ONE_BIAS = {"weight_ih": "weight_ih_l0", "weight_hh": "weight_hh_l0", "bias": "bias_ih_l0"}


_LARGE = 1 << 19
"""Elements of a matrix from which on it pays to gather what makes up its gradient."""


class Layer(nn.Module):
    """A cell run along time."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = cell
        self._memory = Buffers()
        self.kernel = _KERNELS[type(cell)](input_size, hidden_size)
        self._names = _TWO_BIASES if "bias_hh" in cell.shapes(input_size, hidden_size) else _ONE_BIAS
        if self._names is _ONE_BIAS:
            nn.init.zeros_(self.kernel.get_parameter("bias_hh_l0").requires_grad_(False))

    def arrays(self) -> Mapping[str, nn.Parameter]:
        """The parameters under the cell's names for them."""
        return {name: getattr(self.kernel, inner) for name, inner in self._names.items()}

    def forward(
        self, x: Tensor, state: State, ids: Tensor | None = None, *, is_narrow: bool = False
    ) -> tuple[Tensor, State]:
        """The fused path: `x` (T, B, I) and the state before -> outputs (T, B, H) and the state after.

        With `ids` (T, B), `x` is the embedding (V, I) and its rows are the input. With `is_narrow` products are made
        of bfloat16 numbers, where `device.choose_precision` allows it.
        """
        if type(self.cell) in PLAIN_CELLS and is_available(x, *state):
            if ids is not None and len(x) > ids.numel():  # then not every character's product is needed
                x, ids = gather(ids, x), None
            return run_window(self.cell.name, self.arrays(), x, ids, state, self._memory, is_narrow=is_narrow)
        if ids is not None:
            x = gather(ids, x)
        packed = tuple(array.unsqueeze(0) for array in state)
        is_single = len(packed) == 1
        output, after = self.kernel(x, packed[0] if is_single else packed)
        return output, tuple(array.squeeze(0) for array in ((after,) if is_single else after))

    def loop(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The plain loop: the same as `forward`, a step at a time."""
        p = self.arrays()
        outputs = []
        for x_t in x:  # (B, I)
            state = self.cell.step(p, x_t, state)
            outputs.append(state[0])
        return torch.stack(outputs), state


class LoopedLayer(Layer):
    """A cell that no kernel knows, run along time a step at a time."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        nn.Module.__init__(self)
        self.cell = cell
        shapes = cell.shapes(input_size, hidden_size)
        self._memory = Buffers()
        self._own = nn.ParameterDict({name: nn.Parameter(torch.empty(shape)) for name, shape in shapes.items()})

    def arrays(self) -> Mapping[str, nn.Parameter]:
        """The parameters under the cell's names for them."""
        return dict(self._own.items())

    def forward(
        self,
        x: Tensor,
        state: State,
        ids: Tensor | None = None,
        *,
        noise: Sequence[Tensor] = (),
        is_narrow: bool = False,
    ) -> tuple[Tensor, State]:
        """As `Layer.forward`; `noise` (T, B, H) is what the cell takes in each step."""
        p: dict[str, Any] = dict(self.arrays())
        rest = self.cell.at_rest()
        if not noise and type(rest) in PLAIN_CELLS and is_available(x, *state):
            return run_window(rest.name, p, x, ids, state, self._memory, is_narrow=is_narrow)
        if torch.is_grad_enabled() and x.device.type == "cpu":
            p = {
                name: Factor(array, is_narrow=is_narrow) if array.dim() == 2 and array.numel() >= _LARGE else array
                for name, array in p.items()
            }
        if ids is not None and len(x) > ids.numel():  # then not every character's product is needed
            x, ids = gather(ids, x), None
        prepared = self.cell.prepare(p, x)
        if ids is not None:
            prepared = tuple(gather(ids, rows) for rows in prepared)
        drawn = (
            zip(*(mask.to(state[0].dtype).unbind() for mask in noise), strict=True) if noise else itertools.repeat(())
        )
        outputs = []
        # Cut up at once: a step's own cut would have a gradient as large as the window.
        for parts, drawn_now in zip(zip(*(part.unbind() for part in prepared), strict=True), drawn, strict=False):
            state, _ = self.cell.advance(p, parts, state, drawn_now)
            outputs.append(state[0])
        return torch.stack(outputs), state


StackState = tuple[State, ...]
"""One state a layer, from the first."""


class Stack(nn.Module):
    """Layers on each other; each one's output passes through dropout on its way up."""

    def __init__(self, cell: Cell, num_layers: int, input_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        sizes = [input_size, *[hidden_size] * (num_layers - 1)]
        kind = Layer if type(cell) in _KERNELS else LoopedLayer
        self.layers = nn.ModuleList(kind(cell, size, hidden_size) for size in sizes)
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        state: StackState,
        masks: Sequence[Tensor] = (),
        *,
        ids: Tensor | None = None,
        inside: Sequence[Sequence[Tensor]] = (),
        is_narrow: bool = False,
    ) -> tuple[Tensor, StackState]:
        """`x` (T, B, I), or with `ids` (T, B) the embedding (V, I) whose rows they are -> (T, B, H).

        `masks`, one (T, B, H) for each layer, says which outputs dropout keeps; without them it is off, as it is
        outside training. `inside` has, for each layer, what its cell takes of noise. `is_narrow`: see `Layer.forward`.
        """
        after = []
        for number, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            noise = {"noise": inside[number]} if inside else {}
            x, layer_after = layer(x, layer_state, ids, is_narrow=is_narrow, **noise)
            ids = None
            after.append(layer_after)
            if masks:
                x = drop(x, self.dropout, masks[number])
        return x, tuple(after)


def drop(x: Tensor, rate: float, mask: Tensor) -> Tensor:
    """Inverted dropout: `x` where `mask` is true, scaled so that the mean stays, and zero elsewhere."""
    return x * (mask.to(x.dtype) * mask_scale(rate))


def reset(state: StackState, kept: Tensor | None) -> StackState:
    """The state with the lanes set back to zero for which `kept` (B, 1) is zero.

    A model that is only ever trained on carried state may run away from the zero state for good (one in two hundred
    beginnings did, on tiny Shakespeare). Melis et al. 2020 (arXiv 1909.01792) reset with probability 0.01 as well.
    """
    if kept is None:
        return state
    return tuple(tuple(array * kept for array in layer) for layer in state)


def lanes_of(state: StackState, lanes: slice) -> StackState:
    """The state of some lanes, a view."""
    return tuple(tuple(array[lanes] for array in layer) for layer in state)
