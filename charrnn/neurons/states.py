"""The state of a model: after each character of a text, after chosen places, or after whole texts.

The h of all layers and, of an lstm, tanh(c), unless other units are asked for. Memory depends on the number of places
and on the model; what is yielded is not kept.

Shape letters: T characters in a block, N places or texts, D units.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import (
    ALL,
    Columns,
    Floats,
    Part,
    Report,
    Unit,
    check_finite,
    parts_of,
    record,
    record_units,
    units_named,
)
from charrnn.neurons.statistics import Doubles
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]

_TEXTS = 20  # texts between two reports of progress


def state_units(config: ModelConfig) -> list[Unit]:
    """Returns the D units of a state, in the order of its columns."""
    return units_named(ALL, config)


def states_of(engine: RecordingEngine, ids: Ids, units: Sequence[Unit], start: int, report: Report) -> Iterator[Floats]:
    """Yields the values (T, D) of `units` after each of `ids[start:]`, block by block, with all ids before them read.

    Raises WeightsTooLarge where a value is not finite.
    """
    done = 0
    for block in record_units(engine, ids, Columns(units)):
        check_finite("the state is", block)
        taken = block[max(0, start - done) :]
        done += len(block)
        report("reading", done, len(ids))
        if len(taken):
            yield taken


class Lines(NamedTuple):
    """Where the lines of a text lie, but for empty ones, (N,) each."""

    starts: npt.NDArray[np.int64]
    """The place of each line's first id."""
    lengths: npt.NDArray[np.int64]
    """The number of ids of each, without its end."""


def lines_in(ids: Ids, line_feed: int | None, carriage_return: int | None) -> Lines:
    """Returns the lines of `ids`, which end at a line feed, or at a carriage return and a line feed.

    A text whose vocabulary has no line feed is one line.
    """
    feeds = np.flatnonzero(ids == line_feed) if line_feed is not None else np.zeros(0, np.int64)
    starts, ends = np.append(0, feeds + 1), np.append(feeds, len(ids))
    if carriage_return is not None and len(feeds):
        has_return = (feeds > starts[:-1]) & (ids[feeds - 1] == carriage_return)
        ends[:-1] -= has_return
    is_there = ends > starts
    return Lines(starts[is_there], (ends - starts)[is_there])


def vectors_of(
    engine: RecordingEngine, texts: Iterable[Ids], units: Sequence[Unit], before: Ids
) -> Iterator[tuple[Floats, Floats]]:
    """Yields for each of the texts the values (D,) of `units` after its last id, and their mean over all its ids.

    Each text is read from the zero state after the ids `before`, so that it does not depend on the texts around it. No
    text may be empty. Raises WeightsTooLarge where a value is not finite.
    """
    columns = Columns(units)
    for text in texts:
        sums, unread = np.zeros(len(units)), len(before)
        for block in record_units(engine, np.concatenate([before, text]), columns):
            check_finite("the state is", block)
            sums += block[unread:].sum(0, dtype=np.float64)
            unread = max(0, unread - len(block))
            last = block[-1]
        yield last, (sums / len(text)).astype(np.float32)


def states_in(engine: RecordingEngine, ids: Ids, places: npt.NDArray[np.int64], report: Report) -> Doubles:
    """Returns the state after the characters at `places` (N,), ascending, of a text read from its start: (N, D)."""
    parts, taken, start, end = _parts(engine.config), list[Floats](), 0, int(places[-1]) + 1
    for block in record(engine, ids[:end], parts):
        stop = start + len(block[parts[0]])
        rows = places[slice(*np.searchsorted(places, [start, stop]))] - start
        taken.append(np.concatenate([block[part][rows] for part in parts], 1))
        start = stop
        report("reading", stop, end)
    return _finite(taken)


def states_after(engine: RecordingEngine, texts: Sequence[Ids], report: Report) -> Doubles:
    """Returns the state (N, D) after each of the texts, read from the zero state. No text may be empty."""
    parts, taken = _parts(engine.config), list[Floats]()
    for number, text in enumerate(texts, start=1):
        (last,) = deque(record(engine, text, parts), maxlen=1)
        taken.append(np.concatenate([last[part][-1:] for part in parts], 1))
        if number % _TEXTS == 0 or number == len(texts):
            report("reading texts", number, len(texts))
    return _finite(taken)


def _parts(config: ModelConfig) -> list[Part]:
    return parts_of(config, make_cell(config).state_names)


def _finite(taken: list[Floats]) -> Doubles:
    states = np.concatenate(taken).astype(np.float64)
    check_finite("the state is", states)
    return states
