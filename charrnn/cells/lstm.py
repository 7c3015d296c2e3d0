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

    tied (coupled)    sigmoid(i) -> 1 - sigmoid(f)
    min (capped)      sigmoid(i) -> min(sigmoid(i), 1 - sigmoid(f))

Without a forget gate it is the cell of 1997, whose memory is a sum from which nothing is taken away (Hochreiter &
Schmidhuber 1997, section 4, with tanh for their g and h); the blocks are i, g, o, a quarter of the weights less:

    c_t = c_{t-1} + sigmoid(i) * tanh(g)

Biases begin at 0, but for b_f = `forget_bias` (Gers et al. 2000; Jozefowicz et al. 2015). With gate bias a, b_i = -a,
b_f = a, b_o = -a: blocks come into play one by one, and forget only once it is learned (Hochreiter & Schmidhuber 1997;
Gers, Schmidhuber & Cummins 2000). Under chrono b_f = log u, b_i = -b_f (Tallec & Ollivier 2018, arXiv 1804.11188,
eq. 16).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.cells.arrays import Array, Arrays, minimum, sigmoid, split, tanh
from charrnn.cells.cell import PLAIN, Cell, Ends, Inside, Numbers, Prepared, Shape, State, Step
from charrnn.errors import UsageError
from charrnn.settings.choices import CouplingName
from charrnn.settings.config import ModelConfig

_COUPLED = {"off": [], "tied": ["coupled gates"], "min": ["capped input gates"]}


@dataclass(frozen=True)
class LSTM(Cell):
    """LSTM with a forget gate or without, with free gates or coupled ones, with peepholes or without."""

    has_forget_gate: bool = True
    has_peepholes: bool = False
    coupled: CouplingName = "off"

    name = "lstm"
    state_names = ("h", "c")
    candidate = "g"
    gate_titles = (("i", "input"), ("f", "forget"), ("o", "output"))
    keeping = (
        "f",
        Ends(
            ("open", "integrators, which keep most of what they hold"),
            ("shut", "feed-forward cells, which drop most of what they hold at every character"),
        ),
    )
    unbounded = ("c",)
    memory_held_by = (("i", 1.0), ("f", 0.0))
    own_settings = (
        ("forget_gate", "it has none to leave out (a gru's z also says what is written)"),
        ("peephole", "it has no memory c beside its output h, which its units read anyway"),
        ("coupled", "it has no input and forget gate to couple (a gru's z is both at once)"),
    )

    def __post_init__(self) -> None:
        is_there = {"i": self.coupled != "tied", "f": self.has_forget_gate, "g": True, "o": True}
        gates = tuple(gate for gate in is_there if is_there[gate])
        words = [*["no forget gate"][self.has_forget_gate :], *["peepholes"][: self.has_peepholes]]
        self._declare(gate_names=gates, blocks=gates, words=(*words, *_COUPLED[self.coupled]))
        if not self.words:
            self._declare(kernel="lstm", compiled="lstm", held=(*self.state_names, *gates))

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where the forget gate's bias is set twice, or there is no forget gate to go with."""
        has_own_bias = config.forget_bias != ModelConfig().forget_bias
        others = {"--gate-bias": config.gate_bias is not None, "--init chrono": config.init == "chrono"}
        for said, is_on in others.items():
            if is_on and has_own_bias:
                raise UsageError(f"{said} and --forget-bias set the same bias", "give one of them")
        if config.forget_gate:
            return
        for said, is_on in {"--init chrono": config.init == "chrono", "--forget-bias": has_own_bias}.items():
            if is_on:
                raise UsageError(
                    f"{said} sets the bias of the forget gate, and with --no-forget-gate there is none",
                    "leave one of them out",
                )
        if config.coupled != "off":
            raise UsageError(
                f"--no-forget-gate does not go with --coupled {config.coupled}: there is no forget gate to go with",
                "leave one of them out",
            )

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns weight_ih (4H, I), weight_hh (4H, H), bias (4H,), or 3H of three blocks; peephole_<gate> (H,)."""
        peepholes = [f"peephole_{gate}" for gate in self.blocks if gate != "g"] if self.has_peepholes else []
        return {**super().shapes(input_size, hidden_size), **dict.fromkeys(peepholes, (hidden_size,))}

    def first_biases(self, config: ModelConfig, log_times: Callable[[], Numbers]) -> Mapping[str, Any]:
        """Returns what b_i, b_f and b_o begin with, where that is not 0: numbers, or (H,) each."""
        if config.init == "chrono":
            times = log_times()
            return {"f": times, "i": -times}
        if config.gate_bias is not None:
            return {"i": -config.gate_bias, "f": config.gate_bias, "o": -config.gate_bias}
        return {"f": config.forget_bias}

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns ((h_t, c_t), gates): i, f and o in (0, 1) as far as there are such, the candidate g in (-1, 1)."""
        arguments = dict(zip(self.blocks, split(prepared[0] + recurrent, len(self.blocks)), strict=True))

        def gate(name: str, seen: Array) -> Array:
            return sigmoid(arguments[name] + p[f"peephole_{name}"] * seen if self.has_peepholes else arguments[name])

        _, c = state
        i = gate("i", c) if "i" in arguments else None
        f = gate("f", c) if "f" in arguments else 1.0
        if self.coupled != "off":
            i = 1 - f if i is None else minimum(i, 1 - f)
        g = tanh(arguments["g"])
        c = f * c + i * inside.candidate(g)
        o = gate("o", c)
        values = {"i": i, "f": f, "g": g, "o": o}
        return (o * tanh(inside.memory(c)), c), tuple(values[name] for name in self.gate_names)
