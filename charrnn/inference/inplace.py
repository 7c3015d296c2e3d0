"""The plain cells stepped in numpy without allocating: what serves where there is no compiled step.

For lstm, gru and rnn. The first layer's input product is a row of a table (embedding times input matrix, biases added);
each layer is one matrix-vector product over input and state together, for several lanes one matrix product; everything
goes into buffers made once. The gates' sigmoid is a tanh of half the argument, and the half is already in the weights
(exactly, as a power of two), so one call serves a layer's gates.

What it computes is `reference.py`'s, and is tested against it.

Shape letters: B lanes, V vocabulary, E embedding size, H hidden size, G gates, K inputs of a layer's product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import forget, layer_parameters
from charrnn.inference.engine import Floats, Walk, is_small_table
from charrnn.inference.reference import Network, NetworkState
from charrnn.settings.config import ModelConfig

_HALF = np.float32(0.5)


def _step_lstm(gates: Floats, h: Floats, c: Floats, scratch: Floats, H: int, _late: Floats | None) -> None:
    np.tanh(gates, out=gates)
    sigmoids = gates[:, : 3 * H]
    sigmoids *= _HALF
    sigmoids += _HALF
    c *= gates[:, H : 2 * H]
    np.multiply(gates[:, :H], gates[:, 3 * H :], out=scratch)
    c += scratch
    np.tanh(c, out=h)
    h *= gates[:, 2 * H : 3 * H]


def _step_gru(gates: Floats, h: Floats, _c: Floats, scratch: Floats, H: int, _late: Floats | None) -> None:
    sigmoids = gates[:, : 2 * H]
    np.tanh(sigmoids, out=sigmoids)
    sigmoids *= _HALF
    sigmoids += _HALF
    np.multiply(gates[:, :H], gates[:, 3 * H :], out=scratch)
    scratch += gates[:, 2 * H : 3 * H]
    np.tanh(scratch, out=scratch)
    h -= scratch
    h *= gates[:, H : 2 * H]
    h += scratch


def _step_gru_before(gates: Floats, h: Floats, _c: Floats, scratch: Floats, H: int, late: Floats | None) -> None:
    assert late is not None
    sigmoids, candidate, product = gates[:, : 2 * H], gates[:, 2 * H :], gates[:, :H]
    np.tanh(sigmoids, out=sigmoids)
    sigmoids *= _HALF
    sigmoids += _HALF
    np.multiply(gates[:, :H], h, out=scratch)
    _multiply(scratch, late, product)  # in the place of the reset gate, which nothing reads again
    candidate += product
    np.tanh(candidate, out=candidate)
    h -= candidate
    h *= gates[:, H : 2 * H]
    h += candidate


def _step_rnn(gates: Floats, h: Floats, _c: Floats, _scratch: Floats, _H: int, _late: Floats | None) -> None:
    np.tanh(gates, out=h)


class _Arrangement(NamedTuple):
    """How a layer's product is made of a cell's blocks of H rows, and what is done with it.

    Gates with a sigmoid come first, so that they lie side by side. The gru's candidate is kept in two parts, from the
    input and from the state, since the reset gate stands between them. Where the gate acts before the product, the
    last block is the candidate without it.
    """

    blocks: tuple[tuple[int | None, int | None], ...]
    """For each block of the product, the block of the input matrix and that of the recurrent matrix."""
    sigmoids: int
    activate: Callable[[Floats, Floats, Floats, Floats, int, Floats | None], None]
    late: int | None = None
    """The block of the recurrent matrix whose product waits for a gate, so that `activate` makes it."""


_ARRANGEMENTS = {
    "lstm": _Arrangement(((0, 0), (1, 1), (3, 3), (2, 2)), 3, _step_lstm),  # i f o g
    "gru": _Arrangement(((0, 0), (1, 1), (2, None), (None, 2)), 2, _step_gru),  # r z n n
    "gru, reset before": _Arrangement(((0, 0), (1, 1), (2, None)), 2, _step_gru_before, late=2),  # r z n
    "rnn": _Arrangement(((0, 0),), 0, _step_rnn),
}
"""How each cell's product is arranged, by the name that the cell gives as `compiled`."""


def _arranged(arrangement: _Arrangement, matrix: Floats, side: int, out: Floats) -> None:
    """Writes the cell's blocks of rows of `matrix` into `out` in the product's order; `side` 0 is the input's."""
    blocks = arrangement.blocks
    H = len(out) // len(blocks)
    out[:] = 0
    for place, pair in enumerate(blocks):
        source = pair[side]
        if source is not None:
            out[place * H : (place + 1) * H] = matrix[source * H : (source + 1) * H]
    out[: arrangement.sigmoids * H] *= _HALF


class _LayerProduct:
    """One layer's product: matrix (R, K) over [input; state], and the biases (R,), in blocks of H rows.

    The first layer's matrix is over the state alone; its input matrix (R, E) is kept apart.
    """

    def __init__(self, arrangement: _Arrangement, p: Mapping[str, Any], *, is_first: bool) -> None:
        H, inputs = p["weight_hh"].shape[1], p["weight_ih"].shape[1]
        rows = len(arrangement.blocks) * H
        self.matrix = np.empty((rows, H if is_first else inputs + H), np.float32)
        self.weight_ih = np.empty((rows, inputs), np.float32) if is_first else self.matrix[:, :inputs]
        _arranged(arrangement, p["weight_ih"], 0, self.weight_ih)
        _arranged(arrangement, p["weight_hh"], 1, self.matrix[:, -H:])
        self.bias, recurrent = np.empty(rows, np.float32), np.empty(rows, np.float32)
        _arranged(arrangement, p["bias_ih" if "bias_hh" in p else "bias"], 0, self.bias)
        if "bias_hh" in p:
            _arranged(arrangement, p["bias_hh"], 1, recurrent)
            self.bias += recurrent
        self.late: Floats | None = None
        if arrangement.late is not None:
            rows = arrangement.late * H
            self.late = p["weight_hh"][rows : rows + H].astype(np.float32)
            self.bias[-H:] += p["bias_hh"][rows : rows + H]


class InPlaceNetwork(Network):
    """Embedding, layers and decoder over numpy arrays, with buffers that are made once for a walk.

    The layers' own arrays are let go where they can be read again, which `record` and `observe` do: they step as the
    reference does.
    """

    def __init__(
        self, config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], *, end: int | None = None
    ) -> None:
        super().__init__(config, parameters, end=end)
        self.table: Floats | None = None
        self.arrangement = _ARRANGEMENTS[str(self.cell.at_rest().compiled)]
        with np.errstate(over="ignore", invalid="ignore"):  # as in `step`
            self.products: list[_LayerProduct] = []
            for layer in range(1, config.num_layers + 1):
                arrays = layer_parameters(parameters, layer)
                self.products.append(_LayerProduct(self.arrangement, arrays, is_first=layer == 1))
                for name in arrays:  # so that not all matrices are held twice
                    forget(parameters, f"layers.{layer}.{name}")
            del arrays
            first, embedding = self.products[0], parameters["embedding"]
            size = 4 * len(embedding) * len(first.bias)
            if is_small_table(size, sum(product.matrix.nbytes for product in self.products)):
                self.table = embedding @ first.weight_ih.T + first.bias

    def zero_state(self, lanes: int = 1) -> NetworkState:
        """Returns the state before the first character."""
        shape, arrays = (lanes, self.config.hidden_size), len(self.cell.state_names)
        return tuple(tuple(np.zeros(shape, np.float32) for _ in range(arrays)) for _ in self.products)

    def first_input(self, ids: npt.NDArray[Any]) -> Floats:
        """Returns what the input adds to the first layer's product, biases included: (B, R)."""
        first, table = self.products[0], self.table
        product: Floats = self.embedding[ids] @ first.weight_ih.T + first.bias if table is None else table[ids]
        return product

    def step(self, ids: npt.ArrayLike, state: NetworkState) -> tuple[Floats, NetworkState]:
        """Reads one character in each lane: `ids` (B,) -> logits of the next (B, V), new state."""
        walk = self.walk(state)
        return walk.step(ids), walk.state()

    def walk(self, state: NetworkState) -> _InPlaceWalk:
        """Returns what takes steps from `state` on, in buffers of its own."""
        return _InPlaceWalk(self, state)


class _InPlaceWalk(Walk):
    """Steps of B lanes in buffers of their own."""

    def __init__(self, network: InPlaceNetwork, state: NetworkState) -> None:
        self._network, self._activate = network, network.arrangement.activate
        B, H = state[0][0].shape
        self._hidden_size = H
        decoder = network.decoder_weight
        self._logits = np.empty((B, len(decoder)), np.float32)
        self._scratch = np.empty((B, H), np.float32)
        self._inputs: list[Floats] = []  # (B, K): what a layer's matrix multiplies; the state's h is its last H columns
        self._gates: list[Floats] = []  # (B, R)
        self._cells: list[Floats] = []
        self._has_memory = len(state[0]) > 1
        for layer, (product, layer_state) in enumerate(zip(network.products, state, strict=True)):
            both = np.zeros((B, H if layer == 0 else 2 * H), np.float32)
            both[:, -H:] = layer_state[0]
            self._inputs.append(both)
            self._gates.append(np.empty((B, len(product.matrix)), np.float32))
            self._cells.append(layer_state[1].copy() if self._has_memory else self._scratch)

    def step(self, ids: npt.ArrayLike) -> Floats:
        """Reads one character in each lane (B,): logits (B, V) of the next, good until the next call."""
        network, H = self._network, self._hidden_size
        rows = np.asarray(ids, np.int32).view(np.uint32)  # so that -1 is out of range, and not the last
        if len(rows) != len(self._logits):
            raise ValueError(f"{len(rows)} ids, the state has {len(self._logits)} lanes")
        if network.end is not None:
            self._begin_anew(rows == network.end)
        # Weights too large to compute with give logits that are not finite, without a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            for layer, product in enumerate(network.products):
                both, gates = self._inputs[layer], self._gates[layer]
                h = both[:, -H:]
                _multiply(both, product.matrix, gates)
                gates += network.first_input(rows) if layer == 0 else product.bias
                self._activate(gates, h, self._cells[layer], self._scratch, H, product.late)
                if layer + 1 < len(network.products):
                    self._inputs[layer + 1][:, :H] = h
            _multiply(self._inputs[-1][:, -H:], network.decoder_weight, self._logits)
            self._logits += network.decoder_bias
        return self._logits

    def _begin_anew(self, lanes: npt.NDArray[np.bool_]) -> None:
        """Sets the state of these lanes (B,) to zeros."""
        if lanes.any():
            for both, cells in zip(self._inputs, self._cells, strict=True):
                both[lanes, -self._hidden_size :] = 0
                cells[lanes] = 0

    def state(self) -> NetworkState:
        """Returns the state as it is now, a value."""
        H = self._hidden_size
        hidden = [both[:, -H:].copy() for both in self._inputs]
        if not self._has_memory:
            return tuple((h,) for h in hidden)
        return tuple((h, c.copy()) for h, c in zip(hidden, self._cells, strict=True))


def _multiply(x: Floats, matrix: Floats, out: Floats) -> None:
    """Writes x (B, K) times the matrix (R, K) into `out` (B, R); for one lane as a matrix-vector product."""
    if len(x) == 1:
        np.dot(matrix, x[0], out=out[0])
    else:
        np.matmul(x, matrix.T, out=out)
