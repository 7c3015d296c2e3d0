"""From logits to the next character: the distribution that settings make of them, and a draw from it.

Random numbers come from a counter-based generator (Philox) made from the seed and the sample's number, one a character,
so a sample depends on nothing else. These are the definitions; the compiled step follows them (native/step.c).

Shape letters: T characters, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.settings.sampling import SamplingConfig

Doubles = npt.NDArray[np.float64]


def probabilities(logits: npt.ArrayLike, config: SamplingConfig) -> Doubles:
    """Returns the distribution (V,) that the next character is drawn from.

    Temperature first; then top-k (Fan et al. 2018, arXiv 1805.04833), then top-p of what is left (Holtzman et al. 2020,
    arXiv 1904.09751, eq. 2), then min-p (Nguyen et al. 2024, arXiv 2407.01082). Among equals the lower id goes first.
    Temperature 0 puts everything on the likeliest.
    """
    scores: Doubles = np.asarray(logits, np.float64)
    if config.temperature == 0:
        likeliest = np.zeros(len(scores))
        likeliest[int(scores.argmax())] = 1.0
        return likeliest
    # A temperature near nothing makes the differences infinite: then, too, all lies on the likeliest.
    with np.errstate(over="ignore"):
        weights: Doubles = np.exp((scores - scores.max()) / config.temperature)
    if config.min_p is not None:
        # The likeliest has weight 1 and is never cut, so this may come before the others as well as after.
        weights[weights < config.min_p] = 0.0
    # By the logits: at a high temperature weights are equal where these are not.
    order = np.argsort(-scores, kind="stable")
    if config.top_k is not None and config.top_k < len(weights):
        weights[order[config.top_k :]] = 0.0
    weights /= weights.sum()
    if config.top_p is not None and config.top_p < 1:
        # A character stays if those before it hold less than top_p: the first always does.
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= config.top_p]] = 0.0
        weights /= weights.sum()
    return weights


def draw(distribution: Doubles, uniform: float) -> int:
    """Returns the id that `uniform` (in [0, 1)) falls on, by inverting the cumulative distribution."""
    cumulative = np.cumsum(distribution)
    place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may leave the last sum a hair short of the draw; never step onto a character of probability 0.
    return min(place, int(np.flatnonzero(distribution)[-1]))


def log_probabilities(logits: npt.ArrayLike) -> Doubles:
    """Returns the model's own distribution (..., V) as natural logarithms."""
    scores: Doubles = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # logits that are not finite give what is not a number, without a warning
        scores = scores - scores.max(-1, keepdims=True)
        normalised: Doubles = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return normalised


def generator(seed: int, sample: int) -> np.random.Generator:
    """Makes the random stream of sample number `sample`."""
    return np.random.Generator(np.random.Philox(key=[seed, sample]))
