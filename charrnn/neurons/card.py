"""Measures one unit in every way: what it tells, when it is highest and lowest, how long it remembers, what it does.

    labels      the labels it tells best by the first half of the text, scored on the second (as in the atlas)
    contexts    the places where it is highest and lowest, apart from each other
    values      their distribution, and their autocorrelation length: the lag at which it falls below 1/e
    gates       the gates of its cell: their mean, and how often they are nearly shut and nearly open (`gates.py`)
    characters  whose probability changes most when the unit is held high (at its 95th percentile) instead of low (at
                its 5th), on the same beginning of the text: an intervention, not a correlation, for every layer

Shape letters: N characters, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.inference.distribution import log_probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.ablate import Ablation, ablate
from charrnn.neurons.clamping import check_can_hold, clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.contexts import from_characters
from charrnn.neurons.gates import LEFT, RIGHT
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, check_finite, kinds, limits, record, silent
from charrnn.neurons.statistics import Doubles, countable, effects, interval
from charrnn.settings.config import ModelConfig

BINS = 24
_CONTEXTS = 5
_APART = 100
"""The smallest number of characters between two contexts."""
_BEST = 5
_FEWEST = 20
READ = 3000
"""The number of characters over which the unit is held high and low."""
_LAGS = 2000
_BESIDE = 3
"""The number of other units held for comparison."""


@dataclass(frozen=True, slots=True)
class Told:
    """How well the unit tells a label, on the half of the text that did not choose it. Effects are 2 AUC - 1 or rho."""

    label: str
    is_graded: bool
    effect: float
    low: float | None
    """The lower end of the effect's 95 % interval; None, as `high` is, where unit and label are too slow to tell."""
    high: float | None
    from_characters: float


@dataclass(frozen=True, slots=True)
class Gate:
    """The mean of one gate of the unit's cell, and how often the gate is saturated."""

    kind: str
    mean: float
    left: float
    """The share of the time that the gate is below 0.1; for a candidate, below -0.8."""
    right: float
    """The share of the time that the gate is above 0.9; for a candidate, above 0.8."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A character, and its mean probability with the unit held low and with the unit held high."""

    id: int
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Card:
    """All that was measured of one unit."""

    unit: Unit
    start: int
    values: npt.NDArray[np.float32]
    """The unit's values after each character from `start` on, (N,)."""
    limits: tuple[float, float]
    """The range in which values of the unit's kind are shown."""
    counts: npt.NDArray[np.int64]
    """The histogram of the values, with `BINS` equal bins over `limits`."""
    memory: int | None
    """The lag, in characters, at which the autocorrelation first falls below 1/e; None where it does not within 2,000
    characters, or the unit is constant."""
    told: list[Told]
    highest: list[int]
    """The places in the text where the unit is highest, in descending order of its value."""
    lowest: list[int]
    gates: list[Gate]
    held_low: float
    held_high: float
    promoted: list[Moved]
    """The characters that become likelier when the unit is high, by their terms in the KL divergence."""
    demoted: list[Moved]
    ablation: Ablation


def make_card(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    unit: Unit,
    ids: npt.NDArray[Any],
    labels: Sequence[Label],
    *,
    start: int = 0,
    end: int | None = None,
    report: Report = silent,
) -> Card:
    """Returns the card of `unit`, measured over `ids[start:]`; labels have a value for each of `ids`.

    `end` is the id that is read from the zero state.

    Raises UsageError where the unit cannot be held still.
    """
    check_can_hold(config, unit.kind)
    parts = [(unit.layer, kind) for kind in kinds(config)]
    pieces: dict[str, list[npt.NDArray[np.float32]]] = {kind: [] for _, kind in parts}
    for taken in record(make_engine(config, parameters, end=end), ids, parts):
        for part in parts:
            pieces[part[1]].append(taken[part][:, unit.index].copy())
    series = {kind: np.concatenate(each)[start:] for kind, each in pieces.items()}
    for each in series.values():
        check_finite(f"{unit} is", each)
    values = series[unit.kind]
    told = _told(values, ids, labels, start)
    held_low, held_high = (float(value) for value in np.quantile(values, [0.05, 0.95]))
    promoted, demoted = _moved(config, parameters, unit, ids[start : start + READ], held_low, held_high, end)

    def report_unit(_doing: str, done: int, total: int) -> None:
        report(f"holding {unit} and others", done, total)

    (ablation,) = ablate(
        config, parameters, ids, {unit: labels}, start=start, end=end, compared=_BESIDE, report=report_unit
    )  # fmt: skip
    counts, _ = np.histogram(values, BINS, limits(unit.kind, config))
    return Card(
        unit=unit,
        start=start,
        values=values,
        limits=limits(unit.kind, config),
        counts=counts,
        memory=autocorrelation_length(values),
        told=told,
        highest=[start + place for place in extremes(values)],
        lowest=[start + place for place in extremes(-values)],
        gates=[_gate(kind, series[kind], *limits(kind, config)) for _, kind in parts if kind not in "hc"],
        held_low=held_low,
        held_high=held_high,
        promoted=promoted,
        demoted=demoted,
        ablation=ablation,
    )


def _gate(kind: str, values: npt.NDArray[np.float32], low: float, high: float) -> Gate:
    left, right = (low + share * (high - low) for share in (LEFT, RIGHT))
    return Gate(kind, float(values.mean()), float((values < left).mean()), float((values > right).mean()))


def _told(values: npt.NDArray[np.float32], ids: npt.NDArray[Any], labels: Sequence[Label], start: int) -> list[Told]:
    """Returns the labels that the unit tells best on the first half of the text, scored on the second half."""
    half = len(values) // 2
    second = start + half
    asked = []
    for label in labels:
        halves = label.values[start:second], label.values[second:]
        counts = [(each > (np.median(each) if label.is_graded else 0)).sum() for each in halves]
        if all(_FEWEST <= count <= len(each) - _FEWEST for count, each in zip(counts, halves, strict=True)):
            asked.append(label)
    if not asked:
        return []
    is_graded = np.array([label.is_graded for label in asked])
    by_first = effects(values[None, :half], np.stack([label.values[start:second] for label in asked]), is_graded)[0]
    best = [asked[number] for number in np.argsort(-np.abs(np.nan_to_num(by_first)), kind="stable")[:_BEST]]
    places = np.arange(second, len(ids))
    known = from_characters(ids, slice(start, second), best, places)
    told = []
    for number, label in enumerate(best):
        answers = label.values[second:]
        effect = float(effects(values[None, half:], answers[None], np.array([label.is_graded]))[0, 0])
        low, high = interval(values[half:], countable(answers), is_graded=label.is_graded) or (None, None)
        told.append(Told(label.name, label.is_graded, effect, low, high, float(known[number])))
    return [one for one in told if math.isfinite(one.effect)]


def extremes(values: npt.NDArray[np.float32], count: int = _CONTEXTS, apart: int = _APART) -> list[int]:
    """Returns the places of the `count` largest values, each at least `apart` from all that were chosen before it."""
    order = np.argsort(-values, kind="stable")
    is_free, found = np.ones(len(values), bool), []
    for place in order:
        if is_free[place]:
            found.append(int(place))
            is_free[max(0, place - apart + 1) : place + apart] = False
            if len(found) == count:
                break
    return found


def autocorrelation_length(values: npt.NDArray[np.floating[Any]], most: int = _LAGS) -> int | None:
    """Returns the lag at which the autocorrelation first falls below 1/e; None where it does not within `most` lags.

    The covariance at each lag is divided by the whole length (the usual, positive definite estimate).
    """
    centred = np.asarray(values, np.float64) - np.mean(values, dtype=np.float64)
    N = len(centred)
    spectrum = np.fft.rfft(centred, 1 << (2 * N - 1).bit_length())
    covariance: Doubles = np.fft.irfft(spectrum * spectrum.conj())[: min(N, most + 1)]
    if covariance[0] <= 1e-12 * N:
        return None
    below = np.flatnonzero(covariance < covariance[0] / math.e)
    return int(below[0]) if len(below) else None


def _moved(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    unit: Unit,
    ids: npt.NDArray[Any],
    low: float,
    high: float,
    end: int | None,
) -> tuple[list[Moved], list[Moved]]:
    """Ranks characters by their terms p ln(p / q) of the KL divergence between the mean distributions."""
    config, parameters = with_own_columns(config, parameters)
    held = (clamp(config, parameters, {unit: at}) for at in (low, high))
    at_low, at_high = (_mean_probabilities(config, arrays, ids, end) for arrays in held)
    found = []
    for p, q in ((at_high, at_low), (at_low, at_high)):
        adds = p * (np.log(p) - np.log(q))
        order = np.argsort(-adds, kind="stable")[:6]
        found.append([Moved(int(id_), float(at_low[id_]), float(at_high[id_])) for id_ in order if adds[id_] > 1e-5])
    return found[0], found[1]


def _mean_probabilities(
    config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], ids: Any, end: int | None
) -> Doubles:
    engine = make_engine(config, parameters, end=end)
    state, total = engine.zero_state(1), np.zeros(engine.vocabulary_size)
    for id_ in ids.tolist():
        logits, state = engine.step([id_], state)
        total += np.exp(log_probabilities(logits[0].astype(np.float64)))
    return np.asarray(np.maximum(total / len(ids), 1e-12))
