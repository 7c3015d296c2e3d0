"""The loss where more than the true character is to be learned: a teacher's distribution, and a share spread evenly.

    target     q = (1 - w) ((1 - s) 1[true] + s / V) + w p          p the teacher's distribution, w its weight
    learned    L = - sum_v q_v log softmax(z)_v                     s the share of label smoothing
    gradient   dL/dz = softmax(z) - q                               since q sums to 1
    reported   - log softmax(z)_true                                so that figures compare, whatever is learned

Distillation is Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), here at temperature 1; label smoothing is Szegedy et al.
2016 (arXiv 1512.00567, section 7).

Shape letters: N characters, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def losses(
    logits: Tensor, targets: Tensor, soft: Tensor | None = None, *, weight: float = 0.0, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Returns the summed loss to learn from and the summed cross-entropy with the true characters, in nats.

    `logits` (N, V) are float32, `targets` (N,) the true ids, `soft` (N, V) a teacher's distributions, whose part in the
    target is `weight`, and `smoothing` is the share of the true character's part that is spread over all.
    """
    if soft is None or not weight:
        soft, weight = None, 0.0
        if not smoothing:
            plain = cross_entropy(logits, targets, reduction="sum")
            return plain, plain.detach()
    learned, plain = _SoftTargets.apply(logits, targets, soft, weight, smoothing)  # type: ignore[no-untyped-call]
    return learned, plain


class _SoftTargets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, soft: Tensor | None, weight: float, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        likely = logits.log_softmax(1)
        places = targets.unsqueeze(1)
        own = 1.0 - weight
        even = own * smoothing / logits.shape[1]
        target = torch.full_like(logits, even) if soft is None else soft * weight
        if soft is not None and even:
            target += even
        target.scatter_add_(1, places, target.new_full((), own * (1.0 - smoothing)).expand_as(places))
        plain = -likely.gather(1, places).sum()
        learned = -torch.dot(target.flatten(), likely.flatten())
        ctx.save_for_backward(likely, target)
        ctx.mark_non_differentiable(plain)
        return learned, plain

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_learned: Tensor, _d_plain: Tensor) -> tuple[Tensor | None, ...]:
        likely, target = ctx.saved_tensors
        return likely.exp().sub_(target).mul_(d_learned), None, None, None, None
