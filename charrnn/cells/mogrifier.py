"""Input and state gate each other, in rounds, before the cell reads them.

    x^1 = 2 sigmoid(Q_1 h_{t-1} + b_1) * x_t
    h^2 = 2 sigmoid(Q_2 x^1 + b_2) * h_{t-1}
    x^3 = 2 sigmoid(Q_3 h^2 + b_3) * x^1          and so on: odd rounds change x, even ones h

Melis, Kocisky & Blunsom 2020 (arXiv 1909.01792, eq. 1 and 2), with the biases of their code. The factor 2 makes a gate
that knows nothing the identity. Of low rank k, Q_r = A_r B_r (their section 2). The cell's products read the last x and
h; what a gru carries on, z * h_{t-1}, stays h_{t-1}: a memory that is multiplied in every step would not be one.

Since x is changed by the state, nothing of the input can be computed ahead of the steps.

Shape letters: I input size, H hidden size, k rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays, sigmoid
from charrnn.cells.cell import PLAIN, Inside, Noise, Prepared, Shape, State, Step
from charrnn.cells.wrapper import Need, Stepping, has_gated_matrix
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig


@dataclass(frozen=True)
class Mogrifier(Stepping):
    """Gates input and state by each other before the cell inside reads them."""

    rounds: int
    rank: int
    """The rank of the matrices; 0 for full ones."""

    needs = (
        Need(
            "mogrifier", has_gated_matrix, "its output is all that it remembers; gated in every step it would be lost"
        ),
        Need("mogrifier_rank", lambda _: True, ""),
    )
    held = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        rank = f" of rank {self.rank}" if self.rank else ""
        self._declare(words=(f"{self.rounds} mogrifier round{'s' if self.rounds > 1 else ''}{rank}",))

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where there are no rounds for the rank."""
        if not config.mogrifier:
            raise UsageError("--mogrifier-rank has no mogrifier to go with", "give it rounds with --mogrifier")

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the inner's, mogrifier_<r> (I, H) for odd rounds r, (H, I) for even ones, and mogrifier_<r>_bias.

        Of low rank, mogrifier_<r>_a (I or H, k) and mogrifier_<r>_b (k, H or I) are in the place of the matrix.
        """
        shapes = dict(self.inner.shapes(input_size, hidden_size))
        for number in range(1, self.rounds + 1):
            rows, columns = (input_size, hidden_size) if number % 2 else (hidden_size, input_size)
            name = f"mogrifier_{number}"
            if self.rank:
                shapes |= {f"{name}_a": (rows, self.rank), f"{name}_b": (self.rank, columns)}
            else:
                shapes[name] = (rows, columns)
            shapes[f"{name}_bias"] = (rows,)
        return shapes

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns the input itself: what the cell inside reads is known only in the step."""
        return (x,)

    def advance(self, p: Arrays, prepared: Prepared, state: State, noise: Noise = (), inside: Inside = PLAIN) -> Step:
        """Makes the inner cell's step on what the rounds leave of input and state."""
        assert not noise, "what draws stands around this"
        (x,), h = prepared, state[0]
        for number in range(1, self.rounds + 1):
            if number % 2:
                x = x * self._gate(p, number, h)
            else:
                h = h * self._gate(p, number, x)
        products = self.inner.prepare(p, x)
        return self.inner.combine(p, products, self.inner.recur(p, products, h), state, inside)

    def _gate(self, p: Arrays, number: int, reads: Array) -> Array:
        name = f"mogrifier_{number}"
        product = reads @ p[f"{name}_b"].T @ p[f"{name}_a"].T if self.rank else reads @ p[name].T
        return 2 * sigmoid(product + p[f"{name}_bias"])
