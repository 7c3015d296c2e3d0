"""Layer and batch normalisation: products are brought to mean 0 and deviation 1 at every step.

Layer normalisation does it over the units, in every lane by itself (Ba, Kiros & Hinton 2016, arXiv 1607.06450; lstm and
gru in its supplement), batch normalisation over the lanes, for every unit by itself (Cooijmans, Ballas, Laurent,
Gulcehre & Courville 2016, arXiv 1603.09025, eq. 6 to 8, for the lstm). With N(z; a) = a (z - mean(z)) / deviation(z),
gains a and biases b:

    lstm    i, f, g, o = N(W_hh h_{t-1}; a_1) + N(W_ih x_t; a_2) + b
            h_t = sigmoid(o) * tanh(N(c_t; a_3) + b_3)                       (c itself is carried on as it is)
    gru     r, z = N(W_hh h_{t-1}; a_1) + N(W_ih x_t; a_2) + b
            n = tanh(N(W_in x_t; a_3) + b_in + r * (N(W_hn h_{t-1}; a_4) + b_hn))
    rnn     h_t = f(N(W_hh h_{t-1} + W_ih x_t; a) + b)

With layer normalisation N of a product is over all gates together, as there; the gru's candidate, whose products the
reset gate keeps apart, is normalised by itself. Their b_1 and b_2, which are only ever added to b, are one with it.
With coupled gates it is the same with fewer of them.

Gains begin at 1, those of a batch normalisation at 0.1, so that tanh is not saturated from the start (Cooijmans et al.
2016, section 4); running statistics begin with mean 0 and variance 1.

In training a batch normalisation's mean and variance are those of the lanes at each step
(`network/batch_statistics.py`, which stands in the place of the array). Outside training they are running averages, one
mean and one variance for each product, arrays of the layout that gradients do not move. The paper keeps one pair for
each step of its sequences, since they begin at step 1 and the first steps differ. Here the state is carried on from
window to window: no step of a window is its first, every one is like another, and what the paper sees its statistics
settle to is all there is.

Shape letters: B lanes, H hidden size, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charrnn.cells.arrays import Array, Arrays, batch_normalised, joined, normalised
from charrnn.cells.cell import PLAIN, Inside, Numbers, Prepared, RandomSource, Shape, State, Step
from charrnn.cells.wrapper import Need, Wrapper, has_matrix, has_memory
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig

_REASON = "what is normalised does not keep its length, and the unitary matrix is there for that"


@dataclass(frozen=True)
class LayerNorm(Wrapper):
    """Normalises the products of the cell inside over the units, in each lane by itself."""

    needs = (Need("layer_norm", has_matrix, _REASON),)
    words = ("layer norm",)
    held = ()
    keeps_lengths = False

    _gain = 1.0
    _is_ahead = True
    """Whether the input's product can be normalised before the steps."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the inner cell's, gain_ih and gain_hh (R,), or gain (H,) of a sum; with c gain_c and bias_c (H,)."""
        shapes = self.inner.shapes(input_size, hidden_size)
        rows = shapes["weight_hh"][0]
        own = self._arrays(("",) if self.is_elman else ("_ih", "_hh"), rows)
        if has_memory(self):
            own |= {"gain_c": (hidden_size,), "bias_c": (hidden_size,), **self._arrays(("_c",), hidden_size)}
        return {**shapes, **own}

    def _arrays(self, products: tuple[str, ...], size: int) -> dict[str, Shape]:
        return {f"gain{product}": (size,) for product in products}

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Returns the first gains, as said above."""
        return (
            np.full(shape, self._gain) if name.startswith("gain") else self.inner.initial(name, shape, config, source)
        )

    def _normal(self, p: Arrays, x: Array, product: str) -> Array:
        """Returns N of the product "_ih" or "_hh", of the sum of both (""), or of the memory ("_c")."""
        gain = p[f"gain{product}"]
        if not self.candidate_is_apart or product == "_c":
            return normalised(x, gain)
        cut = gain.shape[0] // len(self.blocks) * self.blocks.index(self.candidate)
        return joined(normalised(x[..., :cut], gain[:cut]), normalised(x[..., cut:], gain[cut:]))

    def _input(self, p: Arrays, product: Array) -> Array:
        return self._normal(p, product, "_ih") + p[self.input_bias]

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns the input's product, normalised and with its bias where that can be done ahead of the steps."""
        product = self.inner.project(p, x)
        return (self._input(p, product) if self._is_ahead and not self.is_elman else product,)

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns the recurrent product, normalised by itself unless the cell adds it up with the other."""
        product = self.inner.recur(p, prepared, h)
        return product if self.is_elman else self._normal(p, product, "_hh")

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Makes the inner step from normalised products; the output sees the memory normalised."""
        if self.is_elman:
            together = self._normal(p, prepared[0] + recurrent, "")
            return self.inner.combine(p, (together,), p[self.input_bias], state, inside)
        if not self._is_ahead:
            prepared = (self._input(p, prepared[0]),)
        if len(state) > 1:
            inside = inside._replace(memory=lambda c: self._normal(p, c, "_c") + p["bias_c"])
        return self.inner.combine(p, prepared, recurrent, state, inside)


@dataclass(frozen=True)
class BatchNorm(LayerNorm):
    """Normalises over the lanes. Which lanes read the input together is known only step by step."""

    needs = (Need("batch_norm", has_matrix, _REASON),)
    words = ("batch norm",)

    _gain = 0.1
    _is_ahead = False

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where the products are normalised already."""
        if config.layer_norm:
            raise UsageError("--layer-norm and --batch-norm normalise the same products", "give one of them")

    def _arrays(self, products: tuple[str, ...], size: int) -> dict[str, Shape]:
        """Returns the gains' shapes, and those of statistics_ih (2, R) and so on: mean and variance."""
        return {**super()._arrays(products, size), **{f"statistics{product}": (2, size) for product in products}}

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Returns the first gains and statistics, as said above."""
        if name.startswith("statistics"):
            return np.stack((np.zeros(shape[1:]), np.ones(shape[1:])))
        return super().initial(name, shape, config, source)

    def _normal(self, p: Arrays, x: Array, product: str) -> Array:
        return batch_normalised(x, p[f"statistics{product}"], p[f"gain{product}"])
