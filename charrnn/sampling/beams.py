"""Searches for the likeliest text of a model: beam search, several beginnings side by side in lanes.

At each step every beginning is extended by every character, and the likeliest extensions are kept (Lowerre 1976; as in
Sutskever et al. 2014, arXiv 1409.3215, section 3.2). A text that ends (a stop text, an end of document) is put aside;
the search is over when no beginning can become better than those. With a length penalty a, texts are compared by
log p / T^a (Wu et al. 2016, arXiv 1609.08144, section 7, in its plain form).

The greedy text, which takes the likeliest character each time, is always kept as a further beginning: so what is found
is never less likely than that, as plain beam search may be.

Shape letters: B lanes, V vocabulary, T characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.errors import WeightsTooLarge
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.engine import Engine, Floats
from charrnn.sampling.adjusting import Adjustment, coded
from charrnn.sampling.stopping import Ended, Stopping
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Found:
    """A text that the search has ended."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    """Of each id under the model itself, natural logarithms."""
    ended: Ended
    score: float
    """What texts are compared by: the log-probability, by the changed logits where there are any, over T^a."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The beginning of a text, which the model has read."""

    ids: tuple[int, ...] = ()
    own: tuple[float, ...] = ()
    """Log-probabilities under the model itself."""
    totals: tuple[float, ...] = (0.0,)
    """The sum of the log-probabilities that count, after each number of ids."""
    is_greedy: bool = True
    """Whether each of its characters was the likeliest."""
    lane: int = 0
    """The lane of the beginning that it extends."""


def search(
    engine: Engine, vocabulary: Vocabulary, logits: Floats, state: Any, before: str, config: SamplingConfig
) -> list[Found]:
    """Returns the likeliest texts, best first, of at most `config.length` ids.

    There are `config.num_beams` of them, or fewer where no more were found.

    `logits` (1, V) and `state` are those after the prime, and `before` is its end, coded. Raises CheckpointError where
    the model's output is not finite.
    """
    assert config.num_beams is not None
    stopping = Stopping(config, vocabulary)
    adjust = Adjustment(config, vocabulary) if config.is_adjusted else None
    live, done = [_Beginning()], dict[tuple[int, ...], Found]()
    while True:
        if not np.isfinite(logits).all():
            raise WeightsTooLarge("the model's output is")
        going: list[_Beginning] = []
        for rank, text in enumerate(_extensions(logits, live, before, adjust, 2 * config.num_beams)):
            found = _ended(text, stopping, config)
            if found is None:
                if text.is_greedy or len(going) < config.num_beams:
                    going.append(text)
            elif text.is_greedy or rank < config.num_beams:
                best = done.get(found.ids)
                done[found.ids] = found if best is None or best.score < found.score else best
        ranking = sorted(done.values(), key=lambda each: (-each.score, each.ids))[: config.num_beams]
        is_full = len(ranking) == config.num_beams
        if not going or (is_full and ranking[-1].score >= max(_most(text, config) for text in going)):
            return ranking
        live = going
        ids = np.array([text.ids[-1] for text in live], np.int32)
        logits, state = engine.step(ids, engine.take(state, [text.lane for text in live]))


def _extensions(
    logits: Floats, live: list[_Beginning], before: str, adjust: Adjustment | None, most: int
) -> Iterator[_Beginning]:
    """Yields the likeliest texts that are one character longer than a beginning, and always the greedy one."""
    own = log_probabilities(logits)
    counted = own
    if adjust is not None:
        texts = [(before + coded(text.ids))[-adjust.reach :] for text in live]
        counted = log_probabilities([adjust(row, text) for row, text in zip(logits, texts, strict=True)])
    totals = np.array([text.totals[-1] for text in live])[:, None] + counted
    order = np.argsort(-totals.ravel(), kind="stable")
    greedy = [lane * totals.shape[1] + int(counted[lane].argmax()) for lane, text in enumerate(live) if text.is_greedy]
    chosen = order[:most].tolist()
    for place in [*chosen, *(place for place in greedy if place not in chosen)]:
        lane, id_ = divmod(place, totals.shape[1])
        text = live[lane]
        yield _Beginning(
            (*text.ids, id_),
            (*text.own, float(own[lane, id_])),
            (*text.totals, float(totals[lane, id_])),
            place in greedy,
            lane,
        )


def _ended(text: _Beginning, stopping: Stopping, config: SamplingConfig) -> Found | None:
    """Returns a text that ends with its last character, or None where it goes on."""
    known = len(text.ids) - 1
    cut = max(0, known - stopping.reach)
    look = stopping.look(text.ids[cut:], known - cut, is_cut=cut > 0)
    ended, kept, counted = look.ended, cut + look.certain, cut + look.counted
    if ended is None:
        if len(text.ids) < config.length:
            return None
        ended, kept, counted = Ended("length"), len(text.ids), len(text.ids)
    score = text.totals[counted] / max(1, counted) ** config.length_penalty
    return Found(text.ids[:kept], text.own[:kept], ended, score)


def _most(text: _Beginning, config: SamplingConfig) -> float:
    """Returns what no text with this beginning can be better than."""
    length = config.length if config.length_penalty > 0 else len(text.ids)
    return float(text.totals[-1] / length**config.length_penalty)
