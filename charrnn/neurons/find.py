"""Which units know what: every unit against every label, found on one half of a text and reported on the other.

One pass over the text; of each half a sample of places is kept, so that memory depends on the model and not on the
text. For each label the unit with the highest score on the first half is chosen, and only its score on the second half
is reported: among thousands of units the best is always good by luck on the half that chose it. Beside it stand three
answers to "compared with what?":

    shifted    the same score with the label shifted round the second half (p, and which are discoveries)
    untrained  what the same search finds in a model of the same shape that has learned nothing
    last 3     how well the last three characters tell the label: many a "neuron" is only a character detector

`statistics.py` has the sources.

Shape letters: N sampled places of a half, U units, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.initial import initial_arrays
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, check_finite, kinds, limits, parts_of, record, silent, units_of
from charrnn.neurons.statistics import Doubles, discoveries, effects, interval, shifted_p_value
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]
Keys = npt.NDArray[np.uint16]

SAMPLES = 20_000
_STEPS = 1 << 13
_MOST_BYTES = 1 << 28
_FEWEST = 20
"""Sampled places where a label must hold, and where it must not, in each half."""
_SHIFTS = 200
"""At least; where many labels are asked, as many as let one alone among them be a discovery: p cannot be smaller."""
CONTEXT = 3
_CLEAR = 0.5  # an AUC of 0.75
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
    """Of the second half's characters, where the label holds; the mean of a graded one."""
    unit: Unit
    effect: float
    low: float
    high: float
    p_value: float
    is_discovery: bool
    from_characters: float
    """Effect of the last characters' prediction."""
    untrained: float
    """Effect of the unit that the same search finds in an untrained model."""

    @property
    def is_found(self) -> bool:
        """Whether it tells the label clearly, and better than the last characters and an untrained model's unit."""
        surely = min(abs(self.low), abs(self.high)) if self.low * self.high > 0 else 0.0
        return self.is_discovery and surely > max(_CLEAR, abs(self.from_characters), abs(self.untrained))

    @property
    def verdict(self) -> str:
        """In a word or two: found, or the first reason why not (what tells as much, or weak)."""
        if self.is_found:
            return "found"
        if not self.is_discovery:
            return "chance"
        if abs(self.effect) <= abs(self.from_characters):
            return "characters"
        return "new net" if abs(self.effect) <= abs(self.untrained) else "weak"


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """What every unit tells of every label that was asked about: effects, not a number where a unit is constant."""

    units: list[Unit]
    labels: list[str]
    first: Doubles
    """On the half that chooses, (U, L)."""
    second: Doubles
    """On the half that is reported, (U, L)."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """What was found for each label, and how many units answer to none."""

    findings: list[Finding]
    too_rare: list[str]
    """Labels that hold too seldom in this text to say anything."""
    units: int
    strong: int
    """Units whose label of the first half they tell with an AUC of 0.9 (or |rho| of 0.8) or more on the second."""
    beyond_characters: int
    """Those among them that do better than the last characters."""
    scores: Scores = field(compare=False, repr=False)
    """All that the findings were chosen from."""


@dataclass(frozen=True, eq=False)
class _Survey:
    """The activations and effects that one pass over the text gives."""

    keys: Keys
    """Activations there, (U, N)."""
    first: Doubles
    """Effects (U, L) on the first half."""
    second: Doubles
    """And on the second."""


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
    """Searches `engine`'s units, and those of `untrained`, for every label of the text that `ids` spell.

    What lies before `start` is read and not asked about. `report` is told the characters that are read by either.
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
    trained = _survey(engine, ids, asked, places, [(0, len(ids))], lambda done: report("reading", done, to_read))
    # The beginnings of both halves will do for a model that knows nothing.
    spans = [(begin, begin + min(_BEGINNING, half)) for begin in (start, second)]
    begun = [chosen[chosen < end] for chosen, (_, end) in zip(places, spans, strict=True)]
    novice = _survey(untrained, ids, asked, begun, spans, lambda done: report("reading", len(ids) + done, to_read))
    known = from_characters(ids, slice(start, second), asked, places[1])
    chosen, by_luck = (np.argmax(np.abs(np.nan_to_num(each.first)), axis=0) for each in (trained, novice))
    findings, shifts = [], max(_SHIFTS, int(np.ceil(len(asked) / _FALSE)))
    for number, label in enumerate(asked):
        unit = chosen[number]
        effect = float(np.nan_to_num(trained.second[unit, number]))
        null = _shifted(trained.keys[unit], label, second, places[1], random, shifts)
        ends = interval(trained.keys[unit], label.values[places[1]], is_graded=label.is_graded, seed=seed)
        low, high = np.nan_to_num(ends).tolist()  # a unit that never moves tells nothing
        findings.append(
            Finding(
                label.name, label.is_graded, float(label.values[second:].mean()), units[unit],
                effect, low, high, shifted_p_value(effect, null), False, float(known[number]),
                float(np.nan_to_num(novice.second[by_luck[number], number])),
            )
        )  # fmt: skip
    significant = discoveries([finding.p_value for finding in findings], _FALSE)
    findings = [replace(finding, is_discovery=bool(one)) for finding, one in zip(findings, significant, strict=True)]
    findings.sort(key=lambda finding: (not finding.is_found, -abs(finding.effect)))
    best = np.argmax(np.abs(np.nan_to_num(trained.first)), axis=1)
    told = np.abs(np.nan_to_num(trained.second[np.arange(len(best)), best]))
    strong = told >= _STRONG
    beyond = int((strong & (told > np.abs(known[best]))).sum())
    scores = Scores(units, [label.name for label in asked], trained.first, trained.second)
    return Atlas(findings, too_rare, len(units), int(strong.sum()), beyond, scores)


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
) -> _Survey:
    """Reads `spans` of the text, each from the zero state; keeps activations at `places` of the halves as numbers."""
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
    halves = []
    for keys, chosen in zip(taken, places, strict=True):
        answers = np.stack([label.values[chosen] for label in labels])
        pieces = (keys[begin : begin + _CHUNK] for begin in range(0, len(keys), _CHUNK))
        halves.append(np.concatenate([effects(piece, answers, is_graded) for piece in pieces]))
    return _Survey(taken[1], halves[0], halves[1])


def _as_keys(values: npt.NDArray[np.float32], kind: str, config: ModelConfig) -> Keys:
    """Returns values as whole steps over the range of their kind, which are ranked by counting."""
    low, high = limits(kind, config)
    check_finite(f"a unit of kind {kind} is", values)
    scaled = (values - low) * np.float32((_STEPS - 1) / (high - low))
    keys: Keys = np.clip(scaled, 0, _STEPS - 1).astype(np.uint16)
    return keys


def _shifted(
    keys: Keys,
    label: Label,
    second: int,
    places: npt.NDArray[np.int64],
    random: np.random.Generator,
    shifts: int = _SHIFTS,
) -> Doubles:
    """Returns effects (shifts,) of a unit for its label shifted round the second half, by a twentieth of it or more.

    What lies before its middle and what lies after are shifted by different lengths. Where all lines are equally long,
    one shift of whole lines changes no position in the line: one in a line's length would be such, and what is always
    so would seem to be chance.
    """
    values = label.values[second:]
    if label.is_graded and (values == np.minimum(values, 65535).astype(np.uint16)).all():
        values = values.astype(np.uint16)  # ranked by counting
    size = len(values)
    least, at = max(1, size // 20), places - second
    steps = random.integers(least, max(least + 1, size - least), (shifts, 2))
    found = []
    for begin in range(0, shifts, _CHUNK):
        chunk = steps[begin : begin + _CHUNK]
        shifted = np.stack([values[(at + lengths[2 * at // size]) % size] for lengths in chunk])
        found.append(effects(keys[None], shifted, np.full(len(chunk), label.is_graded))[0])
    return np.asarray(np.nan_to_num(np.concatenate(found)), np.float64)


def from_characters(ids: Ids, first: slice, labels: Sequence[Label], places: npt.NDArray[np.int64]) -> Doubles:
    """Returns the effects (L,) on the second half of predictions from the last characters, learned on the first."""
    answers = np.stack([label.values[first] for label in labels])
    predicted = after_characters(contexts(ids), first, answers, places)
    return np.array([
        np.nan_to_num(effects(one[None], label.values[places][None], np.array([label.is_graded]))[0, 0])
        for one, label in zip(predicted, labels, strict=True)
    ])  # fmt: skip


def after_characters(
    codes: Iterable[npt.NDArray[np.int64]],
    learned: slice | npt.NDArray[np.int64],
    answers: npt.NDArray[Any],
    places: npt.NDArray[np.int64],
) -> Doubles:
    """Predicts answers from the last characters: the mean of each (L, learned) after those at `places`, (L, places).

    `codes` are `contexts`, from one character to several; after fewer of them where more were never seen.
    """
    predicted = np.repeat(answers.mean(1)[:, None], len(places), 1).astype(np.float64)
    for code in codes:
        seen, which = np.unique(code[learned], return_inverse=True)
        counts = np.bincount(which, minlength=len(seen))
        at = np.searchsorted(seen, code[places]).clip(max=len(seen) - 1)
        is_known = seen[at] == code[places]
        for number, answer in enumerate(answers):
            means = np.bincount(which, weights=answer, minlength=len(seen)) / counts
            predicted[number, is_known] = means[at[is_known]]
    return predicted


def contexts(ids: Ids) -> Iterator[npt.NDArray[np.int64]]:
    """Yields an array of numbers that stand for the last character at each place, then for the last two, then three."""
    codes = np.zeros(len(ids), np.int64)
    wide = ids.astype(np.int64) + 1
    base = int(wide.max()) + 1
    for back in range(CONTEXT):
        codes[back:] += wide[: len(wide) - back] * base**back
        yield codes.copy()


class _Source:
    """Numpy's random numbers, as `initial_arrays` asks for them."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.Generator(np.random.Philox(seed))

    def normal(self, shape: tuple[int, ...]) -> Doubles:
        return self._random.standard_normal(shape)

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Doubles:
        return self._random.uniform(low, high, shape)


def untrained_arrays(config: ModelConfig, vocabulary_size: int, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Returns weights that have learned nothing: drawn as training draws them, by another generator."""
    return dict(initial_arrays(config, vocabulary_size, _Source(seed)))
