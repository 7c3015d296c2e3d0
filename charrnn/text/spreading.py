"""Chooses parts of a text that stand for it: whole files, and blocks of long ones, spread over all of it.

    text    aaaaaaaaaaaa|bbb|cc|dddd|ee|...     files, of which a long one is cut into blocks where lines end
    units   aaaa aaaa aaaa bbb cc dddd ee       what can be chosen, as a whole each
    strata  aaaa aaaa aaaa|bbb cc dddd|ee ...   from each of which one is drawn by a seed

Then single ones are exchanged for others of their stratum as long as that makes the parts more like the whole text: in
what its characters cost under simple counts (`likeness.py`), and in the number of characters wanted. Experiments
(`guide/experiments.md`) have shown that figures of such parts differ from seed to seed by a fraction of what stretches
of the same length differ by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from charrnn.text import likeness
from charrnn.text.stored import TextIds
from charrnn.text.vocabulary import Ids, Vocabulary

Numbers = npt.NDArray[np.int64]

_LARGEST_FILE = 16
"""A file that is longer than this fraction of what is wanted is cut."""
_BLOCK = 32
"""How many blocks of a long file are wanted, where there are no others; each has at least FEWEST characters, or
a quarter of what is wanted where that is less, and at most _MOST."""
FEWEST, _FEWEST_BLOCKS, _MOST = 4000, 4, 8192
_LOOKED_AT = 1 << 23
"""About how many characters are looked at. Of a longer text they are a few units of each stratum; where even these are
more, parts are like the whole text by their number alone."""
_FEWEST_CANDIDATES = 4
_EXCHANGES, _MOST_EXCHANGES = 60, 4000
"""How many are tried for each stratum, and in all."""
_WEIGHT_OF_SIZE = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Some parts of a text that can be chosen, in its order."""

    begins: Numbers
    ends: Numbers

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def sizes(self) -> Numbers:
        """How many characters each has."""
        return self.ends - self.begins

    def some(self, which: npt.NDArray[Any]) -> Units:
        """Returns those that a mask or an array of numbers names."""
        return Units(self.begins[which], self.ends[which])


def block_size(wanted: int) -> int:
    """Returns about how many characters a block of a long file has where so many are to be held out."""
    return max(1, min(max(wanted // _BLOCK, min(FEWEST, wanted // _FEWEST_BLOCKS)), _MOST))


def cut(files: Sequence[int], wanted: int) -> Units:
    """Returns what can be chosen of files of so many characters: each that is not empty, or blocks of a long one."""
    size, longest = block_size(wanted), max(wanted // _LARGEST_FILE, block_size(wanted))
    begins, place = [np.zeros(0, np.int64)], 0
    for length in files:
        number = 1 if length <= longest else max(2, round(length / size))
        if length:
            begins.append(place + np.arange(number) * length // number)
        place += length
    every = np.concatenate(begins)
    return Units(every, np.append(every[1:], place)[: len(every)])


def chosen(ids: TextIds, units: Units, wanted: int, seed: int, stream: int, *, keep: int = 1) -> Numbers:
    """Returns the numbers of units, ascending, that have about `wanted` characters together and stand for all of them.

    At least one is chosen, and `keep` are left, of more than that. `stream` tells apart what is drawn by one seed.
    """
    share = wanted / int(units.sizes.sum())
    strata = max(1, min(round(len(units) * share), len(units) - keep))
    edges = np.arange(strata + 1) * len(units) // strata
    draw = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw
    candidates = max(_FEWEST_CANDIDATES, int(_LOOKED_AT / wanted))
    pool, edges = _pool(edges, candidates, draw)
    picked = edges[:-1] + _below(draw(strata), np.diff(edges))
    figures = _figures(ids, units.some(pool), wanted)
    return pool[_exchanged(picked, edges, figures, draw(3 * min(_MOST_EXCHANGES, _EXCHANGES * strata)))]


def _pool(edges: Numbers, most: int, draw: Any) -> tuple[Numbers, Numbers]:
    """Returns the units that are looked at, `most` of each stratum, and the edges of the strata among them."""
    sizes = np.diff(edges)
    if sizes.max() <= most:
        return np.arange(edges[-1]), edges
    counts = np.minimum(sizes, most)
    parts = []
    for begin, size, count in zip(edges[:-1].tolist(), sizes.tolist(), counts.tolist(), strict=True):
        # One of each of as many equal shares of the stratum, so that no two are the same.
        shares = np.arange(count + 1) * size // count
        parts.append(begin + shares[:-1] + _below(draw(count), np.diff(shares)))
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(counts)])


def _below(raw: npt.NDArray[np.uint64], bounds: Numbers) -> Numbers:
    """Returns a number from 0 to below each bound."""
    return cast("Numbers", (raw % bounds.astype(np.uint64)).astype(np.int64))


def _figures(ids: TextIds, units: Units, wanted: int) -> npt.NDArray[np.float64]:
    """Returns of each unit what its choice adds to sums that should be 0, and its share of the characters wanted.

    That is (P, F + 1), the last of them the share.
    """
    sizes = units.sizes.astype(np.float64)
    total = int(sizes.sum())
    if total > 2 * _LOOKED_AT:
        return (sizes / wanted)[:, None]
    read = np.concatenate([ids[begin:end] for begin, end in zip(units.begins, units.ends, strict=True)])
    nats = likeness.costs(cast("Ids", read), np.concatenate([[0], np.cumsum(units.sizes)[:-1]]))
    away = nats - sizes[:, None] * nats.sum(0) / total
    deviation = np.sqrt((away**2 / sizes[:, None]).sum(0) / total)
    scaled = away / np.where(deviation > 0, deviation, 1.0)
    return np.concatenate([scaled, sizes[:, None]], 1) / wanted


def _exchanged(
    picked: Numbers, edges: Numbers, figures: npt.NDArray[np.float64], raw: npt.NDArray[np.uint64]
) -> Numbers:
    """Returns what is picked of each stratum after exchanges, each of which brings the sums nearer to what they should
    be."""
    picked, sums = picked.copy(), figures[picked].sum(0)
    away = _distance(sums)
    tries = len(raw) // 3
    strata = _below(raw[:tries], np.full(tries, len(picked)))
    others = edges[strata] + _below(raw[tries : 2 * tries], np.diff(edges)[strata])
    for stratum, other in zip(strata.tolist(), others.tolist(), strict=True):
        changed = sums + figures[other] - figures[picked[stratum]]
        if (distance := _distance(changed)) < away:
            picked[stratum], sums, away = other, changed, distance
    return picked


def _distance(sums: npt.NDArray[np.float64]) -> float:
    share = max(float(sums[-1]), 1e-9)
    return float((sums[:-1] ** 2).sum()) / share**2 + _WEIGHT_OF_SIZE * (share - 1.0) ** 2


def at_line_ends(ids: TextIds, units: Units, files: Sequence[int], size: int, vocabulary: Vocabulary) -> Units:
    """Returns units that begin and end behind a line end wherever they are blocks of a file and one is near.

    It is looked for in a quarter of `size` characters behind each cut.
    """
    line_end = next((int(vocabulary.lookup(each)[0]) for each in "\n\r" if each in vocabulary), None)
    borders = np.concatenate([[0], np.cumsum(files)])

    def moved(places: Numbers) -> Numbers:
        found = places.copy()
        for number in np.flatnonzero(~np.isin(places, borders)).tolist():
            place = int(places[number])
            near = np.asarray(ids[max(0, place - 1) : place + size // 4])
            ends = np.flatnonzero(near == line_end)
            found[number] = place + int(ends[0]) if len(ends) else place
        return found

    return units if line_end is None else Units(moved(units.begins), moved(units.ends))
