"""Gated recurrent unit.

    r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

Cho et al. 2014 (arXiv 1406.1078, eq. 5-8) in the variant of cuDNN and torch.nn.GRU: the reset gate acts *after* the
recurrent product, where the paper applies it to h before. z near 1 keeps the old state, as in the paper (its eq. 7);
some lecture notes call that gate u, or write z for 1 - u. Blocks stand in the order r, z, n.
Both of torch's bias vectors are kept, since b_hn stands inside the reset; of the others only the sum matters.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.cells.arrays import Array, Arrays, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Gates, Inside, State


class GRU(Cell):
    """GRU, reset gate after the recurrent product."""

    name = "gru"
    state_names = ("h",)
    gate_names = ("r", "z", "n")
    blocks = ("r", "z", "n")
    input_bias = "bias_ih"

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """weight_ih (3H, I), weight_hh (3H, H), bias_ih (3H,), bias_hh (3H,)."""
        rows = 3 * hidden_size
        return {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """((h_t,), (r, z, n)): r, z in (0, 1), the candidate n in (-1, 1)."""
        (h,) = state
        x_r, x_z, x_n = split(prepared[0], 3)
        h_r, h_z, h_n = split(recurrent + p["bias_hh"], 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * h_n)
        return ((1 - z) * inside.candidate(n) + z * h,), (r, z, n)
