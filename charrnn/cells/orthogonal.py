"""Recurrent matrices that are orthogonal whatever is learned: each gate's is the exponential of a skew matrix.

    W = exp(A - A^T)

Lezcano-Casado & Martinez-Rubio 2019 (arXiv 1901.08428, section 3, "expRNN", there for the rnn). A (H, H) is any matrix;
its gradient is skew, and so is all that an update can change of W. In the beginning A is zero but for turns of
neighbouring units against each other, each by an angle U(-pi, pi) (Henaff, Szlam & LeCun 2016, arXiv 1602.06662,
section 4; Lezcano-Casado & Martinez-Rubio 2019, section 5):

    A - A^T = blocks (0, angle; -angle, 0) along the diagonal

W is made once for a window; after that the cell is the one inside, with an ordinary recurrent matrix.

The exponential is a polynomial of degree 8 in three products (Bader, Blanes & Casas 2019, Mathematics 7(12), 1174,
section 3) of X / 2^k, small enough for it, squared k times: exp(X) = exp(X / 2^k)^(2^k). What is carried on is
E = exp - I, whose square is 2 E + E E, so that rounding stays that of the last one instead of doubling in each. The
function of torch of that name is not used: it asks the host in the middle, which a CUDA graph cannot record, and its
gradient takes an exponential of twice the size, ten times as long.

Shape letters: H hidden size, G gates.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.cells.arrays import Array, Arrays, identity_like
from charrnn.cells.cell import Cell, Numbers, RandomSource, Shape
from charrnn.cells.wrapper import Need, Wrapper, has_matrix
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig

_NEAR = 0.58
"""The largest norm for which the polynomial is the exponential to 2^-24."""
_MOST = 10
"""Squarings; more would be angles of a hundred turns."""
_ROOT = math.sqrt(177)
_THIRD = 2 / 3
_FOURTH = (1 + _ROOT) * _THIRD / 88, (1 + _ROOT) * _THIRD / 352
_EIGHTH = (
    (-271 + 29 * _ROOT) / (315 * _THIRD),
    11 * (-1 + _ROOT) / (1260 * _THIRD),
    11 * (-9 + _ROOT) / (5040 * _THIRD),
    (89 - _ROOT) / (5040 * _THIRD**2),
)
_SECOND = (857 - 58 * _ROOT) / 630
# What a step costs: products of each matrix with itself, once for so many characters.
_SQUARES = 6
_CHARACTERS = 16 * 64


@dataclass(frozen=True)
class Orthogonal(Wrapper):
    """Makes the recurrent matrix of the cell inside, outside of everything else: it does not step itself."""

    needs = (Need("orthogonal", has_matrix, "its recurrent matrix is unitary by itself"),)
    words = ("orthogonal recurrence",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._declare(keeps_all=self.inner.keeps_lengths)

    @property
    def core(self) -> Cell:
        """Returns the cell inside."""
        return self.inner

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where a recurrent matrix would be orthogonal twice, or not at all."""
        if config.init in ("orthogonal", "identity"):
            raise UsageError(
                f"--init {config.init} sets recurrent matrices, and under --orthogonal they are not what is trained",
                "leave one of them out",
            )
        for name, option, reason in (
            ("weight_drop", "--weight-drop", "a matrix of which weights are dropped is not orthogonal"),
            ("multiplicative", "--multiplicative", "each character's own recurrent matrix would not be orthogonal"),
        ):
            if getattr(config, name):
                raise UsageError(f"{option} does not go with --orthogonal: {reason}", "leave one of them out")

    def at_rest(self) -> Cell:
        """Returns the same around the inner cell at rest."""
        return Orthogonal(self.inner.at_rest())

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the inner cell's, with skew_hh (G H, H) in the place of weight_hh."""
        shapes = self.inner.shapes(input_size, hidden_size)
        return {"skew_hh" if name == "weight_hh" else name: shape for name, shape in shapes.items()}

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Returns for skew_hh an angle beside the diagonal for every two units of each gate's block, zero elsewhere."""
        if name != "skew_hh":
            return self.inner.initial(name, shape, config, source)
        rows, hidden = shape
        blocks, first = np.zeros((rows // hidden, hidden, hidden)), np.arange(0, hidden - 1, 2)
        for block in blocks:
            block[first, first + 1] = source.uniform((len(first),), -np.pi, np.pi)
        return blocks.reshape(shape)

    def extra_work(self, hidden_size: int) -> float:
        """Returns a character's share of the matrices' products with themselves, which are made once for a window."""
        size = self.shapes(hidden_size, hidden_size)["skew_hh"][0] * hidden_size
        return size * _SQUARES * hidden_size / _CHARACTERS + self.inner.extra_work(hidden_size)

    def derive(self, p: Arrays) -> Arrays:
        """Makes the parameters of the cell inside."""
        made = {"weight_hh" if name == "skew_hh" else name: array for name, array in p.items()}
        return {**made, "weight_hh": rotations(p["skew_hh"])}


def rotations(skew: Array) -> Array:
    """Returns exp(A - A^T) for each block A (H, H) of `skew` (G H, H): (G H, H), in the same precision."""
    H = skew.shape[-1]
    if isinstance(skew, np.ndarray):
        blocks = skew.reshape(-1, H, H).astype(np.float64)
        turned = exponential(blocks - blocks.swapaxes(1, 2)).reshape(skew.shape)
        return turned.astype(skew.dtype)
    torch, place = sys.modules["torch"], skew.device.type
    with torch.autocast(place, enabled=False), _exact_products(torch):
        blocks = skew.reshape(-1, H, H)
        generators = blocks - blocks.swapaxes(1, 2)
        turned = exponential(generators) if place == "cpu" else exponential_on_device(generators)
        return turned.reshape(skew.shape).to(skew.dtype)


@contextlib.contextmanager
def _exact_products(torch: Any) -> Iterator[None]:
    """Keeps products of float32 numbers from being made of TF32 ones: each squaring would double what that loses.

    The gradient is made outside of this, as exactly as any other gradient. float64 would do as well, but costs most
    GPUs 32 to 64 times as much.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def exponential(x: Array) -> Array:
    """Returns the exponential of each skew matrix of `x` (G, H, H)."""
    square = x @ x
    seen = square if isinstance(square, np.ndarray) else square.detach()
    # Of a skew matrix the norm's square is that of its square, and that is at most the largest sum along a row.
    size = math.sqrt(float(abs(seen).sum(-1).max()))
    count = 0
    if math.isfinite(size) and size > _NEAR:
        count = min(_MOST, math.ceil(math.log2(size / _NEAR)))
    factor = 0.5**count
    beyond = _beyond_identity(x * factor, square * factor**2)
    for _ in range(count):
        beyond = 2 * beyond + beyond @ beyond
    return identity_like(x) + beyond


def exponential_on_device(x: Array) -> Array:
    """Does as `exponential` without asking the device how often to square: always the most, where it counts."""
    square = x @ x
    size = square.detach().abs().sum(-1).amax().sqrt()
    count = (size / _NEAR).log2().ceil().clamp(0, _MOST)
    factor = (-count).exp2()
    beyond = _beyond_identity(x * factor, square * factor**2)
    for turn in range(_MOST):
        beyond = (2 * beyond + beyond @ beyond).where(count > turn, beyond)
    return identity_like(x) + beyond


def _beyond_identity(x: Array, square: Array) -> Array:
    """Returns exp(x) - I to the eighth power of a small `x`."""
    half = square @ (_FOURTH[0] * x + _FOURTH[1] * square)
    left = _THIRD * square + half
    return left @ (_EIGHTH[1] * x + _EIGHTH[2] * square + _EIGHTH[3] * half) + _EIGHTH[0] * left + _SECOND * square + x
