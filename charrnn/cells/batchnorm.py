"""Batch normalisation: each product is brought to mean 0 and deviation 1 over the lanes, at every step.

Cooijmans, Ballas, Laurent, Gulcehre & Courville 2016 (arXiv 1603.09025, eq. 6 to 8, for the lstm). With BN(z; a) =
a (z - mean(z)) / deviation(z), gains a that begin at 0.1 (their section 4) and biases b:

    lstm    i, f, g, o = BN(W_hh h_{t-1}; a_1) + BN(W_ih x_t; a_2) + b
            h_t = sigmoid(o) * tanh(BN(c_t; a_3) + b_3)                     (c itself is carried on as it is)
    gru     r, z = BN(W_hh h_{t-1}; a_1) + BN(W_ih x_t; a_2) + b
            n = tanh(BN(W_in x_t; a_2) + b_in + r * (BN(W_hn h_{t-1}; a_1) + b_hn))
    rnn     h_t = f(BN(W_hh h_{t-1} + W_ih x_t; a) + b)

gru and rnn as in `layernorm.py`; each unit has its own mean, so nothing here is "over both gates together".

In training mean and variance are those of the lanes at each step (`network/batch_statistics.py`, which stands in the
place of the array). Outside training they are running averages, one mean and one variance for each product, arrays of
the layout that gradients do not move. The paper keeps one pair for each step of its sequences, since they begin at step
1 and the first steps differ. Here the state is carried on from window to window: no step of a window is its first,
every one is like another, and what the paper sees its statistics settle to is all there is.

Shape letters: B lanes, H hidden size, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays, batch_normalised
from charrnn.cells.cell import PLAIN, Gates, Inside, State
from charrnn.cells.wrapper import Reading


@dataclass(frozen=True)
class _BatchNormGates(Reading):
    """Around a cell whose two products are normalised one by one."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Its own, and gain_ih (R,), gain_hh (R,), statistics_ih (2, R), statistics_hh (2, R): mean and variance."""
        shapes = self.inner.shapes(input_size, hidden_size)
        rows = shapes["weight_hh"][0]
        gains = {"gain_ih": (rows,), "gain_hh": (rows,)}
        return {**shapes, **gains, "statistics_ih": (2, rows), "statistics_hh": (2, rows)}

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """The input's product alone: which lanes read it is known only step by step."""
        return (self.inner.project(p, x),)

    def recur(self, p: Arrays, prepared: tuple[Array, ...], h: Array) -> Array:
        """The recurrent product, normalised."""
        return batch_normalised(self.inner.recur(p, prepared, h), p["statistics_hh"], p["gain_hh"])

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """From the input's product, normalised, with the bias."""
        product = batch_normalised(prepared[0], p["statistics_ih"], p["gain_ih"]) + p[self.input_bias]
        return self.inner.combine(p, (product,), recurrent, state, inside)


@dataclass(frozen=True)
class BatchNormLSTM(_BatchNormGates):
    """Around an lstm of any kind."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Of both products, and gain_c (H,), bias_c (H,), statistics_c (2, H)."""
        own = {"gain_c": (hidden_size,), "bias_c": (hidden_size,), "statistics_c": (2, hidden_size)}
        return {**super().shapes(input_size, hidden_size), **own}

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """The output sees the memory normalised."""
        seen = inside._replace(memory=lambda c: batch_normalised(c, p["statistics_c"], p["gain_c"]) + p["bias_c"])
        return super().combine(p, prepared, recurrent, state, seen)


@dataclass(frozen=True)
class BatchNormGRU(_BatchNormGates):
    """Around a gru."""


@dataclass(frozen=True)
class BatchNormRNN(Reading):
    """Around an rnn, whose two products are normalised as one."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Its own, and gain (H,), statistics (2, H): mean and variance."""
        own = {"gain": (hidden_size,), "statistics": (2, hidden_size)}
        return {**self.inner.shapes(input_size, hidden_size), **own}

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """The input's product alone."""
        return (self.inner.project(p, x),)

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """From the normalised sum of both products."""
        together = batch_normalised(prepared[0] + recurrent, p["statistics"], p["gain"])
        return self.inner.combine(p, (together,), p[self.input_bias], state, inside)
