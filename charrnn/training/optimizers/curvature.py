"""Products with the Gauss-Newton matrix of a network's loss, which is never made.

    G v = sum over pieces of J^T H J v        J the Jacobian of the network's answers by its weights, H the loss's
                                              Hessian by the answers

(Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent"; Martens 2010). J^T u is a
backward pass. J v, the forward derivative, is the derivative of that pass, which is linear in u, by u: so it is exact
and needs nothing of a cell but operations that autograd knows twice.

Structural damping (Martens & Sutskever 2011, "Learning recurrent neural networks with Hessian-free optimization",
section 3.2) adds the same of the layers' outputs h, whose distance is half a mean square:

    D = |h(w + v) - h(w)|^2 / 2 per place, and to second order v^T S v / 2        S = J_h^T J_h

The diagonal of G is estimated by u = L e, H = L L^T and e of random signs, since the mean of (J^T u)^2 is the diagonal
(Chapelle & Erhan 2011, "Improved preconditioner for Hessian free optimization").

Shape letters: T time, B lanes, V answers, H hidden size, N weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class AnswersLoss(Protocol):
    """A loss as a function of a network's answers, to second order."""

    def hessian(self, change: Tensor) -> Tensor:
        """Returns the Hessian's product with a change of the answers, in their shape."""

    def root(self, signs: Tensor) -> Tensor:
        """Returns the product of L with `signs`, where L L^T is the Hessian; both in the answers' shape."""


class Softmax:
    """The cross entropy of characters, a sum of `unit` times each: H = unit (diag(p) - p p^T)."""

    def __init__(self, logits: Tensor, unit: float) -> None:
        """`logits` (T, B, V) need no gradient here."""
        self._p = torch.softmax(logits.detach(), -1)
        self._unit = unit

    def hessian(self, change: Tensor) -> Tensor:
        """Returns unit (p v - p (p . v)), (T, B, V)."""
        weighted = self._p * change
        return (weighted - self._p * weighted.sum(-1, keepdim=True)) * self._unit

    def root(self, signs: Tensor) -> Tensor:
        """Returns the root of unit (sqrt(p) e - p (sqrt(p) . e)), (T, B, V)."""
        weighted = self._p.sqrt() * signs
        return (weighted - self._p * weighted.sum(-1, keepdim=True)) * math.sqrt(self._unit)


class Piece(NamedTuple):
    """A network's pass over some lanes, with what autograd needs to differentiate it twice."""

    answers: Tensor
    """(T, B, V)."""
    loss: AnswersLoss
    states: Sequence[Tensor]
    """The outputs (T, B, H) of each layer that weights which learn have a part in."""
    unit: float
    """What a place's distance of states counts."""


class Linear:
    """A network's answers and states as linear functions of small changes of its weights."""

    def __init__(self, piece: Piece, weights: Sequence[Tensor]) -> None:
        self.piece, self._weights = piece, weights
        self._outputs = [piece.answers, *piece.states]
        self._seeds = [torch.zeros_like(output, requires_grad=True) for output in self._outputs]
        with torch.enable_grad():
            pulled = torch.autograd.grad(
                self._outputs, weights, self._seeds, create_graph=True, retain_graph=True, allow_unused=True
            )
        # Weights that have no part in the answers, and what does not depend on the seeds, have no derivative.
        self._pulled = [(n, array) for n, array in enumerate(pulled) if array is not None and array.requires_grad]

    def forward(self, change: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns J v for a change of the weights: that of the answers, and that of each layer's states."""
        return torch.autograd.grad(
            [array for _, array in self._pulled], self._seeds, [change[n] for n, _ in self._pulled],
            retain_graph=True, allow_unused=True, materialize_grads=True,
        )  # fmt: skip

    def backward(self, change: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns J^T u for a change of the answers and, where they are given, of the states."""
        return torch.autograd.grad(
            self._outputs[: len(change)], self._weights, change,
            retain_graph=True, allow_unused=True, materialize_grads=True,
        )  # fmt: skip


class GaussNewton:
    """The Gauss-Newton matrix of a loss at a network's weights, by its products with flat vectors (N,)."""

    def __init__(self, pieces: Sequence[Callable[[], Piece]], weights: Sequence[Tensor], *, ridge: float = 0.0) -> None:
        """Each of `pieces` makes a pass over its lanes. One alone is kept from product to product; of several, for
        the sake of memory, each is made anew every time. `ridge` times the identity is added.
        """
        self._pieces, self._weights, self._ridge = pieces, weights, ridge
        self._sizes = [array.numel() for array in weights]
        self._kept: Linear | None = None

    def product(self, vector: Tensor, structural: float = 0.0) -> Tensor:
        """Returns (G + structural S) v, (N,)."""
        change, total = self._shaped(vector), self._ridge * vector
        for number in range(len(self._pieces)):
            linear = self._linear(number)
            answers, *states = linear.forward(change)
            back = [linear.piece.loss.hessian(answers)]
            if structural:
                back += [state * (structural * linear.piece.unit) for state in states]
            total += _flat(linear.backward(back))
        return total

    def diagonal(self, seed: int, samples: int) -> Tensor:
        """Returns an estimate (N,) of the diagonal of G from random signs, without bias and never negative."""
        total = torch.zeros_like(_flat(self._weights))
        for number in range(len(self._pieces)):
            linear = self._linear(number)
            answers = linear.piece.answers
            # On the CPU, so that a seed gives the same signs on every device.
            random = torch.Generator().manual_seed(seed * len(self._pieces) + number)
            for _ in range(samples):
                drawn = torch.empty(answers.shape, dtype=answers.dtype).bernoulli_(0.5, generator=random)
                root = linear.piece.loss.root(drawn.mul_(2).sub_(1).to(answers.device))
                total += _flat(linear.backward([root])).square_()
        return total / samples + self._ridge

    def _linear(self, number: int) -> Linear:
        if self._kept is not None:
            return self._kept
        with torch.enable_grad():
            linear = Linear(self._pieces[number](), self._weights)
        if len(self._pieces) == 1:
            self._kept = linear
        return linear

    def _shaped(self, vector: Tensor) -> list[Tensor]:
        parts = torch.split(vector, self._sizes)
        return [part.view_as(array) for part, array in zip(parts, self._weights, strict=True)]


def _flat(arrays: Sequence[Tensor]) -> Tensor:
    return torch.cat([array.detach().flatten() for array in arrays])
