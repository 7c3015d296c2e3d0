"""The unitary recurrent network: complex numbers, turned and mirrored at every step, never shrunk.

    h_t = modrelu(W h_{t-1} + V x_t)
    W = D_3 R_2 F^-1 D_2 P R_1 F D_1
    modrelu(z) = z * relu(|z| + b) / |z|

Arjovsky, Shah & Bengio 2016 (arXiv 1511.06464, eq. 6 and 8), on n = H / 2 complex numbers, with

    D = diag(exp(i angle))         n angles each, U(-pi, pi) in the beginning
    R = I - 2 v v^* / |v|^2        a mirror; v of n complex numbers, parts U(-1, 1) in the beginning
    F, F^-1                        the discrete Fourier transform and its inverse, with 1/sqrt(n) each
    P                              a permutation that is always the same for n
    V                              complex, without a bias; Glorot's: U(-b, b) with b = sqrt(6 / (I + H))

Every factor is unitary, so W is whatever is learned, with 7 n numbers and a step in n log n. Bias b begins at 0, where
the network is linear. What is carried on is h as H real numbers, the real parts first, then the imaginary ones; and so
are the rows of V. A tiny number under the root of |z| keeps the gradient finite at 0.

Shape letters: B lanes, I input size, H hidden size, n complex numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charrnn.cells.arrays import Array, Arrays, fourier, inverse_fourier, joined, permuted, relu, split, turn
from charrnn.cells.cell import PLAIN, Cell, Inside, Numbers, Prepared, RandomSource, Shape, State, Step
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig

_TINY = 1e-12
# A step has hardly a product, and takes about as long as one of so many numbers, however wide it is (results-cells.md).
_WORK = 330_000


class URNN(Cell):
    """The unitary network; H is even."""

    name = "urnn"
    activation = "modrelu"
    has_matrix = False
    is_unitary = True
    unbounded = ("h",)
    keeps_all = True
    held = ()

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where the units do not make whole complex numbers."""
        if config.hidden_size % 2:
            raise UsageError(
                f"--hidden is {config.hidden_size}, and a urnn's numbers are complex, two to each",
                "give an even number",
            )

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns weight_ih (H, I), angle_1, angle_2, angle_3 (n,), mirror_1, mirror_2 (H,), modrelu_bias (n,)."""
        n = hidden_size // 2
        return {
            "weight_ih": (hidden_size, input_size),
            "angle_1": (n,),
            "mirror_1": (hidden_size,),
            "angle_2": (n,),
            "mirror_2": (hidden_size,),
            "angle_3": (n,),
            "modrelu_bias": (n,),
        }

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Draws the first angles, mirrors and V, as said above."""
        bounds = {"angle": np.pi, "mirror": 1.0, "weight": (6.0 / (sum(shape))) ** 0.5}
        bound = bounds.get(name.partition("_")[0])
        return None if bound is None else source.uniform(shape, -bound, bound)

    def extra_work(self, hidden_size: int) -> float:
        """Returns what the Fourier transforms, turns and mirrors of a step take."""
        return _WORK

    def derive(self, p: Arrays) -> Arrays:
        """Adds turn_1 to turn_3, exp(i angle) (n,), and normal_1 and normal_2, v sqrt(2) / |v| (n,), all complex."""
        made = {f"turn_{place}": turn(p[f"angle_{place}"]) for place in (1, 2, 3)}
        for place in (1, 2):
            v = p[f"mirror_{place}"]
            made[f"normal_{place}"] = _complex(v * (2 / (v * v).sum()) ** 0.5)
        return {**p, **made}

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns V x."""
        return (self.project(p, x),)

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns W h, made factor by factor from the right."""
        z = fourier(p["turn_1"] * _complex(h))
        z = permuted(_mirrored(z, p["normal_1"]))
        z = inverse_fourier(p["turn_2"] * z)
        z = p["turn_3"] * _mirrored(z, p["normal_2"])
        return joined(z.real, z.imag)

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns ((h_t,), ())."""
        real, imaginary = split(prepared[0] + recurrent, 2)
        size = (real * real + imaginary * imaginary + _TINY) ** 0.5
        share = relu(size + p["modrelu_bias"]) / size
        return (joined(real * share, imaginary * share),), ()


def _complex(parts: Array) -> Array:
    """Puts real and imaginary parts (..., 2 n) together into complex numbers (..., n)."""
    real, imaginary = split(parts, 2)
    return real + 1j * imaginary


def _mirrored(z: Array, normal: Array) -> Array:
    """Returns z - normal (normal^* z)."""
    return z - (z * normal.conj()).sum(-1)[..., None] * normal
