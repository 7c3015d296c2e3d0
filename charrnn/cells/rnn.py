"""The vanilla recurrent network.

    h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)

Elman 1990 (Cognitive Science 14(2)). It has no gates. With relu in the place of tanh, gradients do not vanish in the
units that are on; Le, Jaitly & Hinton 2015 (arXiv 1504.00941) start it with the identity as its recurrent matrix.

With modrelu a unit keeps its sign, and its size changes by a bias b of its own, which is trained and begins at 0, where
the network is linear:

    modrelu(a) = sign(a) * relu(|a| + b)

Arjovsky, Shah & Bengio 2016 (arXiv 1511.06464, eq. 8) for complex a; the real form is that of Helfrich, Willmott & Ye
2018 (arXiv 1707.09520) and of Lezcano-Casado & Martinez-Rubio 2019 (arXiv 1901.08428).
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.cells.arrays import Array, Arrays, relu, sign, tanh
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
        return (self._activate(p, prepared[0] + recurrent),), ()

    def _activate(self, p: Arrays, argument: Array) -> Array:
        return tanh(argument)


class ReluRNN(RNN):
    """Elman's network with rectified linear units, which have no upper bound."""

    def _activate(self, p: Arrays, argument: Array) -> Array:
        return relu(argument)


class ModReluRNN(RNN):
    """Elman's network with units that keep their sign, and have no bounds either."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """As an rnn's, and modrelu_bias (H,)."""
        return {**super().shapes(input_size, hidden_size), "modrelu_bias": (hidden_size,)}

    def _activate(self, p: Arrays, argument: Array) -> Array:
        return sign(argument) * relu(abs(argument) + p["modrelu_bias"])
