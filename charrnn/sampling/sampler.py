"""Samples text: runs the prime through the model once, then draws character after character, for many samples at once.

This works with any engine: the compiled one, numpy's or a GPU's. Each sample has its own settings and its own random
stream (inference/distribution.py), so its text does not depend on the samples beside it. Text comes in pieces: the
first has one character, so that it is shown at once; later ones have what the model writes in `_MOMENT` seconds.

Shape letters: T characters, B lanes, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import WeightsTooLarge
from charrnn.inference.distribution import generator
from charrnn.inference.engine import Doubles, Engine, Floats, Integers
from charrnn.settings.config import SamplingConfig
from charrnn.text.vocabulary import Decoder, Vocabulary

_MOMENT = 0.02  # seconds that a piece takes at most: Ctrl-C answers and the text flows
_LONGEST_PIECE = 4096
_BLOCK = 4096  # characters of a prime read in one go


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A sample to write: its settings, and its number, which with the seed determines its random stream."""

    config: SamplingConfig
    number: int = 0


@dataclass(frozen=True, slots=True)
class SampledPiece:
    """A piece of a sample: some of its characters, in order."""

    sample: int
    """The place of the sample among the requests."""
    text: str
    """The characters that the ids complete; in byte mode a character's bytes may be spread over two pieces."""
    ids: Integers
    """The ids that were drawn, (T,)."""
    log_probabilities: Doubles
    """The natural log-probabilities of the ids under the model itself (temperature 1, nothing cut), (T,)."""
    is_last: bool
    is_ended: bool = False
    """Whether the sample ended because its document did; the end of it is then the last of the ids."""


def prime_ids(vocabulary: Vocabulary, ids: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the ids that the model reads before it writes: a line end, and then the prime.

    In training a model has hardly seen beginnings of texts, and the first characters of a prime after the zero state
    lead some models astray (guide/experiments.md). After a line end, the prime is the beginning of a line, which is
    common. A model of documents reads the end of a document there, after which each document begins.
    """
    if vocabulary.end is not None:
        return np.concatenate([[vocabulary.end], np.asarray(ids)]).astype(np.int32)
    start = vocabulary.lookup("\n")[:1] if "\n" in vocabulary else np.zeros(0 if len(ids) else 1)
    return np.concatenate([start, np.asarray(ids)]).astype(np.int32)


def read_prime(engine: Engine, vocabulary: Vocabulary, ids: Sequence[int] | npt.NDArray[Any]) -> tuple[Floats, Any]:
    """Returns logits (1, V) and state after the prime, read once from the zero state."""
    # Only its beginning is put together with the line end: a prime may be as long as memory is large.
    beginning = prime_ids(vocabulary, ids[:_BLOCK])
    logits, state = engine.read(beginning[:_BLOCK], engine.zero_state(1))
    read = _BLOCK - (len(beginning) - len(ids[:_BLOCK]))
    return (logits, state) if read >= len(ids) else read_blocks(engine, ids[read:], state)


def read_blocks(engine: Engine, ids: Sequence[int] | npt.NDArray[Any], state: Any) -> tuple[Floats, Any]:
    """Returns logits (1, V) and state after at least one id, read in pieces of bounded size."""
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.read(np.asarray(ids[start : start + _BLOCK], np.int32), state)
    return logits, state


def require_finite(is_finite: bool) -> None:
    """Raises WeightsTooLarge where a model's output is not finite."""
    if not is_finite:
        raise WeightsTooLarge("the model's output is")


def write(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: Sequence[int] | npt.NDArray[Any],
    requests: Sequence[SampleRequest],
) -> Iterator[SampledPiece]:
    """Yields what the model writes after `prime` (ids) for each request, piece by piece, side by side.

    The pieces of one sample come in order. A sample ends after `config.length` ids, with `config.stop`, or where its
    document does, of a model of documents. Raises CheckpointError where the model's output is not finite.
    """
    logits, state = read_prime(engine, vocabulary, prime)
    most = engine.most_lanes
    for start in range(0, len(requests), most):
        lanes = [
            _Lane(start + place, request, vocabulary.decoder(), vocabulary.end)
            for place, request in enumerate(requests[start : start + most])
        ]
        yield from _write_together(
            engine, lanes, np.repeat(logits, len(lanes), 0), engine.take(state, [0] * len(lanes))
        )


def sample(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: Sequence[int] | npt.NDArray[Any],
    config: SamplingConfig,
    number: int = 0,
) -> Iterator[str]:
    """Yields the text of one sample, piece by piece. See `write`."""
    for piece in write(engine, vocabulary, prime, [SampleRequest(config, number)]):
        if piece.text:
            yield piece.text


class _Lane:
    """A sample that is being written, in its lane of the batch."""

    def __init__(self, place: int, request: SampleRequest, decode: Decoder, end: int | None) -> None:
        config = request.config
        self.place, self.request, self.decode, self.end = place, request, decode, end
        self.random = generator(config.seed, request.number)
        self.left = math.inf if config.repeat_until_stop else config.length
        """The number of characters still to write."""
        self.tail = ""
        """The last characters of the text so far, as many as the stop text has."""

    def accept(self, ids: Integers, log_probabilities: Doubles) -> SampledPiece:
        """Returns the piece made of those of the drawn `ids` that still belong to the sample."""
        count = int(min(len(ids), self.left))
        stop = self.request.config.stop
        pieces: list[str] = []
        is_stopped = is_ended = False
        if self.end is not None and (ends := np.flatnonzero(ids[:count] == self.end)).size:
            count, is_ended = int(ends[0]) + 1, True
        if stop is None:
            pieces = list(map(self.decode, ids[:count].tolist()))
        else:
            for place, id_ in enumerate(ids[:count].tolist()):
                pieces.append(self.decode(id_))
                self.tail = (self.tail + pieces[-1])[-len(stop) :]
                if self.tail == stop:
                    count, is_stopped, is_ended = place + 1, True, False
                    break
        self.left -= count
        is_last = is_stopped or is_ended or self.left <= 0
        if is_last:
            pieces.append(self.decode.finish())
        return SampledPiece(self.place, "".join(pieces), ids[:count], log_probabilities[:count], is_last, is_ended)


def _write_together(engine: Engine, lanes: list[_Lane], logits: Floats, state: Any) -> Iterator[SampledPiece]:
    length = 1
    while lanes:
        length = int(min(length, max(lane.left for lane in lanes)))
        uniforms = np.stack([lane.random.random(length) for lane in lanes], axis=1)
        began = time.perf_counter()
        written = engine.write(logits, state, [lane.request.config for lane in lanes], uniforms)
        seconds = time.perf_counter() - began
        require_finite(written.is_finite)
        logits, state = written.logits, written.state
        going: list[int] = []
        for place, lane in enumerate(lanes):
            piece = lane.accept(written.ids[:, place], written.log_probabilities[:, place])
            yield piece
            if not piece.is_last:
                going.append(place)
        if len(going) < len(lanes):
            lanes = [lanes[place] for place in going]
            if lanes:
                logits, state = logits[going], engine.take(state, going)
        pace = length / max(seconds, 1e-6)  # characters a second in each lane
        length = max(1, min(2 * length, int(pace * _MOMENT), _LONGEST_PIECE))
