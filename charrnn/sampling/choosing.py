"""Chooses among samples: those that differ, that are new, in which a pattern is found; more are drawn until there are
enough.

Samples are drawn in many lanes at once and judged in the order of their numbers, so that which of them are kept depends
on seed and settings alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from charrnn.inference.engine import Engine
from charrnn.sampling.sampler import Ids, SampledPiece, SampleRequest, write
from charrnn.sampling.training_text import TrainingText
from charrnn.settings.sampling import SamplingConfig, Selection
from charrnn.text.vocabulary import Vocabulary

_FEWEST_LANES = 8


@dataclass
class Judge:
    """Judges samples, and remembers those that it kept and how often it kept none."""

    selection: Selection
    training_text: TrainingText | None = None
    """The text that samples must not stand in, where they are to be novel."""
    refused: Counter[str] = field(default_factory=Counter)
    """Why samples were not kept: how many were "repeated", "in the training text" or "without a match"."""
    _kept: set[str] = field(default_factory=set)

    def keeps(self, text: str, encoded: bytes, *, is_line: bool) -> bool:
        """Returns whether a sample, with its prime, is kept; it counts as kept from now on."""
        reason = self._reason(text, encoded, is_line=is_line)
        if reason is not None:
            self.refused[reason] += 1
            return False
        self._kept.add(text)
        return True

    def _reason(self, text: str, encoded: bytes, *, is_line: bool) -> str | None:
        wanted = self.selection
        if wanted.filter is not None and not re.search(wanted.filter, text):
            return "without a match"
        if wanted.unique and text in self._kept:
            return "repeated"
        if self.training_text is not None and self.training_text.holds(encoded, is_line=is_line):
            return "in the training text"
        return None


def choose(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: Ids,
    config: SamplingConfig,
    judge: Judge,
    count: int,
) -> Iterator[tuple[SampleRequest, SampledPiece]]:
    """Yields up to `count` samples that the judge keeps, each in one piece, and its request.

    Fewer are yielded where `judge.selection.tries` times as many were drawn. See `write` for what it raises.
    """
    requests = (SampleRequest(config, number, prime) for number in range(count * judge.selection.tries))
    before, kept = vocabulary.decode(np.asarray(prime, np.int64)), 0
    pieces = write(engine, vocabulary, prime, requests, most_lanes=max(_FEWEST_LANES, count))
    for sample in whole(pieces):
        assert sample.ended is not None
        text = before + sample.text
        raw = encoded(vocabulary, np.concatenate([np.asarray(prime, np.int64), sample.ids]))
        if judge.keeps(text, raw, is_line=sample.ended.is_line):
            yield SampleRequest(config, sample.sample, prime), sample
            kept += 1
            if kept == count:
                return


def whole(pieces: Iterable[SampledPiece]) -> Iterator[SampledPiece]:
    """Yields samples as one piece each, in the order of their requests."""
    parts: dict[int, list[SampledPiece]] = {}
    current = 0
    for piece in pieces:
        parts.setdefault(piece.sample, []).append(piece)
        while current in parts and parts[current][-1].is_last:
            yield _joined(parts.pop(current))
            current += 1


def _joined(parts: list[SampledPiece]) -> SampledPiece:
    return SampledPiece(
        parts[0].sample,
        "".join(part.text for part in parts),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.log_probabilities for part in parts]),
        parts[-1].ended,
    )


def encoded(vocabulary: Vocabulary, ids: Ids) -> bytes:
    """Returns ids as a file holds them: as UTF-8, in byte mode the bytes themselves."""
    array = np.asarray(ids, np.int64)
    if vocabulary.kind == "bytes":
        return array.astype(np.uint8).tobytes()
    return vocabulary.decode(array).encode("utf-8", "surrogatepass")
