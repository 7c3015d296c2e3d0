"""Recurrence over time: a layer is a cell run along a window, a stack is layers with dropout between them.

Each layer runs in charrnn's own compiled recurrence (`compiled_layer.py`) on a CPU, and in a single-layer kernel of
torch elsewhere, with explicit dropout between layers, never as one module of many layers: cuDNN's own dropout state
cannot be saved, so a run could not be resumed exactly. State goes in and comes out of every call and is kept nowhere.

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
from charrnn.cells.parameters import is_trained
from charrnn.cells.wiring import decoder_input, input_sizes, layer_input, needs_embedding
from charrnn.network.batch_statistics import Measured
from charrnn.network.compiled_layer import Buffers, is_available, run_window
from charrnn.network.deferred_gradient import Factor
from charrnn.network.jacobian_penalty import Keeper
from charrnn.network.noise import QUIET, Noise, mask_scale
from charrnn.network.starts import Packed, Starts, zeroed
from charrnn.settings.config import ModelConfig

_MODULES: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": functools.partial(nn.RNN, nonlinearity="relu"),
}
"""The module of each function that a cell may name as its kernel."""
_TWO_BIASES = {name: f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
# Where the cell has one bias, the kernel's second one stays at zero and is not trained.
_ONE_BIAS = {"weight_ih": "weight_ih_l0", "weight_hh": "weight_hh_l0", "bias": "bias_ih_l0"}


_LARGE = 1 << 19
"""A matrix of so many elements or more is large: it pays to gather what makes up its gradient."""


class Layer(nn.Module):
    """A cell run along time: by compiled code that knows it, else a step at a time."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = cell
        self._memory = Buffers()
        self._make(cell.shapes(input_size, hidden_size))

    def _make(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes room for parameters of these shapes."""
        self._own = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(shape), requires_grad=is_trained(name)) for name, shape in shapes.items()}
        )

    def arrays(self) -> Mapping[str, nn.Parameter]:
        """Returns the parameters under the cell's names for them."""
        return dict(self._own.items())

    def forward(
        self,
        x: Tensor,
        state: State,
        ids: Tensor | None = None,
        *,
        starts: Starts | None = None,
        noise: Sequence[Tensor] = (),
        measured: Mapping[str, Measured] | None = None,
        is_narrow: bool = False,
        factors: Tensor | None = None,
        is_stepwise: bool = False,
    ) -> tuple[Tensor, State]:
        """Reads `x` (T, B, I) from `state` on: returns outputs (T, B, H) and the state after.

        With `ids` (T, B), `x` is the embedding (V, I) and its rows are the input. `starts` says where lanes begin anew.
        `noise` (T, B, H) is what the cell takes in each step, `measured` stands for arrays. With `is_narrow` products
        are made of bfloat16 numbers, where `precision.choose_precision` allows it. `factors` multiply the recurrent
        matrix. With `is_stepwise` a step at a time is computed by operations that can be differentiated twice.
        """
        core, p = self.cell.core, self.cell.derive({**self.arrays(), **(measured or {})})
        if factors is not None:
            p = {**p, "weight_hh": p["weight_hh"] * factors}
        running = core if noise else core.at_rest()
        if ids is not None and len(x) > ids.numel():  # then not every character's product is needed
            x, ids = gather(ids, x), None
        if is_stepwise:
            outputs, state = self._loop(p, core.zero_state(p, len(state[0])), x, state, ids, starts, noise)
            return _Stacked.apply(*outputs), state  # type: ignore[no-untyped-call]
        if running.compiled and is_available(x, *state):
            begun = None if starts is None else starts.mask
            return run_window(running.compiled, p, x, ids, state, self._memory, starts=begun, is_narrow=is_narrow)
        return self._run(p, x, state, ids, starts, noise, is_narrow)

    def _run(
        self, p: Mapping[str, Any], x: Tensor, state: State, ids: Tensor | None, starts: Starts | None,
        noise: Sequence[Tensor], narrow: bool,
    ) -> tuple[Tensor, State]:  # fmt: skip
        """Computes what `forward` gives where no compiled code does."""
        zero = self.cell.core.zero_state(p, len(state[0]))
        if torch.is_grad_enabled() and x.device.type == "cpu":
            large = [name for name, array in p.items() if isinstance(array, Tensor) and array.dim() == 2]
            p = {**p, **{name: Factor(p[name], is_narrow=narrow) for name in large if p[name].numel() >= _LARGE}}
        outputs, state = self._loop(p, zero, x, state, ids, starts, noise)
        return torch.stack(outputs), state

    def _loop(
        self, p: Mapping[str, Any], zero: State, x: Tensor, state: State, ids: Tensor | None, starts: Starts | None,
        noise: Sequence[Tensor],
    ) -> tuple[list[Tensor], State]:  # fmt: skip
        """Runs the cell a step at a time: returns the output (B, H) of each, and the state after."""
        core = self.cell.core
        prepared = core.prepare(p, x)
        if ids is not None:
            prepared = tuple(gather(ids, rows) for rows in prepared)
        drawn = (
            zip(*(mask.to(state[0].dtype).unbind() for mask in noise), strict=True) if noise else itertools.repeat(())
        )
        begins = itertools.repeat(None) if starts is None else starts.mask.unbind()
        outputs = []
        # Cut up at once: a step's own cut would have a gradient as large as the window.
        steps = zip(*(part.unbind() for part in prepared), strict=True)
        for parts, drawn_now, begun in zip(steps, drawn, begins, strict=False):
            if begun is not None:
                state = zeroed(state, begun, zero)
            state, _ = core.advance(p, parts, state, drawn_now)
            outputs.append(state[0])
        return outputs, state


class _Stacked(torch.autograd.Function):
    """torch.stack, of which the second derivative costs no more than the first: torch's own makes a window a step."""

    @staticmethod
    def forward(_ctx: Any, *arrays: Tensor) -> Tensor:
        return torch.stack(arrays)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient.unbind()


class KernelLayer(Layer):
    """A cell that torch has a kernel for, which runs where charrnn's compiled code does not."""

    def _make(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        function, (hidden_size, input_size) = str(self.cell.core.kernel), shapes["weight_ih"]
        hidden_size //= len(self.cell.blocks)
        self.kernel = _MODULES[function](input_size, hidden_size)
        self._function = getattr(torch, function)
        self._names = _TWO_BIASES if "bias_hh" in shapes else _ONE_BIAS
        # The same, under the names of what is trained.
        self._places = dict(zip(shapes, self._names.values(), strict=True))
        if self._names is _ONE_BIAS:
            nn.init.zeros_(self.kernel.get_parameter("bias_hh_l0").requires_grad_(False))

    def arrays(self) -> Mapping[str, nn.Parameter]:
        """Returns the parameters under the cell's names for them."""
        return {name: getattr(self.kernel, inner) for name, inner in self._places.items()}

    def _run(
        self, p: Mapping[str, Any], x: Tensor, state: State, ids: Tensor | None, starts: Starts | None,
        noise: Sequence[Tensor], narrow: bool,
    ) -> tuple[Tensor, State]:  # fmt: skip
        packed = None
        if starts is not None:
            if x.device.type != "cuda":  # where kernels gain little, and a lane's numbers stay those of the lane alone
                return super()._run(p, x, state, ids, starts, noise, narrow)
            packed = starts.packed if len(starts) > 1 else None  # a single step may be recorded, and must not ask
            if packed is None:
                state = zeroed(state, starts.mask[0], self.cell.core.zero_state(p, len(state[0])))
        return self.run_kernel(p, x if ids is None else gather(ids, x), state, packed)

    def run_kernel(
        self, p: Mapping[str, Any], x: Tensor, state: State, packed: Packed | None = None
    ) -> tuple[Tensor, State]:
        """Runs torch's kernel over `x` (T, B, I), in one piece or cut where lanes begin anew inside the window."""
        if packed is not None:
            x, state = packed.rows(x), tuple(packed.before(array) for array in state)
        sizes = () if packed is None else (packed.sizes,)
        before = tuple(array.unsqueeze(0) for array in state)
        weights = self.kernel._flat_weights if p["weight_hh"] is self.kernel.weight_hh_l0 else self._beside(p)
        options = True, 1, 0.0, self.kernel.training, False
        output, *after = self._function(
            x, *sizes, before if len(before) > 1 else before[0], weights, *options, *(() if sizes else (False,))
        )
        after = [array.squeeze(0) for array in after]
        if packed is None:
            return output, tuple(after)
        return packed.window(output), tuple(packed.after(array) for array in after)

    def _beside(self, p: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns other weights than the kernel's own, side by side in memory, as cuDNN wants them."""
        own = {inner: p[name] for name, inner in self._names.items()}
        weights = [own.get(name, self.kernel.get_parameter(name)) for name in _TWO_BIASES.values()]
        flat = torch.split(torch.cat([weight.flatten() for weight in weights]), [weight.numel() for weight in weights])
        return [piece.view_as(weight) for piece, weight in zip(flat, weights, strict=True)]


StackState = tuple[State, ...]
"""One state a layer, from the first."""


class Stack(nn.Module):
    """Layers on each other. Each output passes through dropout on its way up, and past layers as `wiring.py` says."""

    def __init__(self, cell: Cell, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kind = Layer if cell.core.kernel is None else KernelLayer
        self.layers = nn.ModuleList(kind(cell, size, config.hidden_size) for size in input_sizes(config)[:-1])

    def forward(
        self,
        x: Tensor,
        state: StackState,
        noise: Noise = QUIET,
        *,
        ids: Tensor | None = None,
        starts: Starts | None = None,
        is_narrow: bool = False,
        is_stepwise: bool = False,
        keeper: Keeper | None = None,
    ) -> tuple[Tensor, Tensor, StackState]:
        """Reads `x` (T, B, E), or with `ids` (T, B) the rows that they name of the embedding `x` (V, E).

        Returns what the decoder reads, the last layer's output (T, B, H) before any dropout, and the state after.
        `noise` says what is dropped. `starts`, `is_narrow` and `is_stepwise`: see `Layer.forward`. `keeper` stands
        behind each layer.
        """
        config, after, last = self.config, [], x
        embedded = gather(ids, x) if ids is not None and needs_embedding(config) else x
        below: list[Tensor | None] = [embedded if ids is None or needs_embedding(config) else None]
        for number, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            if number:
                x, ids = layer_input(config.skip, below), None
            kept = noise.inputs[number] if noise.inputs else None
            if kept is not None:
                x, ids = (x if ids is None else gather(ids, x)) * kept, None
            factors = noise.recurrent[number] if noise.recurrent else None
            inside = noise.inside[number] if noise.inside else ()
            measured = noise.measured[number] if noise.measured else None
            x, layer_after = layer(
                x, layer_state, ids, starts=starts, noise=inside, measured=measured, is_narrow=is_narrow,
                factors=factors, is_stepwise=is_stepwise,
            )  # fmt: skip
            after.append(layer_after)
            if keeper is not None:
                assert isinstance(layer, Layer)
                matrix = layer.arrays()["weight_hh"]
                x = keeper(x, matrix if factors is None else matrix * factors, starts)
            last = x
            below.append(drop(x, config.dropout, noise.masks[number]) if noise.masks else x)
        x = decoder_input(config.skip, below)
        kept = noise.inputs[-1] if noise.inputs else None
        return x if kept is None else x * kept, last, tuple(after)


def drop(x: Tensor, rate: float, mask: Tensor) -> Tensor:
    """Applies inverted dropout: `x` where `mask` is true, scaled so that the mean stays, and zero elsewhere."""
    return x * (mask.to(x.dtype) * mask_scale(rate))


def reset(state: StackState, kept: Tensor | None) -> StackState:
    """Sets the state of those lanes back to zero for which `kept` (B, 1) is zero.

    A model that is only ever trained on carried state may run away from the zero state for good (one in two hundred
    beginnings did, on tiny Shakespeare). Melis et al. 2020 (arXiv 1909.01792) reset with probability 0.01 as well.
    """
    if kept is None:
        return state
    return tuple(tuple(array * kept for array in layer) for layer in state)


def lanes_of(state: StackState, lanes: slice) -> StackState:
    """Returns the state of some lanes, as a view."""
    return tuple(tuple(array[lanes] for array in layer) for layer in state)
