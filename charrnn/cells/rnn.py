"""The vanilla recurrent network.

    h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)

Elman 1990 (Cognitive Science 14(2)). It has no gates.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.arrays import Array, Arrays, tanh
from charrnn.cells.cell import Cell, Gates, State


class RNN(Cell):
    """Elman's network with tanh."""

    name = "rnn"
    state_names = ("h",)
    gate_names = ()

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """weight_ih (H, I), weight_hh (H, H), bias (H,)."""
        return {
            "weight_ih": (hidden_size, input_size),
            "weight_hh": (hidden_size, hidden_size),
            "bias": (hidden_size,),
        }

    def observe(self, p: Arrays, x: Array, state: State) -> tuple[State, Gates]:
        """((h_t,), ())."""
        (h,) = state
        return (tanh(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"]),), ()
