"""Writing text: run the prime through the model, then draw one character after the other.

Works over any stepper, the numpy one or another. Random numbers come from a counter-based generator (Philox) made
from the seed and the sample's number, one a character, so a sample depends on nothing else. Knows distributions and
ids. Refuses to know where the text goes.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.config import SamplingConfig
from charrnn.errors import CheckpointError
from charrnn.vocabulary import Vocabulary


class Stepper(Protocol):
    """What sampling needs of a model."""

    def zero_state(self, lanes: int = 1) -> Any:
        """The state before the first character."""

    def step(self, ids: npt.ArrayLike, state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """One character in each lane (B,) -> logits (B, V) and the new state."""


def probabilities(logits: npt.ArrayLike, config: SamplingConfig) -> npt.NDArray[np.float64]:
    """The distribution (V,) that the next character is drawn from.

    Temperature first; then top-k (Fan et al. 2018, arXiv 1805.04833), then top-p of what is left (Holtzman et al. 2020,
    arXiv 1904.09751, eq. 2). Among equals the lower id goes first. Temperature 0 puts everything on the likeliest.
    """
    scores: npt.NDArray[np.float64] = np.asarray(logits, np.float64)
    if config.temperature == 0:
        likeliest = np.zeros(len(scores))
        likeliest[int(scores.argmax())] = 1.0
        return likeliest
    # A temperature near nothing makes the differences infinite: then, too, all lies on the likeliest.
    with np.errstate(over="ignore"):
        weights: npt.NDArray[np.float64] = np.exp((scores - scores.max()) / config.temperature)
    if config.top_k is not None and config.top_k < len(weights):
        weights[np.argsort(-weights, kind="stable")[config.top_k :]] = 0.0
    weights /= weights.sum()
    if config.top_p is not None and config.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        # A character stays if those before it hold less than top_p: the first always does.
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= config.top_p]] = 0.0
        weights /= weights.sum()
    return weights


def draw(distribution: npt.NDArray[np.float64], uniform: float) -> int:
    """The id that `uniform` (in [0, 1)) falls on: inversion of the cumulative distribution."""
    cumulative = np.cumsum(distribution)
    place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may leave the last sum a hair short of the draw; never step onto a character of probability 0.
    return min(place, int(np.flatnonzero(distribution)[-1]))


def generator(seed: int, sample: int) -> np.random.Generator:
    """The random stream of sample number `sample`."""
    return np.random.Generator(np.random.Philox(key=[seed, sample]))


def prime_ids(vocabulary: Vocabulary, ids: Sequence[int]) -> Sequence[int]:
    """What the model reads before it writes: the prime, or a line end where there is none.

    A model has never seen a beginning, only continuations, and the commonest beginning is that of a line.
    """
    if len(ids):
        return ids
    return [int(vocabulary.lookup("\n")[0])] if "\n" in vocabulary else [0]


def sample(
    model: Stepper, vocabulary: Vocabulary, prime: Sequence[int], config: SamplingConfig, number: int = 0
) -> Iterator[str]:
    """Yields what the model writes after `prime` (ids), piece by piece: a character at a time.

    In byte mode a piece is empty until a character is complete. Ends after `config.length` ids or with `config.stop`.
    Raises CheckpointError where the model's output is not finite.
    """
    random = generator(config.seed, number)
    state = model.zero_state(1)
    logits: npt.NDArray[np.float32] | None = None
    for id_ in prime_ids(vocabulary, prime):
        logits, state = model.step([id_], state)
    decode = vocabulary.decoder()
    written = ""
    for _ in range(config.length):
        assert logits is not None
        if not np.isfinite(logits).all():
            raise CheckpointError("the model's output is not finite: its weights are too large", "train again")
        id_ = draw(probabilities(logits[0], config), random.random())
        piece = decode(id_)
        yield piece
        if config.stop is not None:
            written = (written + piece)[-len(config.stop) :]
            if written == config.stop:
                break
        logits, state = model.step([id_], state)
    if rest := decode.finish():
        yield rest
