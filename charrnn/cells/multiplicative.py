"""The character chooses the recurrent matrix.

    m_t = (W_mx x_t) * (W_mh h_{t-1})

and everything that multiplied h_{t-1} multiplies m_t instead: W_hh m_t. What is carried on (the gru's z * h_{t-1})
stays h. So W_hh diag(W_mx x_t) W_mh is the recurrent matrix, another one for every character.

Sutskever, Martens & Hinton 2011 (ICML, "Generating text with recurrent neural networks") for the rnn; Krause, Murray,
Renals & Lu 2016 (arXiv 1609.07959, eq. 17 to 21) for the lstm, here with the lstm's own candidate tanh(g) and output
o * tanh(c), as in the code they published; the gru in the same way.

Shape letters: I input size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays
from charrnn.cells.cell import Prepared, Shape
from charrnn.cells.wrapper import Need, Wrapper, has_matrix


@dataclass(frozen=True)
class Multiplicative(Wrapper):
    """Multiplies the state by a product of the input before the cell inside, normalised or not, reads it."""

    needs = (Need("multiplicative", has_matrix, "the recurrent matrix of each character would not be unitary"),)
    words = ("multiplicative states",)
    held = ()

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the inner cell's, and weight_mx (H, I), weight_mh (H, H)."""
        own = {"weight_mx": (hidden_size, input_size), "weight_mh": (hidden_size, hidden_size)}
        return {**self.inner.shapes(input_size, hidden_size), **own}

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns what the inner cell prepares, and last W_mx x (..., H)."""
        return (*self.inner.prepare(p, x), x @ p["weight_mx"].T)

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns the recurrent product with m in the place of h."""
        *others, factor = prepared
        return self.inner.recur(p, tuple(others), factor * (h @ p["weight_mh"].T))
