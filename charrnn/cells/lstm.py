"""Long short-term memory with a forget gate, and its gates in other ways.

    i, f, g, o = W_ih x_t + W_hh h_{t-1} + b     (blocks of H rows in this order)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Hochreiter & Schmidhuber 1997 (Neural Computation 9(8)) with the forget gate of Gers, Schmidhuber & Cummins 2000
(Neural Computation 12(10), eq. 3.1); no peepholes. The blocks stand in torch.nn.LSTM's order. torch has two bias
vectors that are only ever added; here they are one.

With peepholes the gates see the memory (Gers, Schraudolph & Schmidhuber 2002, JMLR 3): the input and forget
gates the old one, the output gate the new one, each unit its own by a weight of its own:

    i += w_i * c_{t-1},  f += w_f * c_{t-1},  o += w_o * c_t         (before the sigmoids)

Coupled gates write only as much as they forget (Greff et al. 2017, arXiv 1503.04069, "CIFG"); there is no input gate
and a quarter of the weights less, the blocks are f, g, o. Capped gates write at most that much (the code of Melis,
Kocisky & Blunsom 2020, arXiv 1909.01792), so that the memory stays between -1 and 1 once it is there:

    coupled     sigmoid(i) -> 1 - sigmoid(f)
    capped      sigmoid(i) -> min(sigmoid(i), 1 - sigmoid(f))

Without a forget gate it is the cell of 1997, whose memory is a sum from which nothing is taken away (Hochreiter &
Schmidhuber 1997, section 4, with tanh for their g and h); the blocks are i, g, o, a quarter of the weights less:

    c_t = c_{t-1} + sigmoid(i) * tanh(g)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from charrnn.cells.arrays import Array, Arrays, minimum, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Gates, Inside, State


class LSTM(Cell):
    """LSTM with a forget gate."""

    name = "lstm"
    state_names = ("h", "c")
    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    blocks: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """weight_ih (4H, I), weight_hh (4H, H), bias (4H,)."""
        rows = len(self.blocks) * hidden_size
        return {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias": (rows,)}

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """((h_t, c_t), (i, f, g, o)): i, f, o in (0, 1), the candidate g in (-1, 1)."""
        _, c = state
        arguments = dict(zip(self.blocks, split(prepared[0] + recurrent, len(self.blocks)), strict=True))
        i, f = self._write_and_keep(p, arguments, c)
        g = tanh(arguments["g"])
        c = f * c + i * inside.candidate(g)
        o = sigmoid(self._seen_after(p, arguments["o"], c))
        values = {"i": i, "f": f, "g": g, "o": o}
        return (o * tanh(inside.memory(c)), c), tuple(values[name] for name in self.gate_names)

    def _write_and_keep(self, p: Arrays, arguments: Arrays, c: Array) -> tuple[Array, Array]:
        """How much of the candidate is written and how much of the memory kept, (B, H) each."""
        return sigmoid(self._seen_before(p, "i", arguments["i"], c)), sigmoid(
            self._seen_before(p, "f", arguments["f"], c)
        )

    def _seen_before(self, p: Arrays, gate: str, argument: Array, c: Array) -> Array:
        """The argument of a gate that decides before the memory changes."""
        return argument

    def _seen_after(self, p: Arrays, argument: Array, c: Array) -> Array:
        """The argument of the output gate, which decides after it."""
        return argument


class PeepholeLSTM(LSTM):
    """The gates see the memory."""

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """As an lstm's, and peephole_<gate> (H,) for each gate but the candidate."""
        own = {f"peephole_{gate}": (hidden_size,) for gate in self.blocks if gate != "g"}
        return {**super().shapes(input_size, hidden_size), **own}

    def _seen_before(self, p: Arrays, gate: str, argument: Array, c: Array) -> Array:
        return argument + p[f"peephole_{gate}"] * c

    def _seen_after(self, p: Arrays, argument: Array, c: Array) -> Array:
        return argument + p["peephole_o"] * c


class CoupledLSTM(LSTM):
    """What is not kept is written: weight_ih (3H, I), weight_hh (3H, H), bias (3H,)."""

    gate_names = ("f", "g", "o")
    blocks = ("f", "g", "o")

    def _write_and_keep(self, p: Arrays, arguments: Arrays, c: Array) -> tuple[Array, Array]:
        f = sigmoid(self._seen_before(p, "f", arguments["f"], c))
        return 1 - f, f


class CappedLSTM(LSTM):
    """Not more is written than was forgotten; `i` is what is left of the gate."""

    def _write_and_keep(self, p: Arrays, arguments: Arrays, c: Array) -> tuple[Array, Array]:
        i, f = super()._write_and_keep(p, arguments, c)
        return minimum(i, 1 - f), f


class LastingLSTM(LSTM):
    """Nothing is forgotten: weight_ih (3H, I), weight_hh (3H, H), bias (3H,)."""

    gate_names = ("i", "g", "o")
    blocks = ("i", "g", "o")

    def _write_and_keep(self, p: Arrays, arguments: Arrays, c: Array) -> tuple[Array, Array]:
        return sigmoid(self._seen_before(p, "i", arguments["i"], c)), 1.0


class LastingPeepholeLSTM(LastingLSTM, PeepholeLSTM):
    """The same with gates that see the memory."""


class CoupledPeepholeLSTM(CoupledLSTM, PeepholeLSTM):
    """Coupled gates that see the memory."""


class CappedPeepholeLSTM(CappedLSTM, PeepholeLSTM):
    """Capped gates that see the memory."""
