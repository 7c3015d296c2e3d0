"""Layer normalisation: products are brought to mean 0 and deviation 1 over the units, at every step and in every lane.

Ba, Kiros & Hinton 2016 (arXiv 1607.06450; lstm and gru in its supplement). With N(z) = (z - mean(z)) / deviation(z),
gains a and biases b:

    lstm    i, f, g, o = a_1 N(W_hh h_{t-1}) + a_2 N(W_ih x_t) + b
            h_t = sigmoid(o) * tanh(a_3 N(c_t) + b_3)                       (c itself is carried on as it is)
    gru     r, z = a_1 N(W_hh h_{t-1}) + a_2 N(W_ih x_t) + b                (over both gates together)
            n = tanh(a_3 N(W_in x_t) + b_in + r * (a_4 N(W_hn h_{t-1}) + b_hn))
    rnn     h_t = f(a N(W_hh h_{t-1} + W_ih x_t) + b)

N of an lstm's product is over all its gates together, as there. Their b_1 and b_2, which are only ever added to b, are
one with it. With coupled gates it is the same with fewer of them.

Shape letters: B lanes, H hidden size, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays, joined, normalised
from charrnn.cells.cell import PLAIN, Gates, Inside, State
from charrnn.cells.wrapper import Reading


@dataclass(frozen=True)
class LayerNormLSTM(Reading):
    """Around an lstm of any kind."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Its own, and gain_ih (R,), gain_hh (R,), gain_c (H,), bias_c (H,)."""
        shapes = self.inner.shapes(input_size, hidden_size)
        rows = shapes["weight_hh"][0]
        return {**shapes, "gain_ih": (rows,), "gain_hh": (rows,), "gain_c": (hidden_size,), "bias_c": (hidden_size,)}

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """The input's product, normalised, with the bias."""
        return (normalised(self.inner.project(p, x), p["gain_ih"]) + p[self.input_bias],)

    def recur(self, p: Arrays, prepared: tuple[Array, ...], h: Array) -> Array:
        """The recurrent product, normalised."""
        return normalised(self.inner.recur(p, prepared, h), p["gain_hh"])

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """The output sees the memory normalised."""
        seen = inside._replace(memory=lambda c: normalised(c, p["gain_c"]) + p["bias_c"])
        return self.inner.combine(p, prepared, recurrent, state, seen)


@dataclass(frozen=True)
class LayerNormGRU(Reading):
    """Around a gru."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Its own, and gain_ih (3H,), gain_hh (3H,): of r and z, then of n."""
        shapes = self.inner.shapes(input_size, hidden_size)
        rows = shapes["weight_hh"][0]
        return {**shapes, "gain_ih": (rows,), "gain_hh": (rows,)}

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """The input's products, normalised, with the bias."""
        return (_in_two(self.inner.project(p, x), p["gain_ih"]) + p[self.input_bias],)

    def recur(self, p: Arrays, prepared: tuple[Array, ...], h: Array) -> Array:
        """The recurrent products, normalised."""
        return _in_two(self.inner.recur(p, prepared, h), p["gain_hh"])


def _in_two(product: Array, gain: Array) -> Array:
    """The gates' two blocks are normalised together, the candidate's by itself."""
    cut = 2 * gain.shape[0] // 3
    return joined(normalised(product[..., :cut], gain[:cut]), normalised(product[..., cut:], gain[cut:]))


@dataclass(frozen=True)
class LayerNormRNN(Reading):
    """Around an rnn, whose two products are normalised as one."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Its own, and gain (H,)."""
        return {**self.inner.shapes(input_size, hidden_size), "gain": (hidden_size,)}

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """The input's product alone."""
        return (self.inner.project(p, x),)

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """From the normalised sum of both products."""
        together = normalised(prepared[0] + recurrent, p["gain"])
        return self.inner.combine(p, (together,), p[self.input_bias], state, inside)
