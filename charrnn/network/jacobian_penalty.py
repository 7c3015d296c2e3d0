"""The penalty on gradients that shrink or grow on their way back through an rnn.

    Omega = mean over steps t and lanes of ( |d_t J_t| / |d_t| - 1 )^2      d_t = dL/dh_t, J_t = dh_t/dh_{t-1}

of each layer by itself, summed over layers (Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063, section 3.3, eq. 9; there
a sum over steps, in their code a mean). L is all else that is differentiated, and d_t its whole gradient, by way of
every later step of the window. For h_t = f(W x_t + V h_{t-1} + b),

    J_t = diag(f'_t) V        d_{t-1} = (gradient from the outputs' readers) + d_t J_t

Of Omega only the immediate derivative with respect to V is taken (their eq. 10), with h and d as they are:

    dOmega/dV = mean of 2 (r_t - 1) / (|d_t| |d_t J_t|) (d_t f'_t)^T (d_t J_t)        r_t = |d_t J_t| / |d_t|

Their eq. 10 and their code have squared norms; here they are as in eq. 9. Where d_t is zero nothing is asked, and it
counts as a step without an excess; where d_t J_t is zero (every relu that matters is off) V cannot change that.

The outputs' gradient is known only on the way back, so that is where the penalty's gradient is made: an identity
stands behind each layer, whose backward adds it to the matrix.

Shape letters: T window, B lanes, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from charrnn.network.starts import Starts
from charrnn.settings.config import TrainingConfig

Keeper = Callable[[Tensor, Tensor, Starts | None], Tensor]
"""Takes a layer's outputs (T, B, H), its recurrent matrix (H, H) as it was used and where lanes began anew, and returns
the outputs that are to be read instead."""


def make_keeper(training: TrainingConfig, activation: str, unit: float, scale: Tensor | None = None) -> Keeper | None:
    """Returns what adds the penalty's gradient to that of each layer's matrix; None where it is off.

    In what is differentiated, a lane's loss at a step counts as `unit`, times `scale` where losses are scaled: so the
    penalty is the mean over all lanes and steps, whichever part of them is computed here.
    """
    rate = training.jacobian_penalty
    if not rate:
        return None
    counted = unit if scale is None else unit * scale

    def keep(outputs: Tensor, matrix: Tensor, starts: Starts | None = None) -> Tensor:
        begun = None if starts is None else starts.mask
        kept: Tensor = _Kept.apply(outputs, matrix, begun, rate, activation == "relu", counted)  # type: ignore[no-untyped-call]
        return kept

    return keep


class _Kept(torch.autograd.Function):
    """Passes outputs on as they are; on the way back it adds the penalty's gradient to the matrix's."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, matrix: Tensor, begun: Tensor | None, rate: float, is_relu: bool,
        unit: float | Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(outputs, matrix)
        ctx.settings = begun, rate, is_relu, unit
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        outputs, matrix = ctx.saved_tensors
        begun, rate, is_relu, unit = ctx.settings
        slopes = (outputs > 0).float() if is_relu else 1 - outputs.float().square()
        totals, passed = back_in_time(direct.float() / unit, slopes, matrix.float(), begun)
        gradient = excess_gradient(totals, passed, slopes)
        return direct, (gradient * (rate * unit)).to(matrix.dtype), None, None, None, None


def back_in_time(direct: Tensor, slopes: Tensor, matrix: Tensor, begun: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns d_t and d_t J_t, (T, B, H) each, from f' and the gradients by way of the outputs' readers alone.

    Where `begun` (T, B) is true, a lane began anew before the step, and J_t is zero.
    """
    totals, passed = torch.empty_like(direct), torch.empty_like(direct)
    reached = torch.zeros_like(direct[0])
    for t in reversed(range(len(direct))):
        torch.add(direct[t], reached, out=totals[t])
        reached = torch.mm(totals[t] * slopes[t], matrix, out=passed[t])
        if begun is not None:
            reached.masked_fill_(begun[t].unsqueeze(1), 0.0)
    return totals, passed


def excesses(totals: Tensor, passed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns r_t - 1 (T, B), 0 where d_t is 0; and 1 / (|d_t| |d_t J_t|), 0 where either is 0."""
    before, after = torch.linalg.vector_norm(totals, dim=-1), torch.linalg.vector_norm(passed, dim=-1)
    nothing = torch.zeros_like(before)
    excess = torch.where(before > 0, after / before - 1, nothing)
    return excess, torch.where((before > 0) & (after > 0), 1 / before / after, nothing)


def excess_gradient(totals: Tensor, passed: Tensor, slopes: Tensor) -> Tensor:
    """Returns the sum (H, H) over steps and lanes of what dOmega/dV is the mean of."""
    excess, steepness = excesses(totals, passed)
    weighted = passed * (2 * excess * steepness).unsqueeze(-1)
    return (totals * slopes).flatten(0, 1).T @ weighted.flatten(0, 1)
