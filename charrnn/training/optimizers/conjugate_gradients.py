"""Conjugate gradients with what Hessian-free optimisation asks of them: a preconditioner, early iterates, an early end.

    phi(x) = x^T A x / 2 - b^T x        is made smaller step by step, for a positive definite A that is known by its
                                        products alone

They end once the last k of i steps have gained little,

    i > k,  phi(x_i) < 0  and  (phi(x_i) - phi(x_{i - k})) / phi(x_i) < 0.0005 k,      k = max(10, i / 10)

and of the iterates on the way those are kept whose numbers grow by a factor of 1.3 (Martens 2010, "Deep learning via
Hessian-free optimization", sections 4.4 and 4.6; phi is read off the residual r = b - A x as -x^T (r + b) / 2).

Shape letters: N weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.training.kept_steps import kept_steps

GAIN = 5e-4
_SHARE, _FEWEST = 0.1, 10


class Iterate(NamedTuple):
    """Where the search stood after a number of steps."""

    steps: int
    x: Tensor
    phi: float


def minimise(
    product: Callable[[Tensor], Tensor], b: Tensor, start: Tensor, preconditioner: Tensor, most: int
) -> list[Iterate]:
    """Returns iterates (x (N,) each) on the way from `start` to the minimum of phi, the last one last; at least one.

    The way begins from zeros only where phi is not a number at `start`. Where it is higher there than at zeros, what a
    long search found before is worth the steps that take it back (`experiments-other`).
    `product` gives A v, `preconditioner` (N,) is the diagonal of a matrix like A, and `most` bounds the steps. The
    search also ends where numbers are no longer finite, or a direction has no positive curvature: what stands in the
    list is finite.
    """
    x = start.clone()
    r = b - product(x)
    values = [_phi(x, r, b)]
    if not math.isfinite(values[0]):
        x, r, values = torch.zeros_like(b), b.clone(), [0.0]
    z = r / preconditioner
    direction, rz = z.clone(), _dot(r, z)
    kept = [Iterate(0, x.clone(), values[0])]
    keep = set(kept_steps(most))
    for step in range(1, most + 1):
        if not rz > 0.0 or not math.isfinite(values[-1]):
            break
        turned = product(direction)
        curvature = _dot(direction, turned)
        if not curvature > 0.0 or not math.isfinite(curvature):
            break
        length = rz / curvature
        x.add_(direction, alpha=length)
        r.sub_(turned, alpha=length)
        values.append(_phi(x, r, b))
        if not math.isfinite(values[-1]):
            break
        is_last = step == most or _gains_little(values)
        if is_last or step in keep:
            kept.append(Iterate(step, x.clone(), values[-1]))
        if is_last:
            return kept
        z = r / preconditioner
        before, rz = rz, _dot(r, z)
        direction.mul_(rz / before).add_(z)
    return kept


def _gains_little(values: list[float]) -> bool:
    """Whether the last steps have gained little, by the values of phi from the start on."""
    step = len(values) - 1
    window = max(_FEWEST, math.ceil(_SHARE * step))
    now = values[-1]
    return step > window and now < 0.0 and (now - values[-1 - window]) / now < window * GAIN


def _phi(x: Tensor, r: Tensor, b: Tensor) -> float:
    return -0.5 * _dot(x, r + b)


def _dot(x: Tensor, y: Tensor) -> float:
    return float(torch.dot(x, y))
