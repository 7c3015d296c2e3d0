"""Tests whether the model uses what a unit encodes, by mean ablation: by how much the loss rises without the unit.

The unit is held at its mean (`clamping.py`) and the text is read again. The rise of each character's loss, in bits, is
averaged where a label holds, where it does not, and over the characters that end it (the closing quote, the closing
bracket, the line feed), where a unit that knows the label should be missed. A unit that encodes a label need not be
used for it, and selective units often matter little (Morcos et al. 2018, arXiv 1803.06959; Ravfogel et al. 2021,
arXiv 2006.00995). So a unit is said to be used for a label only where

    * the rise at the ends, or inside, exceeds the rise elsewhere significantly: by Student's t with an error that knows
      how long the rises remember (`autocorrelated.py`), and with Bonferroni's correction, so that the chance that any
      of the answers is wrongly yes is one in twenty;
    * and holding any of a few other units of the same layer and kind costs less there.

The units must have been chosen on other text than this.

Shape letters: N characters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charrnn.cells.members import as_one, count_members
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.autocorrelated import spread_of_mean
from charrnn.neurons.clamping import check_can_hold, clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, check_finite, losses_of, record, silent
from charrnn.neurons.statistics import Doubles
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

WARM_UP = 1000
"""The number of characters read before the first one that is scored."""
COMPARED = 4
"""The number of other units held for comparison, in each layer and kind."""
_FEWEST = 20
"""The smallest number of places over which a mean is taken."""
_BLOCKS = 50
_STRETCHES = 10
"""In how many of fifty stretches of the text these places must lie at least."""
_LANES = 8
_FALSE = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """The mean rise of the loss over some places, in bits per character, with its 95 % interval.

    The interval is NaN where the rises change too slowly for the text's length to tell it.
    """

    bits: float
    low: float
    high: float
    characters: int
    """The number of places; where it is 0, the mean and its interval are NaN."""
    is_enough: bool
    """Whether there are 20 places or more, in ten or more of fifty stretches of the text, and an interval."""


@dataclass(frozen=True, slots=True)
class Use:
    """What holding a unit costs where a label holds, where the label ends, and elsewhere."""

    label: str
    inside: Cost
    """The cost of characters read while the label holds (a graded one: is above its median), without its ends."""
    ends: Cost
    """The cost of the characters that end the label."""
    outside: Cost
    compared: float
    """The highest cost of holding one of the comparison units, at the ends (inside, where there are too few ends)."""
    used_at: Literal["ends", "inside", ""]
    """Where the unit is shown to be used: at the ends, only inside the label, or nowhere ("")."""

    @property
    def is_used(self) -> bool:
        """Whether the unit is shown to be used for the label."""
        return self.used_at != ""

    @property
    def verdict(self) -> str:
        """The result in words: used (at the ends), used inside (only there), not shown, or too few (ends to tell)."""
        if self.is_used:
            return "used" if self.used_at == "ends" else "used inside"
        return "not shown" if self.ends.is_enough else "too few"

    @property
    def margin(self) -> float:
        """The cost at the ends less the cost elsewhere; where there are too few ends, the cost inside less that."""
        return (self.ends if self.ends.is_enough else self.inside).bits - self.outside.bits


@dataclass(frozen=True, slots=True)
class Ablation:
    """The effects of holding one unit at its mean."""

    unit: Unit
    held_at: float
    overall: Cost
    uses: list[Use]
    """The costs for each label that was asked about and holds at enough places, in the order of the labels."""
    dearest: list[tuple[int, float, int]]
    """The characters whose loss rises most in sum, in descending order: id, mean rise in bits, count."""


def ablate(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    ids: Ids,
    asked: Mapping[Unit, Sequence[Label]],
    *,
    start: int = 0,
    compared: int = COMPARED,
    seed: int = 0,
    end: int | None = None,
    report: Report = silent,
) -> list[Ablation]:
    """Holds each unit of `asked` at its mean, one at a time, and measures the cost over `ids[start:]` for its labels.

    Labels have a value for each of `ids`. `end` is the id that is read from the zero state. `report` is told how many
    times the text has been read.
    Raises CheckpointError where the weights are too large to compute with.
    """
    for unit in asked:  # before the text is read
        check_can_hold(config, unit.kind)
    config, parameters = with_own_columns(config, parameters)
    begin = max(0, start - WARM_UP)
    first = max(start, begin + 1)  # the very first character of a text has no prediction
    others = _others(as_one(config, count_members(parameters)), asked, compared, seed)
    units = [*asked, *(other for each in others.values() for other in each)]
    readings = len(units) + 2
    means = _means(config, parameters, ids[begin:], units, start - begin, end)
    report("holding units", 1, readings)
    plain = _bits(config, parameters, ids[begin:], first - begin, end)
    report("holding units", 2, readings)
    rises: dict[Unit, Doubles] = {}
    for number, unit in enumerate(units, 3):
        held = clamp(config, parameters, {unit: means[unit]})
        rises[unit] = _bits(config, held, ids[begin:], first - begin, end) - plain
        report("holding units", number, readings)
    questions = 2 * max(1, sum(map(len, asked.values())))
    return [
        _ablation(
            unit, means[unit], rises[unit], [rises[other] for other in others[unit.part]], ids[first:], labels, first,
            _FALSE / questions,
        )
        for unit, labels in asked.items()
    ]  # fmt: skip


def _others(
    config: ModelConfig, asked: Mapping[Unit, Sequence[Label]], compared: int, seed: int
) -> dict[tuple[int, str], list[Unit]]:
    """Draws a few other units for comparison from each layer and kind that is asked about."""
    random = np.random.Generator(np.random.Philox(seed))
    drawn = {}
    for layer, kind in sorted({unit.part for unit in asked}):
        free = [index for index in range(config.hidden_size) if Unit(layer, kind, index) not in asked]
        chosen = random.permutation(len(free))[:compared]
        drawn[layer, kind] = [Unit(layer, kind, free[place]) for place in sorted(chosen.tolist())]
    return drawn


def _means(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    ids: Ids,
    units: Sequence[Unit],
    start: int,
    end: int | None,
) -> dict[Unit, float]:
    sums, place = dict.fromkeys(units, 0.0), 0
    for taken in record(make_engine(config, parameters, end=end), ids, sorted({unit.part for unit in units})):
        for unit in sums:
            values = taken[unit.part][:, unit.index]
            sums[unit] += float(values[max(0, start - place) :].sum(dtype=np.float64))
        place += len(values)
    means = {unit: total / max(1, place - start) for unit, total in sums.items()}
    check_finite("a unit is", np.array(list(means.values())))
    return means


def _bits(
    config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], ids: Ids, first: int, end: int | None
) -> Doubles:
    """Returns the loss of each of `ids[first:]`, in bits."""
    engine = make_engine(config, parameters, end=end)
    starts, rows, unscored = cut_into_lanes(len(ids))
    places = np.minimum(starts + np.arange(rows)[:, None], len(ids) - 1)  # (T, B)
    losses, bits = losses_of(engine, ids[places]), np.full(len(ids), np.nan)
    for lane in range(len(starts) - 1, -1, -1):
        begin = int(starts[lane]) + (unscored if lane else 0)
        here = bits[begin : int(starts[lane]) + rows]
        here[:] = losses[unscored if lane else 0 :, lane][: len(here)]
    check_finite("a loss is", bits[first:])
    return bits[first:]


def cut_into_lanes(characters: int) -> tuple[npt.NDArray[np.int64], int, int]:
    """Returns where lanes of a text begin, their length, and how many characters all but the first read unscored.

    Lanes side by side are read several times as fast as one stream, but a short text would be read twice in large part.
    """
    lanes = min(_LANES, (characters - WARM_UP) // (4 * WARM_UP))
    if lanes <= 1:
        return np.zeros(1, np.int64), characters, 0
    length = -(-(characters - WARM_UP) // lanes)
    return np.arange(lanes) * length, length + WARM_UP, WARM_UP


def places_of(label: Label, first: int) -> tuple[Mask, Mask, Mask]:
    """Returns which characters from `first` (1 or more) on come inside the label, end it, or are elsewhere.

    A character is inside where the label holds after the character before it; a graded label holds above its median.
    A character ends the label where the label's value falls at it, or where `label.ends` says so.
    """
    before, here = label.values[first - 1 : -1], label.values[first:]
    ends = here < before if label.ends is None else label.ends[first:]
    holds = before > (np.median(before) if label.is_graded else 0)
    return holds & ~ends, ends, ~holds & ~ends


def _ablation(
    unit: Unit,
    held_at: float,
    rise: Doubles,
    compared: Sequence[Doubles],
    ids: Ids,
    labels: Sequence[Label],
    first: int,
    level: float,
) -> Ablation:
    uses = [_use(rise, compared, label, first, level) for label in labels]
    totals, counts = np.bincount(ids, weights=rise), np.bincount(ids)
    order = np.argsort(-totals, kind="stable")[:8]
    dearest = [(int(id_), float(totals[id_] / counts[id_]), int(counts[id_])) for id_ in order if totals[id_] > 0]
    overall = _cost(rise, np.ones(len(rise), bool))
    return Ablation(unit, held_at, overall, [use for use in uses if use is not None], dearest)


def _use(rise: Doubles, compared: Sequence[Doubles], label: Label, first: int, level: float) -> Use | None:
    masks = np.stack(places_of(label, first))
    are_many = masks.sum(1) >= _FEWEST
    if not are_many[2] or not (are_many[0] or are_many[1]):
        return None
    inside, ends, outside = (_cost(rise, mask) for mask in masks)
    used_at: Literal["ends", "inside", ""] = ""
    for mask, cost, name in ((masks[0], inside, "inside"), (masks[1], ends, "ends")):
        if cost.is_enough and outside.is_enough:
            spread = spread_of_mean(_moves(rise, mask) - _moves(rise, masks[2]))
            surely = cost.bits - outside.bits - spread.within(1 - level)
            most = max((float(other[mask].mean()) for other in compared), default=-math.inf)
            if spread.is_known and surely > 0 and cost.bits > most:
                used_at = "inside" if name == "inside" else "ends"
    asked = masks[1 if ends.is_enough else 0]
    beside = max((float(other[asked].mean()) for other in compared), default=math.nan) if asked.any() else math.nan
    return Use(label.name, inside, ends, outside, beside, used_at)


def _moves(rise: Doubles, mask: Mask) -> Doubles:
    """Returns by how much each place moves the mean rise over `mask` (its influence function), (N,)."""
    moves: Doubles = np.where(mask, rise - rise[mask].mean(), 0.0) * (len(mask) / mask.sum())
    return moves


def _cost(rise: Doubles, mask: Mask) -> Cost:
    count = int(mask.sum())
    if not count:
        return Cost(math.nan, math.nan, math.nan, 0, False)
    mean, spread = float(rise[mask].mean()), spread_of_mean(_moves(rise, mask))
    width = spread.within() if spread.is_known else math.nan
    return Cost(mean, mean - width, mean + width, count, spread.is_known and _is_enough(mask))


def _is_enough(mask: Mask) -> bool:
    stretches = np.array_split(mask, min(_BLOCKS, len(mask)))
    return int(mask.sum()) >= _FEWEST and sum(bool(stretch.any()) for stretch in stretches) >= _STRETCHES
