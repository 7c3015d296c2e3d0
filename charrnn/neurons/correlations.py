"""Correlations of units of two models that read the same text, and what the best of many is by chance.

Activations are kept at sampled places, one drawn from each of N equal cells of each half of the text, so that memory
depends on the models and not on the text. Pearson correlations are of these values. By chance the partner of a unit is
the unit that correlates most with it when one of the two texts is turned round: shifts keep what each unit remembers,
and take away that both read the same. As in `shifts.py`, the two parts before and after the middle are turned by
different lengths, lest lines of equal length fall on lines.

Shape letters: N places of a half, U and V units of two models, S shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import Floats, Unit, check_finite, kinds, parts_of, record, units_of
from charrnn.neurons.shifts import NEAREST
from charrnn.neurons.statistics import Doubles

Places = npt.NDArray[np.int64]

_ROWS = 256


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """The activations of a model's units at the same places of a text as those of other models."""

    units: list[Unit]
    first: Floats
    """Those at places of the first half, (U, N)."""
    second: Floats
    """Those at places of the second half, (U, N)."""


def draw_places(begin: int, end: int, count: int, random: np.random.Generator) -> Places:
    """Returns `count` places of `begin` to `end` in their order, one from each of as many cells of equal width."""
    edges = begin + np.arange(count + 1) * (end - begin) // count
    return random.integers(edges[:-1], edges[1:])


def take(
    engine: RecordingEngine, ids: npt.NDArray[np.integer], places: Sequence[Places], report: Callable[[int], None]
) -> Sample:
    """Reads the text once, and returns the activations of all units, states and gates, at `places` of its two halves.

    `report` is told how many characters have been read. Raises WeightsTooLarge where an activation is not finite.
    """
    of_kinds = kinds(engine.config)
    parts, H = parts_of(engine.config, of_kinds), engine.config.hidden_size
    taken = [np.zeros((len(parts) * H, len(chosen)), np.float32) for chosen in places]
    start = 0
    for block in record(engine, ids, parts):
        stop = start + len(block[parts[0]])
        for values, chosen in zip(taken, places, strict=True):
            here = slice(*np.searchsorted(chosen, [start, stop]))
            for number, part in enumerate(parts):
                values[number * H : (number + 1) * H, here] = block[part][chosen[here] - start].T
        start = stop
        report(start)
    for values in taken:
        check_finite("a unit is", values)
    return Sample(units_of(engine.config, of_kinds), taken[0], taken[1])


def standardised(values: Floats) -> Doubles:
    """Returns rows (U, N) less their means, divided by their norms, so that products of rows are correlations.

    A constant row becomes zero, and correlates with nothing.
    """
    centred = values.astype(np.float64)
    centred -= centred.mean(1, keepdims=True)
    norms = np.sqrt((centred**2).sum(1, keepdims=True))
    varies = np.ptp(values, axis=1, keepdims=True) > 0
    scaled: Doubles = np.divide(centred, norms, out=np.zeros_like(centred), where=varies)
    return scaled


def partners(mine: Floats, theirs: Floats) -> npt.NDArray[np.int64]:
    """Returns for each of `mine` (U, N) which of `theirs` (V, N) correlates most with it, whatever the sign, (U,)."""
    best, which = np.full(len(mine), -1.0), np.zeros(len(mine), np.int64)
    for begin in range(0, len(theirs), _ROWS):
        columns = standardised(theirs[begin : begin + _ROWS]).T
        for row in range(0, len(mine), _ROWS):
            found = np.abs(standardised(mine[row : row + _ROWS]) @ columns)
            here = found.argmax(1)
            highest = found[np.arange(len(here)), here]
            rows = row + np.flatnonzero(highest > best[row : row + _ROWS])
            best[rows], which[rows] = highest[rows - row], here[rows - row] + begin
    return which


def paired(mine: Floats, theirs: Floats) -> Doubles:
    """Returns the correlation of each row of `mine` with the same row of `theirs`, (U, N), (U, N) -> (U,)."""
    blocks = [slice(begin, begin + _ROWS) for begin in range(0, len(mine), _ROWS)]
    return np.concatenate(
        [(standardised(mine[rows]) * standardised(theirs[rows])).sum(1) for rows in blocks] or [np.zeros(0)]
    )


def by_chance(mine: Floats, theirs: Floats, shifts: int, random: np.random.Generator) -> Doubles:
    """Returns the largest |r| of each of `mine` (U, N) with any of `theirs` (V, N), for each of `shifts`, (U, S).

    The values of `mine` are shifted round each half of the places, by a twentieth of it or more.
    """
    turned, highest = standardised(mine).astype(np.float32), np.zeros((len(mine), shifts))
    orders = [_shifted(mine.shape[1], random) for _ in range(shifts)]
    for begin in range(0, len(theirs), _ROWS):
        columns = standardised(theirs[begin : begin + _ROWS]).astype(np.float32).T
        for number, order in enumerate(orders):
            found = np.abs(turned[:, order] @ columns).max(1)
            highest[:, number] = np.maximum(highest[:, number], found)
    return highest


def _shifted(count: int, random: np.random.Generator) -> Places:
    """Returns the numbers below `count`, (count,), each half of them shifted round by a length of its own."""
    found = []
    for half in np.array_split(np.arange(count), 2):
        least = max(1, len(half) // NEAREST)
        found.append(np.roll(half, random.integers(least, max(least + 1, len(half) - least + 1))))
    return np.concatenate(found)
