"""Penalties, which are added to the differentiated loss but not to the reported one.

    activation   alpha mean (m y_t)^2            y_t what the decoder reads, m its dropout
    temporal     beta mean (h_{t+1} - h_t)^2     h_t the last layer's output, before any dropout
                 (0 where a lane begins anew in between)
                 (Merity, McCann & Socher 2017, arXiv 1708.01009, section 3; Merity, Keskar & Socher 2018, arXiv
                 1708.02182, section 4.5). Means are over steps, lanes and units, as in their code
    orthogonal   lambda sum |W^T W - I|^2        over each gate's recurrent matrix W of every layer, Frobenius norm
                 (Vorontsov et al. 2017, arXiv 1702.00071, section 3.3)
    l2           lambda / 2 sum w^2              over all weights (as in Melis et al. 2020, arXiv 1909.01792; Merity,
                 Keskar & Socher 2018 add its gradient lambda w behind the clipping, here it is clipped with the rest)

Shape letters: T window, B lanes, I inputs of the decoder, H hidden size, G gates.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from charrnn.settings.config import TrainingConfig


def watches_outputs(training: TrainingConfig) -> bool:
    """Whether one of the penalties depends on the outputs of the layers."""
    return bool(training.activation_penalty or training.temporal_penalty)


def penalty(
    training: TrainingConfig,
    arrays: Mapping[str, Tensor],
    read: Tensor | None,
    last: Tensor | None,
    begun: Tensor | None = None,
) -> Tensor | None:
    """Returns what is added to the mean loss of some lanes; None where all penalties are off.

    `arrays` are the model's; `read` (T, B, I) is what its decoder read and `last` (T, B, H) what its last layer put
    out, where `watches_outputs`; `begun` (T, B) is true where a lane began anew before the step.
    """
    terms = []
    if training.activation_penalty:
        assert read is not None
        terms.append(training.activation_penalty * read.float().square().mean())
    if training.temporal_penalty:
        assert last is not None
        steps = last.float().diff(dim=0)
        if begun is not None:
            steps = steps.masked_fill(begun[1:].unsqueeze(2), 0.0)
        if len(steps):  # a window of one character has none
            terms.append(training.temporal_penalty * steps.square().mean())
    if training.orthogonal_penalty:
        matrices = [array for name, array in arrays.items() if name.endswith("weight_hh")]
        terms.append(training.orthogonal_penalty * torch.stack([far_from_orthogonal(one) for one in matrices]).sum())
    if training.l2:
        squares = torch.stack([array.float().square().sum() for array in arrays.values()])
        terms.append(0.5 * training.l2 * squares.sum())
    return torch.stack(terms).sum() if terms else None


def far_from_orthogonal(matrix: Tensor) -> Tensor:
    """Returns sum |W^T W - I|^2 over the blocks W (H, H) of `matrix` (G H, H)."""
    H = matrix.shape[1]
    blocks = matrix.view(-1, H, H)
    products = blocks.transpose(1, 2) @ blocks
    return (products - torch.eye(H, dtype=matrix.dtype, device=matrix.device)).square().sum()
