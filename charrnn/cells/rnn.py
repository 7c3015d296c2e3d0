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
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays, relu, sign, tanh
from charrnn.cells.cell import PLAIN, Cell, Inside, Prepared, Shape, State, Step


@dataclass(frozen=True)
class RNN(Cell):
    """Elman's network with tanh, relu or modrelu; the last two have no bounds."""

    activation: str = "tanh"

    name = "rnn"
    is_elman = True
    own_settings = (("activation", "its equations have one of their own"),)

    def __post_init__(self) -> None:
        if self.activation == "tanh":
            self._declare(kernel="rnn_tanh", compiled="rnn")
            return
        self._declare(unbounded=("h",), words=(self.activation,))
        if self.activation == "relu":
            self._declare(kernel="rnn_relu", lowest=0.0)
        else:
            self._declare(keeps_lengths=True)

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns weight_ih (H, I), weight_hh (H, H), bias (H,); with modrelu also modrelu_bias (H,)."""
        own = {"modrelu_bias": (hidden_size,)} if self.activation == "modrelu" else {}
        return {**super().shapes(input_size, hidden_size), **own}

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns ((h_t,), ())."""
        argument = prepared[0] + recurrent
        if self.activation == "modrelu":
            return (sign(argument) * relu(abs(argument) + p["modrelu_bias"]),), ()
        return ((tanh if self.activation == "tanh" else relu)(argument),), ()
