"""Long short-term memory with a forget gate.

    i, f, g, o = W_ih x_t + W_hh h_{t-1} + b     (blocks of H rows in this order)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Hochreiter & Schmidhuber 1997 (Neural Computation 9(8)) with the forget gate of Gers, Schmidhuber & Cummins 2000
(Neural Computation 12(10), eq. 3.1); no peepholes. The blocks stand in torch.nn.LSTM's order. torch has two bias
vectors that are only ever added; here they are one.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.arrays import Array, Arrays, sigmoid, split, tanh
from charrnn.cells.cell import Cell, Gates, State


class LSTM(Cell):
    """LSTM with a forget gate."""

    name = "lstm"
    state_names = ("h", "c")
    gate_names = ("i", "f", "g", "o")

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """weight_ih (4H, I), weight_hh (4H, H), bias (4H,)."""
        rows = 4 * hidden_size
        return {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias": (rows,)}

    def observe(self, p: Arrays, x: Array, state: State) -> tuple[State, Gates]:
        """((h_t, c_t), (i, f, g, o)): i, f, o in (0, 1), the candidate g in (-1, 1)."""
        h, c = state
        i, f, g, o = split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 4)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = f * c + i * g
        return (o * tanh(c), c), (i, f, g, o)
