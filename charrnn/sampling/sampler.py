"""Samples text: runs the prime through the model once, then draws character after character, for many samples at once.

This works with any engine: the compiled one, numpy's or a GPU's. Each sample has its own settings and its own random
stream (inference/distribution.py), so its text does not depend on the samples beside it. Text comes in pieces: the
first has one character, so that it is shown at once; later ones have what the model writes in `_MOMENT` seconds.

Shape letters: T characters, B lanes, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import UsageError, WeightsTooLarge
from charrnn.inference.distribution import generator, log_probabilities
from charrnn.inference.engine import Doubles, Engine, Floats, Integers
from charrnn.sampling.adjusting import Adjustment, coded
from charrnn.sampling.beams import Found, search
from charrnn.sampling.stopping import Ended, Stopping
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count

_MOMENT = 0.02  # seconds that a piece takes at most: Ctrl-C answers and the text flows
_LONGEST_PIECE = 4096
_SHORTEST_PIECE = 8  # characters that samples which end early are written by, at least
_BLOCK = 4096  # characters of a prime read in one go

Ids = Sequence[int] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A sample to write: its settings, and its number, which with the seed determines its random stream."""

    config: SamplingConfig
    number: int = 0
    """With beams, the text's place in their ranking."""
    prime: Ids | None = None
    """The ids that it goes on from, where these are its own."""


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
    ended: Ended | None
    """Why the sample ended with this piece, or None where it goes on."""

    @property
    def is_last(self) -> bool:
        """Whether the sample ended with this piece."""
        return self.ended is not None


def prime_ids(vocabulary: Vocabulary, ids: Ids) -> npt.NDArray[Any]:
    """Returns the ids that the model reads before it writes: a line end, and then the prime.

    In training a model has hardly seen beginnings of texts, and the first characters of a prime after the zero state
    lead some models astray (guide/experiments.md). After a line end, the prime is the beginning of a line, which is
    common. A model of documents reads the end of a document there, after which each document begins.
    """
    if vocabulary.end is not None:
        return np.concatenate([[vocabulary.end], np.asarray(ids)]).astype(np.int32)
    start = vocabulary.lookup("\n")[:1] if "\n" in vocabulary else np.zeros(0 if len(ids) else 1)
    return np.concatenate([start, np.asarray(ids)]).astype(np.int32)


def read_prime(engine: Engine, vocabulary: Vocabulary, ids: Ids) -> tuple[Floats, Any]:
    """Returns logits (1, V) and state after the prime, read once from the zero state."""
    # Only its beginning is put together with the line end: a prime may be as long as memory is large.
    beginning = prime_ids(vocabulary, ids[:_BLOCK])
    logits, state = engine.read(beginning[:_BLOCK], engine.zero_state(1))
    read = _BLOCK - (len(beginning) - len(ids[:_BLOCK]))
    return (logits, state) if read >= len(ids) else read_blocks(engine, ids[read:], state)


def read_blocks(engine: Engine, ids: Ids, state: Any) -> tuple[Floats, Any]:
    """Returns logits (1, V) and state after at least one id, read in pieces of bounded size."""
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.read(np.asarray(ids[start : start + _BLOCK], np.int32), state)
    return logits, state


def require_finite(is_finite: bool) -> None:
    """Raises WeightsTooLarge where a model's output is not finite."""
    if not is_finite:
        raise WeightsTooLarge("the model's output is")


def check_possible(config: SamplingConfig, vocabulary: Vocabulary) -> None:
    """Raises UsageError for a stop that can never come, and for a biased text that the model cannot write."""
    Stopping(config, vocabulary)
    if config.is_adjusted:
        Adjustment(config, vocabulary)


def write(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: Ids,
    requests: Iterable[SampleRequest],
    *,
    most_lanes: int | None = None,
) -> Iterator[SampledPiece]:
    """Yields what the model writes after `prime` (ids) for each request, piece by piece, side by side.

    The pieces of one sample come in order. A request that has a prime of its own goes on from that. Requests are taken
    when a lane is free, of which there are `most_lanes` or as many as are good for the engine; so there may be more of
    them than anyone will wait for. Raises UsageError for a stop text or a biased text that cannot come, and
    CheckpointError where the model's output is not finite.
    """
    supply: Iterator[tuple[int, SampleRequest]] = enumerate(requests)
    starts = _Starts(engine, vocabulary, prime)
    most = engine.most_lanes if most_lanes is None else max(1, min(most_lanes, engine.most_lanes))
    together = _Together(engine)
    while True:
        for place, request in islice(supply, most - len(together.lanes)):
            if request.config.num_beams is not None:
                yield _searched(vocabulary, starts, place, request)
            else:
                logits, state = starts.of(request)
                together.add(_Lane(place, request, vocabulary, starts.end_of(request)), logits, state)
        if together.lanes:
            yield from together.write()
        elif (more := next(supply, None)) is None:  # all that was taken was searched for
            return
        else:
            supply = chain([more], supply)


def sample(
    engine: Engine, vocabulary: Vocabulary, prime: Ids, config: SamplingConfig, number: int = 0
) -> Iterator[str]:
    """Yields the text of one sample, piece by piece. See `write`."""
    for piece in write(engine, vocabulary, prime, [SampleRequest(config, number)]):
        if piece.text:
            yield piece.text


class _Starts:
    """Where samples begin: logits and state after the prime, which is read once for all that go on from it."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, prime: Ids) -> None:
        self._engine, self._vocabulary, self._common = engine, vocabulary, prime
        self._read: tuple[Ids, tuple[Floats, Any]] | None = None
        self._ranked: tuple[SamplingConfig, Ids, list[Found]] | None = None

    def of(self, request: SampleRequest) -> tuple[Floats, Any]:
        """Returns logits (1, V) and state after the request's prime."""
        prime = self._prime(request)
        if self._read is None or self._read[0] is not prime:
            self._read = prime, read_prime(self._engine, self._vocabulary, prime)
        return self._read[1]

    def end_of(self, request: SampleRequest) -> str:
        """Returns the last characters of the request's prime, coded, of which as many as may matter to it."""
        reach = Adjustment(request.config, self._vocabulary).reach if request.config.is_adjusted else 0
        return coded(list(self._prime(request)[-reach:])) if reach else ""

    def ranking(self, request: SampleRequest) -> list[Found]:
        """Returns the likeliest texts after the request's prime, which are searched for once."""
        asked = request.config, self._prime(request)
        if self._ranked is None or self._ranked[0] is not asked[0] or self._ranked[1] is not asked[1]:
            found = search(self._engine, self._vocabulary, *self.of(request), self.end_of(request), request.config)
            self._ranked = *asked, found
        return self._ranked[2]

    def _prime(self, request: SampleRequest) -> Ids:
        return self._common if request.prime is None else request.prime


def _searched(vocabulary: Vocabulary, starts: _Starts, place: int, request: SampleRequest) -> SampledPiece:
    """Returns the text that beam search finds: of request number n the n-th best after the best."""
    found = starts.ranking(request)
    if request.number >= len(found):
        raise UsageError(
            f"--num-beams {request.config.num_beams} found {count(len(found), 'text')}, fewer than are asked for",
            "ask for fewer with --count",
        )
    text = found[request.number]
    ids, likely = np.array(text.ids, np.int32), np.array(text.log_probabilities, np.float64)
    return SampledPiece(place, vocabulary.decode(ids), ids, likely, text.ended)


class _Lane:
    """A sample that is being written, in its lane of the batch."""

    def __init__(self, place: int, request: SampleRequest, vocabulary: Vocabulary, before: str) -> None:
        config = request.config
        self.place, self.config = place, config
        self.random = generator(config.seed_number, request.number)
        self.left = math.inf if config.repeat_until_stop else config.length
        """The number of characters still to write."""
        self.adjust = Adjustment(config, vocabulary) if config.is_adjusted else None
        self.before = before
        """The last characters of prime and text, coded, where logits are adjusted."""
        self.written = 0
        """The number of ids that were given out."""
        self._stopping, self._decode = Stopping(config, vocabulary), vocabulary.decoder()
        self._ids: list[int] = []
        """The last ids of the sample: those that matter to its end, and those that are not given out yet."""
        self._is_cut = False
        self._held: Doubles = np.empty(0)
        """The log-probabilities of the last ids, which are not given out since they may not belong to the sample."""

    def accept(self, ids: Integers, log_probabilities: Doubles) -> SampledPiece:
        """Returns the piece made of those drawn ids, the new ones and those held back, that belong to the sample."""
        taken = int(min(len(ids), self.left))
        known, given = len(self._ids), len(self._ids) - len(self._held)
        self._ids += ids[:taken].tolist()
        self.left -= taken
        look = self._stopping.look(self._ids, known, is_cut=self._is_cut)
        certain, ended = look.certain, look.ended
        if ended is None and self.left <= 0:
            certain, ended = len(self._ids), Ended("length")
        likely = np.concatenate([self._held, log_probabilities[:taken]])
        fresh = self._ids[given:certain]
        text = "".join(map(self._decode, fresh)) + (self._decode.finish() if ended else "")
        if self.adjust is not None:
            self.before = (self.before + coded(ids[:taken].tolist()))[-self.adjust.reach :]
        self._held = likely[len(fresh) :]
        self.written += len(fresh)
        if (unneeded := len(self._ids) - max(self._stopping.reach, len(self._held))) > 0:
            del self._ids[:unneeded]
            self._is_cut = True
        return SampledPiece(self.place, text, np.array(fresh, np.int32), likely[: len(fresh)], ended)


class _Together:
    """Samples that are written side by side, each in its lane; as one ends, another may take its lane."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lanes: list[_Lane] = []
        self._logits: list[Floats] = []
        self._states: list[Any] = []
        self._length = 1
        self._ended, self._characters = 0, 0
        """How many samples have ended before their length, and with how many characters in all."""

    def add(self, lane: _Lane, logits: Floats, state: Any) -> None:
        """Adds a sample that goes on from logits (1, V) and state."""
        self.lanes.append(lane)
        self._logits.append(logits)
        self._states.append(state)

    def write(self) -> Iterator[SampledPiece]:
        """Writes on in each lane, yields a piece of each, and lets those go that have ended."""
        engine, lanes = self._engine, self.lanes
        logits = np.concatenate(self._logits)
        state = self._states[0] if len(self._states) == 1 else engine.join(self._states)
        length = int(min(self._length, max(lane.left for lane in lanes)))
        if self._ended:  # what is written past a sample's end is lost
            length = min(length, max(_SHORTEST_PIECE, self._characters // self._ended))
        is_adjusted = any(lane.adjust is not None for lane in lanes)
        length = 1 if is_adjusted else length
        uniforms = np.stack([lane.random.random(length) for lane in lanes], axis=1)
        began = time.perf_counter()
        written = engine.write(
            _adjusted(lanes, logits) if is_adjusted else logits, state, [lane.config for lane in lanes], uniforms
        )
        seconds = time.perf_counter() - began
        require_finite(written.is_finite and (not is_adjusted or bool(np.isfinite(logits).all())))
        likely = written.log_probabilities
        if is_adjusted:  # they are the model's own, whatever was drawn from
            likely = log_probabilities(logits)[np.arange(len(lanes)), written.ids[0]][None]
        going: list[int] = []
        for place, lane in enumerate(lanes):
            piece = lane.accept(written.ids[:, place], likely[:, place])
            yield piece
            if piece.ended is None:
                going.append(place)
            elif piece.ended.reason != "length":
                self._ended += 1
                self._characters += lane.written
        logits, state = written.logits, written.state
        if len(going) < len(lanes):
            self.lanes = [lanes[place] for place in going]
            if going:
                logits, state = logits[going], engine.take(state, going)
        self._logits, self._states = ([logits], [state]) if going else ([], [])
        pace = length / max(seconds, 1e-6)  # characters a second in each lane
        self._length = max(1, min(2 * length, int(pace * _MOMENT), _LONGEST_PIECE))


def _adjusted(lanes: Sequence[_Lane], logits: Floats) -> Floats:
    """Returns logits (B, V) with those of each lane changed as its settings have it."""
    rows = [
        row if lane.adjust is None else lane.adjust(row, lane.before) for lane, row in zip(lanes, logits, strict=True)
    ]
    return np.array(rows, np.float32)
