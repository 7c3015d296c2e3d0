"""Gated recurrent unit.

    r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

Cho et al. 2014 (arXiv 1406.1078, eq. 5-8) in the variant of cuDNN and torch.nn.GRU: the reset gate acts *after* the
recurrent product, where the paper applies it to h before. z near 1 keeps the old state, as in the paper (its eq. 7);
some lecture notes call that gate u, or write z for 1 - u. Blocks stand in the order r, z, n.
Both of torch's bias vectors are kept, since b_hn stands inside the reset; of the others only the sum matters.

Biases begin at 0. With gate bias a, b_z = a: h is kept. Under chrono b_z = log u (Tallec & Ollivier 2018, arXiv
1804.11188, eq. 15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from charrnn.cells.arrays import Array, Arrays, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Ends, Inside, Numbers, Prepared, State, Step
from charrnn.settings.config import ModelConfig


class GRU(Cell):
    """GRU, reset gate after the recurrent product: weight_ih (3H, I), weight_hh (3H, H), bias_ih and bias_hh (3H,)."""

    name = kernel = compiled = "gru"
    gate_names = blocks = ("r", "z", "n")
    candidate = "n"
    gate_titles = (("r", "reset"), ("z", "update"))
    keeping = (
        "z",
        Ends(
            ("near 1", "integrators, which keep most of what they hold"),
            ("near 0", "units whose value is nearly all new at every character"),
        ),
    )
    candidate_is_apart = True
    input_bias, recurrent_bias = "bias_ih", "bias_hh"
    held = ("h", "r", "z", "n")

    def first_biases(self, config: ModelConfig, log_times: Callable[[], Numbers]) -> Mapping[str, Any]:
        """Returns what b_z begins with, where that is not 0: a number, or (H,)."""
        if config.init == "chrono":
            return {"z": log_times()}
        return {} if config.gate_bias is None else {"z": config.gate_bias}

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns ((h_t,), (r, z, n)): r, z in (0, 1), the candidate n in (-1, 1)."""
        (h,) = state
        x_r, x_z, x_n = split(prepared[0], 3)
        h_r, h_z, h_n = split(recurrent + p["bias_hh"], 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * h_n)
        return ((1 - z) * inside.candidate(n) + z * h,), (r, z, n)
