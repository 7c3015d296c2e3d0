"""Dynamic evaluation: the weights go on learning from the text, from each segment after it has been scored.

Krause, Kahembwe, Murray & Renals 2018, "Dynamic evaluation of neural sequence models" (arXiv 1709.07432). The text is
read in segments s_1, s_2, ... of a few characters, the state carried. Segment i is scored with weights θ_{i-1}, which
have seen only what comes before it; then its own gradient g_i = ∇ L(s_i), of the mean loss within the segment, moves
them. θ_0 are the trained weights, the global prior that every update decays towards.

    sgd    θ_i = θ_{i-1} - η g_i + λ (θ_0 - θ_{i-1})
    rms    θ_i = θ_{i-1} - η g_i / (R + ε) + min(λ D, 1) (θ_0 - θ_{i-1})
           R = sqrt(1/K Σ_k g_k²),  D = R / mean(R)          element by element, the mean over all weights

The g_k are gradients of K stretches of training text under θ_0, taken once. The limit of 1 keeps the pull from going
beyond θ_0; the authors' code limits D to 1/λ, which is the same. The model's weights are always restored at the end.

There is one stream only. If several lanes of a text adapted one set of weights, a character would be scored by weights
that have learned from later text, in the lanes to its right, and the score would not be valid.

Shape letters: T segment, B lanes, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.evaluation.bpc import Model, Proceed, as_tensor, exact_losses
from charrnn.evaluation.dynamic_rule import DynamicRule
from charrnn.evaluation.score import TextScore
from charrnn.network.layers import StackState
from charrnn.text.stored import TextIds

Arrays = list[Tensor]
"""A list with one tensor for each array of weights, of the same shape."""

STATISTICS_LANES = 100  # as in the authors' code
STATISTICS_SEGMENTS = 100


def rates_and_pulls(rule: DynamicRule, mean_squares: Sequence[Tensor]) -> tuple[Arrays, Arrays]:
    """Returns the factor of each weight's gradient, η / (R + ε) or η, and of its pull to θ_0, min(λ D, 1) or λ.

    Both are arrays of the weights' shapes. `mean_squares` holds R² of each array of weights; the sgd rule takes only
    their shapes.
    """
    if rule.name == "sgd":
        return (
            [torch.full_like(array, rule.learning_rate) for array in mean_squares],
            [torch.full_like(array, min(rule.prior, 1.0)) for array in mean_squares],
        )
    roots = [array.sqrt() for array in mean_squares]
    mean = torch.stack([root.sum(dtype=torch.float32) for root in roots]).sum() / sum(root.numel() for root in roots)
    tiny = torch.finfo(mean.dtype).tiny  # where all gradients are zero, the pull is zero too
    return (
        [rule.learning_rate / (root + rule.epsilon).clamp_min(tiny) for root in roots],
        [(rule.prior * root / mean.clamp_min(tiny)).clamp_max(1.0) for root in roots],
    )


def update(weights: Arrays, trained: Arrays, gradients: Arrays, rates: Arrays, pulls: Arrays) -> None:
    """Moves the weights in place: θ <- θ + pull (θ_0 - θ) - rate g."""
    with torch.no_grad():
        torch._foreach_lerp_(weights, trained, pulls)
        torch._foreach_addcmul_(weights, gradients, rates, value=-1)


def weights_of(model: Model) -> Arrays:
    """Returns the arrays of weights that adapt: all that require gradients."""
    return [array for array in model.arrays().values() if array.requires_grad]


def gradient_statistics(
    model: Model,
    ids: TextIds,
    *,
    segment: int,
    lanes: int = STATISTICS_LANES,
    segments: int = STATISTICS_SEGMENTS,
    proceed: Proceed = lambda _done: None,
) -> Arrays:
    """Returns the mean squares of the gradient over up to `segments` segments, an array for each of `weights_of`. Each
    gradient is that of the mean loss in up to `lanes` lanes, which start evenly over the text and carry their state.

    `proceed` is told the number of characters. Raises ValueError where `ids` is shorter than one segment.
    """
    lanes, count = _statistics_size(len(ids), segment, lanes, segments)
    if lanes < 1:
        raise ValueError("there are no statistics: the text is shorter than a segment")
    length = (len(ids) - 1) // lanes
    weights, state = weights_of(model), model.zero_state(lanes)
    sums = [torch.zeros_like(array) for array in weights]
    starts = np.arange(lanes) * length
    for number in range(count):
        places = starts[None, :] + (number * segment + np.arange(segment))[:, None]
        inputs, targets = as_tensor(ids[places], model), as_tensor(ids[places + 1], model)
        logits, state = model(inputs, state)
        gradients = _gradients(logits, targets, weights)
        torch._foreach_addcmul_(sums, gradients, gradients)
        state = _cut(state)
        proceed((number + 1) * segment * lanes)
    torch._foreach_div_(sums, count)
    return sums


def statistics_characters(length: int, segment: int) -> int:
    """Returns the number of characters, of a text of `length`, from which the statistics are taken."""
    lanes, count = _statistics_size(length, segment, STATISTICS_LANES, STATISTICS_SEGMENTS)
    return lanes * count * segment


def _statistics_size(length: int, segment: int, lanes: int, segments: int) -> tuple[int, int]:
    """Returns the number of lanes, and of segments in each."""
    lanes = min(lanes, (length - 1) // segment)
    return lanes, min(segments, (length - 1) // max(lanes, 1) // segment)


def segment_losses(
    model: Model,
    ids: TextIds,
    rule: DynamicRule,
    mean_squares: Sequence[Tensor] | None = None,
    *,
    temperature: float = 1.0,
) -> Generator[npt.NDArray[np.float64]]:
    """Yields -ln p of each character of `ids[1:]`, a segment (T, 1) at a time. When the generator is closed, the model
    has its trained weights again.

    Logits are divided by `temperature` for scoring, but not for learning. `mean_squares` are the statistics, which the
    sgd rule does not need.
    """
    assert rule.name == "sgd" or mean_squares is not None, "the rms rule needs statistics"
    weights, state = weights_of(model), model.zero_state(1)
    trained = [array.detach().clone() for array in weights]
    rates, pulls = rates_and_pulls(rule, mean_squares if mean_squares is not None else trained)
    try:
        for start in range(0, len(ids) - 1, rule.segment):
            taken = as_tensor(ids[start : start + rule.segment + 1], model)[:, None]
            logits, state = model(taken[:-1], state)
            yield exact_losses(logits.detach(), taken[1:], temperature)
            state = _cut(state)
            if start + rule.segment < len(ids) - 1:
                update(weights, trained, _gradients(logits, taken[1:], weights), rates, pulls)
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, trained)


def score_dynamic(
    model: Model,
    ids: TextIds,
    rule: DynamicRule,
    mean_squares: Sequence[Tensor] | None = None,
    *,
    temperature: float = 1.0,
    proceed: Proceed = lambda _done: None,
) -> TextScore:
    """Scores `ids[1:]` in one stream with adapting weights; see `segment_losses`, and `bpc.score` for `proceed`.

    The nats are not finite where the model diverged at the rule's rates. Raises ValueError for fewer than two ids.
    """
    if len(ids) < 2:
        raise ValueError("there is nothing to score: the text has fewer than two characters")
    nats, done = 0.0, 0
    with contextlib.closing(segment_losses(model, ids, rule, mean_squares, temperature=temperature)) as segments:
        for losses in segments:
            nats += float(losses.sum(0)[0])
            done += len(losses)
            proceed(done)
            if not np.isfinite(nats):
                break
    return TextScore(nats, len(ids) - 1)


def _gradients(logits: Tensor, targets: Tensor, weights: Arrays) -> Arrays:
    """Returns the gradients of the mean loss for all weights; zeros for weights that do not affect it."""
    loss = cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    return list(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))


def _cut(state: StackState) -> StackState:
    return tuple(tuple(array.detach() for array in layer) for layer in state)
