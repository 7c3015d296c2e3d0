"""The vanilla recurrent network.

    h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)

Elman 1990 (Cognitive Science 14(2)). It has no gates. With relu in the place of tanh, gradients do not vanish in the
units that are on; Le, Jaitly & Hinton 2015 (arXiv 1504.00941) start it with the identity as its recurrent matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.arrays import Array, Arrays, relu, tanh
from charrnn.cells.cell import PLAIN, Cell, Gates, Inside, State


class RNN(Cell):
    """Elman's network with tanh."""

    name = "rnn"
    state_names = ("h",)
    gate_names = ()
    blocks = ("h",)

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """weight_ih (H, I), weight_hh (H, H), bias (H,)."""
        return {
            "weight_ih": (hidden_size, input_size),
            "weight_hh": (hidden_size, hidden_size),
            "bias": (hidden_size,),
        }

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """((h_t,), ())."""
        return (self._activate(prepared[0] + recurrent),), ()

    def _activate(self, argument: Array) -> Array:
        return tanh(argument)


class ReluRNN(RNN):
    """Elman's network with rectified linear units, which have no upper bound."""

    def _activate(self, argument: Array) -> Array:
        return relu(argument)
