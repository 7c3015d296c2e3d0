"""Gated recurrent unit.

    r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

Cho et al. 2014 (arXiv 1406.1078, eq. 5-8) in the variant of cuDNN and torch.nn.GRU: the reset gate acts *after* the
recurrent product. z near 1 keeps the old state, as in the paper (its eq. 7); some lecture notes call that gate u, or
write z for 1 - u. Blocks stand in the order r, z, n. Both of torch's bias vectors are kept, since b_hn stands inside
the reset; of the others only the sum matters.

With the reset gate before the product it is the cell of the paper (its eq. 8) and of the lectures, which is ONNX's with
linear_before_reset = 0. The candidate's product waits for r, so a step is two products, one after the other:

    n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1}) + b_hn)

Where a wrapper gives the cell something else to read in the place of h (`multiplicative.py`, `mogrifier.py`), r acts on
that.

Biases begin at 0. With gate bias a, b_z = a: h is kept. Under chrono b_z = log u (Tallec & Ollivier 2018, arXiv
1804.11188, eq. 15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.cells.arrays import Array, Arrays, cut_rows, joined, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Ends, Inside, Numbers, Prepared, State, Step
from charrnn.errors import UsageError
from charrnn.settings.choices import ResetGateName
from charrnn.settings.config import ModelConfig


@dataclass(frozen=True)
class GRU(Cell):
    """GRU: weight_ih (3H, I), weight_hh (3H, H), bias_ih and bias_hh (3H,), wherever the reset gate acts."""

    reset_gate: ResetGateName = "after"

    name = "gru"
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
    own_settings = (("reset_gate", "it has no reset gate"),)

    def __post_init__(self) -> None:
        if self.reset_gate == "after":
            self._declare(kernel="gru", compiled="gru", held=("h", *self.gate_names))
        else:  # what r leaves of a constant h is not constant
            words = ("reset gate before the product",)
            self._declare(words=words, compiled="gru, reset before", held=self.gate_names)

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where the products to normalise are not those of the normalised gru's equations."""
        for name in ("layer_norm", "batch_norm"):
            if config.reset_gate == "before" and getattr(config, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} does not go with --reset-gate before: the normalised gru has its "
                    "reset gate after the product",
                    "leave one of them out",
                )

    def first_biases(self, config: ModelConfig, log_times: Callable[[], Numbers]) -> Mapping[str, Any]:
        """Returns what b_z begins with, where that is not 0: a number, or (H,)."""
        if config.init == "chrono":
            return {"z": log_times()}
        return {} if config.gate_bias is None else {"z": config.gate_bias}

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns the recurrent products (B, 3H): before the reset gate acts, or that of n with r * h."""
        if self.reset_gate == "after":
            return super().recur(p, prepared, h)
        of_gates, of_candidate = cut_rows(p["weight_hh"], 2 * h.shape[-1])
        gates = h @ of_gates.T
        r = sigmoid(split(prepared[0], 3)[0] + (split(gates, 2)[0] + split(p["bias_hh"], 3)[0]))
        return joined(gates, (r * h) @ of_candidate.T)

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns ((h_t,), (r, z, n)): r, z in (0, 1), the candidate n in (-1, 1)."""
        (h,) = state
        x_r, x_z, x_n = split(prepared[0], 3)
        h_r, h_z, h_n = split(recurrent + p["bias_hh"], 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + (r * h_n if self.reset_gate == "after" else h_n))
        return ((1 - z) * inside.candidate(n) + z * h,), (r, z, n)
