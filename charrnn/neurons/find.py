"""Finds the unit that tells each label best: units are chosen on one half of a text and scored on the other half.

The text is read once. Of each half the activations at a sample of places are kept, which take as much memory for a long
text as for a short one; the labels have a value for each character. For each label the unit with the highest score on
the first half is chosen, and only its score on the second half is reported: among thousands of units the best is always
good by luck on the half that chose it. Beside the score stand three comparisons:

    shifted    the same score with the label shifted round the second half (p, and which are discoveries), with fewer
               degrees of freedom where both are slow
    untrained  what the same search finds in a model of the same shape that has learned nothing
    last 3     how well the last three characters tell the label: many a "neuron" is only a character detector

and how few units tell it (`sparse_probe.py`): the F1 of the unit at a threshold, and the k-curve.

Where a unit and a label change so slowly that the second half holds too few independent stretches of them, as little
can be said as of a short text: the finding has neither p nor an interval, is too slow, and no discovery is made of it.

`statistics.py` and `autocorrelated.py` name the sources of the methods.

Shape letters: N sampled places of a half, U units, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.autocorrelated import FEWEST_STRETCHES
from charrnn.neurons.contexts import from_characters
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, check_finite, kinds, limits, parts_of, record, silent, units_of
from charrnn.neurons.shifts import Shifts, shifted_p_value
from charrnn.neurons.sparse_probe import KCurve, best_cut, k_curves, probed_rows, sparse_probes
from charrnn.neurons.statistics import Doubles, countable, discoveries, effects, sureness
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]
Keys = npt.NDArray[np.uint16]

SAMPLES = 20_000
_STEPS = 1 << 13
_MOST_BYTES = 1 << 28
_FEWEST = 20
"""The smallest number of sampled places in each half where a label must hold, and where it must not."""
_SHIFTS = 200
"""The smallest number of shifts. With many labels more are made, since p is at least one in their number and a single
label must be able to be a discovery."""
_MORE = 10
"""How many times as many shifts are made as that takes, since p is larger where stretches are few."""
CLEAR = 0.5
"""The effect from which a label is told clearly: an AUC of 0.75."""
_STRONG = 0.8  # |2 AUC - 1|, that is an AUC of 0.9; or |rho|
_CHUNK = 128
_BEGINNING = 25_000
_FALSE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """The best unit for a label. Effects are signed, 2 AUC - 1 or rho, on the second half."""

    label: str
    is_graded: bool
    share: float
    """The share of the second half's characters where the label holds; for a graded label, its mean."""
    unit: Unit
    effect: float
    low: float | None
    """The lower end of the effect's 95 % interval; None, as `high` and `p_value` are, where it is too slow to tell."""
    high: float | None
    p_value: float | None
    is_discovery: bool
    from_characters: float
    """The effect of predicting the label from the last three characters."""
    untrained: float
    """The effect of the best unit that the same search finds in an untrained model."""
    stretches: int
    """As how many independent stretches of text the unit and the label count on the second half."""
    curve: KCurve
    """How well few units of the state tell the label together."""
    enough: int | None = None
    """The number of characters of a text that would be long enough to tell; None where this one is."""
    f1: float | None = None
    """The F1 of the unit on the second half; None, as `threshold` and `is_above` are, for a graded label."""
    threshold: float | None = None
    """The threshold of the unit's values with the best F1 on the first half."""
    is_above: bool | None = None
    """Whether the label is said to hold at the threshold and above it; else it is said to hold below it."""

    @property
    def is_too_slow(self) -> bool:
        """Whether the unit and the label change too slowly for the text's length to tell."""
        return self.p_value is None

    @property
    def is_found(self) -> bool:
        """Whether the unit tells the label clearly, and better than the last characters and an untrained unit do."""
        if self.low is None or self.high is None:
            return False
        surely = min(abs(self.low), abs(self.high)) if self.low * self.high > 0 else 0.0
        return self.is_discovery and surely > max(CLEAR, abs(self.from_characters), abs(self.untrained))

    @property
    def verdict(self) -> str:
        """The result in words: found, or the first reason against it (too slow, chance, characters, new net, weak)."""
        if self.is_too_slow:
            return "too slow"
        if self.is_found:
            return "found"
        if not self.is_discovery:
            return "chance"
        if abs(self.effect) <= abs(self.from_characters):
            return "characters"
        return "new net" if abs(self.effect) <= abs(self.untrained) else "weak"


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """The effect of every unit for every label that was asked about; NaN where a unit is constant."""

    units: list[Unit]
    labels: list[str]
    first: Doubles
    """The effects on the first half, which chooses the units, (U, L)."""
    second: Doubles
    """The effects on the second half, which is reported, (U, L)."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """The best unit for each label, and counts of the units that tell a label well."""

    findings: list[Finding]
    too_rare: list[str]
    """The labels that hold too seldom in this text to be measured."""
    units: int
    strong: int
    """The number of units that tell their best label of the first half with an AUC of 0.9 (or |rho| of 0.8) or more on
    the second."""
    beyond_characters: int
    """The number of units among those counted in `strong` that tell it better than the last characters do."""
    scores: Scores = field(compare=False, repr=False)
    """The scores from which the findings were chosen."""


def make_atlas(
    engine: RecordingEngine,
    untrained: RecordingEngine,
    ids: Ids,
    labels: Sequence[Label],
    *,
    start: int = 0,
    samples: int = SAMPLES,
    seed: int = 0,
    report: Report = silent,
) -> Atlas:
    """Returns the best of `engine`'s units, and of `untrained`'s, for every label of the text whose ids are `ids`.

    Characters before `start` are read but not measured. `report` is told what is being done, and how far it is.
    """
    random = np.random.Generator(np.random.Philox(seed))
    units = units_of(engine.config, kinds(engine.config))
    half = (len(ids) - start) // 2
    second = start + half
    samples = max(1, min(samples, _MOST_BYTES // (4 * len(units)), half))
    places = [np.sort(random.choice(half, samples, replace=False)) + begin for begin in (start, second)]
    asked = [label for label in labels if all(_says_something(label, chosen) for chosen in places)]
    too_rare = [label.name for label in labels if not any(label is one for one in asked)]
    if not asked:
        nothing = np.zeros((len(units), 0))
        return Atlas([], too_rare, len(units), 0, 0, Scores(units, [], nothing, nothing))
    to_read = len(ids) + 2 * min(_BEGINNING, half)
    rank = partial(report, "ranking units")
    keys, trained = _survey(
        engine, ids, asked, places, [(0, len(ids))], lambda done: report("reading", done, to_read), rank
    )
    shifts = Shifts(
        places[1] - second, len(ids) - second, random, max(_SHIFTS, _MORE * int(np.ceil(len(asked) / _FALSE)))
    )
    curves = _curves(keys, units, engine.config, asked, places, trained[0], shifts, second, report)
    chosen = _best(trained[0])
    learned, reported = (each[chosen] for each in keys)
    del keys
    # For an untrained model, the beginnings of both halves are enough text.
    spans = [(begin, begin + min(_BEGINNING, half)) for begin in (start, second)]
    begun = [chosen[chosen < end] for chosen, (_, end) in zip(places, spans, strict=True)]
    beyond = len(ids)
    _, novice = _survey(
        untrained, ids, asked, begun, spans, lambda done: report("reading", beyond + done, to_read), rank
    )
    known = from_characters(ids, slice(start, second), asked, places[1])
    by_luck = _best(novice[0])
    findings = []
    for number, label in enumerate(asked):
        report("comparing with chance", number, len(asked))
        unit, mine = units[chosen[number]], reported[number]
        effect = float(np.nan_to_num(trained[1][chosen[number], number]))
        answers = countable(label.values[second:])
        null = shifts.effects(mine, answers, is_graded=label.is_graded)
        sure = sureness(mine, answers[places[1] - second], is_graded=label.is_graded)
        p_value = shifted_p_value(effect, null, sure.degrees)
        low, high, p, enough = (
            (sure.low, sure.high, p_value, None)
            if sure.is_known
            else (None, None, None, _enough(len(ids) - start, sure.stretches))
        )
        f1, threshold, is_above = None, None, None
        if not label.is_graded:
            cut = best_cut(learned[number], label.values[places[0]] > 0, mine, label.values[places[1]] > 0)
            f1, threshold, is_above = cut.f1, _value_of(cut.edge, unit.kind, engine.config), cut.is_above
        findings.append(
            Finding(
                label.name, label.is_graded, float(label.values[second:].mean()), unit, effect, low, high, p, False,
                float(known[number]), float(np.nan_to_num(novice[1][by_luck[number], number])), sure.stretches,
                curves[number], enough, f1, threshold, is_above,
            )
        )  # fmt: skip
    told = {number: each.p_value for number, each in enumerate(findings) if each.p_value is not None}
    for number, one in zip(told, discoveries(list(told.values()), _FALSE), strict=True):
        findings[number] = replace(findings[number], is_discovery=bool(one))
    findings.sort(key=lambda finding: (not finding.is_found, -abs(finding.effect)))
    best = np.argmax(np.abs(np.nan_to_num(trained[0])), axis=1)
    tell = np.abs(np.nan_to_num(trained[1][np.arange(len(best)), best]))
    strong = tell >= _STRONG
    beyond = int((strong & (tell > np.abs(known[best]))).sum())
    scores = Scores(units, [label.name for label in asked], *trained)
    return Atlas(findings, too_rare, len(units), int(strong.sum()), beyond, scores)


def _best(first: Doubles) -> npt.NDArray[np.int64]:
    """Returns, for each label, the number of the unit with the largest of the effects `first` (U, L)."""
    found: npt.NDArray[np.int64] = np.abs(np.nan_to_num(first)).argmax(0)
    return found


def _curves(
    keys: Sequence[Keys],
    units: Sequence[Unit],
    config: ModelConfig,
    labels: Sequence[Label],
    places: Sequence[npt.NDArray[np.int64]],
    first: Doubles,
    shifts: Shifts,
    start: int,
    report: Report,
) -> list[KCurve]:
    """Returns the k-curve of each label; `first` (U, L) are the effects on the first half, and the second half begins
    at `start`."""
    rows = probed_rows(units, make_cell(config).state_names, first)
    is_graded = np.array([label.is_graded for label in labels])
    answers = [np.stack([label.values[chosen] for label in labels]) for chosen in places]
    probes = sparse_probes(keys, rows, answers, is_graded, _best(first[rows]), partial(report, "probing"))
    asked = partial(report, "comparing probes with chance")
    return k_curves(probes, [units[row] for row in rows], labels, shifts, places[1], start, _FALSE, asked)


def _enough(characters: int, stretches: int) -> int:
    """Returns the length of text at which there would be enough stretches, rounded up to two digits."""
    least = -(-characters * FEWEST_STRETCHES // max(1, stretches))
    digit: int = 10 ** max(0, len(str(least)) - 2)
    return -(-least // digit) * digit


def _says_something(label: Label, places: npt.NDArray[np.int64]) -> bool:
    values = label.values[places]
    if label.is_graded:
        return len(np.unique(values)) > 1 and float((values != np.median(values)).sum()) >= _FEWEST
    return _FEWEST <= int((values > 0).sum()) <= len(values) - _FEWEST


def _survey(
    engine: RecordingEngine,
    ids: Ids,
    labels: Sequence[Label],
    places: Sequence[npt.NDArray[np.int64]],
    spans: Sequence[tuple[int, int]],
    report: Callable[[int], None],
    ranking: Callable[[int, int], None],
) -> tuple[list[Keys], tuple[Doubles, Doubles]]:
    """Reads `spans` of the text, each from the zero state, and samples the activations at `places` of both halves.

    Returns the activations as whole numbers, (U, N) for each half, and the effects on both halves, (U, L) each.
    `report` is told how many characters have been read, `ranking` then how many units have been ranked, of how many.
    """
    parts, H = parts_of(engine.config, kinds(engine.config)), engine.config.hidden_size
    taken = [np.zeros((len(parts) * H, len(chosen)), np.uint16) for chosen in places]
    done = 0
    for start, end in spans:
        for block in record(engine, ids[start:end], parts):
            stop = start + len(block[parts[0]])
            done += stop - start
            report(done)
            for keys, chosen in zip(taken, places, strict=True):
                here = slice(*np.searchsorted(chosen, [start, stop]))
                rows = chosen[here] - start
                if len(rows):
                    for number, part in enumerate(parts):
                        keys[number * H : (number + 1) * H, here] = _as_keys(
                            block[part][rows], part[1], engine.config
                        ).T
            start = stop
    is_graded = np.array([label.is_graded for label in labels])
    halves: list[Doubles] = []
    for keys, chosen in zip(taken, places, strict=True):
        answers = np.stack([label.values[chosen] for label in labels])
        found = []
        for begin in range(0, len(keys), _CHUNK):
            ranking(len(halves) * len(keys) + begin, len(places) * len(keys))
            found.append(effects(keys[begin : begin + _CHUNK], answers, is_graded))
        halves.append(np.concatenate(found))
    return taken, (halves[0], halves[1])


def _as_keys(values: npt.NDArray[np.float32], kind: str, config: ModelConfig) -> Keys:
    """Returns values rounded to whole steps over the range of their kind, so that they can be ranked by counting."""
    low, high = limits(kind, config)
    check_finite(f"a unit of kind {kind} is", values)
    scaled = (values - low) * np.float32((_STEPS - 1) / (high - low))
    keys: Keys = np.clip(scaled, 0, _STEPS - 1).astype(np.uint16)
    return keys


def _value_of(key: int, kind: str, config: ModelConfig) -> float:
    """Returns the smallest value of a unit of a kind that is kept as the whole number `key`."""
    low, high = limits(kind, config)
    return low + key * (high - low) / (_STEPS - 1)
