"""Which units that were found in one model come back in models of the same task that began from other seeds.

For each unit of the first model, a partner is sought in each other model: the unit, state or gate, that correlates most
with it (Pearson's r, whatever its sign) over sampled places of the first half of the text. Only the partner's r on the
second half is reported. Beside r stand two comparisons:

    chance     the highest |r| that any unit of the other model has with the unit on a text turned round, which 95 of a
               hundred shifts stay below (`correlations.py`)
    new net    the |r| of the partner that the same search finds in an untrained model of the other's shape: what any
               network makes of the characters that it reads

A unit *comes back* if its |r| is above chance and exceeds that of the untrained model by 0.5. This is the excess
correlation by which Gurnee et al. 2024 ("Universal neurons in GPT2 language models", arXiv 2401.12181) call a neuron
universal; their baseline is a random rotation of the other model's neurons, and 1 to 5 % of theirs pass. That some
features come back in networks of other seeds as single units, and others do not, is of Li et al. 2015 ("Convergent
learning", arXiv 1511.07543). A *finding* of `find.py` comes back if its unit does and the partner tells the label too:
on the second half, with an AUC of 0.75 (|rho| of 0.5), better than the last three characters and an untrained unit.

A label can be known to each model and its unit not come back: another run may tell the same in another form. So of each
other model is said, too, whether any of its units, chosen on the first half, tells the label on the second.

Shape letters: N sampled places of a half, U states of the first model, M other models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.correlations import Places, Sample, by_chance, draw_places, paired, partners, take
from charrnn.neurons.find import CLEAR, SAMPLES, Atlas, Finding, Ids
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, kinds, silent, units_of
from charrnn.neurons.statistics import Doubles, effects

Mask = npt.NDArray[np.bool_]

EXCESS = 0.5
"""By how much |r| must exceed that of an untrained model's partner."""
SHIFTS = 100
QUANTILE = 0.95
_MOST_BYTES = 1 << 28
_CHUNK = 128
_STEPS = 4095  # of a value from 0 to 1, so that values can be ranked by counting


@dataclass(frozen=True, eq=False, slots=True)
class Other:
    """Another model that reads the same text."""

    name: str
    engine: RecordingEngine
    untrained: RecordingEngine
    """An untrained model of its shape, which may be that of other runs too; it is then read once."""
    ids: Ids
    """The text in the ids of its vocabulary."""


@dataclass(frozen=True, slots=True)
class Return:
    """What became of a found unit in another model; measured on the second half."""

    run: str
    unit: Unit
    """Its partner there."""
    r: float
    chance: float
    untrained: float
    effect: float
    """The partner's effect for the label: 2 AUC - 1, or rho."""
    comes_back: bool
    known_to: Unit
    """The unit there that tells the label best on the first half."""
    known: float
    """The effect of that unit."""
    is_known: bool
    """Whether that unit tells the label clearly."""


@dataclass(frozen=True, slots=True)
class Recurring:
    """A found unit, and what became of it in each other model."""

    finding: Finding
    returns: list[Return]

    @property
    def back(self) -> int:
        """The number of other models in which the unit comes back."""
        return sum(each.comes_back for each in self.returns)

    @property
    def known(self) -> int:
        """The number of other models of which some unit tells the label."""
        return sum(each.is_known for each in self.returns)

    @property
    def verdict(self) -> Literal["of the task", "in some", "of the run"]:
        """The result in words: the unit comes back in all other models, in some of them, or in none."""
        return "in some" if 0 < self.back < len(self.returns) else "of the task" if self.back else "of the run"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The found units of the first model in the others, and how many of all its states come back."""

    runs: list[str]
    """The names of the M other models."""
    recurring: list[Recurring]
    states: list[Unit]
    """The states of the first model, U."""
    partners: list[list[Unit]] = field(repr=False)
    """The partner of each state in each other model, M lists of U."""
    r: Doubles = field(compare=False, repr=False)
    """The r of each state with its partner, on the second half, (M, U)."""
    untrained: Doubles = field(compare=False, repr=False)
    """The r of each state with its partner in an untrained model of the other's shape, on the second half, (M, U)."""
    comes_back: Mask = field(compare=False, repr=False)
    """Whether each state comes back in each other model, (M, U)."""

    @property
    def universal(self) -> int:
        """The number of states that come back in all other models."""
        return int(self.comes_back.all(0).sum())

    @property
    def in_some(self) -> int:
        """The number of states that come back in some of the other models, but not in all."""
        return int(self.comes_back.any(0).sum()) - self.universal


@dataclass(frozen=True, eq=False, slots=True)
class _Matched:
    """The partners of units in another model, and what they come to on the second half."""

    partners: list[Unit]
    which: npt.NDArray[np.int64]
    """The places of the partners among the other model's units."""
    r: Doubles
    untrained: Doubles
    chance: Doubles
    """Infinite where r is too low anyway, and no one asked."""

    @property
    def comes_back(self) -> Mask:
        """Whether each unit comes back."""
        return _exceeds(self.r, self.untrained) & (np.abs(self.r) > self.chance)


def is_asked(finding: Finding) -> bool:
    """Returns whether a finding's unit is sought in other models: it was found, or tells its label as clearly in a text
    too short to say how surely."""
    return finding.is_found or (finding.is_too_slow and _tells(finding, finding.effect))


def recurrence(
    engine: RecordingEngine,
    ids: Ids,
    atlas: Atlas,
    labels: Sequence[Label],
    others: Sequence[Other],
    *,
    start: int = 0,
    samples: int = SAMPLES,
    seed: int = 0,
    report: Report = silent,
) -> Recurrence:
    """Seeks the units of `atlas`, which were found in `engine`'s model, and all its states in one or more other models.

    All read the same characters, each with its own ids; those before `start` are read but not measured. `report` is
    told how many characters have been read, and of how many.
    Raises WeightsTooLarge where a model's weights are too large to compute with.
    """
    random = np.random.Generator(np.random.Philox(seed))
    asked = [finding for finding in atlas.findings if is_asked(finding)]
    half = (len(ids) - start) // 2
    signals = max(len(units_of(one.config, kinds(one.config))) for one in (engine, *(each.engine for each in others)))
    samples = max(1, min(samples, _MOST_BYTES // (8 * signals), half))
    places = tuple(draw_places(begin, begin + half, samples, random) for begin in (start, start + half))
    done, to_read = 0, len(ids) * (1 + len(others) + len({id(other.untrained) for other in others}))

    def sample(one: RecordingEngine, own: Ids) -> Sample:
        nonlocal done
        before, done = done, done + len(own)
        return take(one, own, places, lambda read: report("reading", before + read, to_read))

    mine, num_states = _of_interest(sample(engine, ids), engine, [finding.unit for finding in asked])
    rows = [mine.units.index(finding.unit) for finding in asked]
    answers = _answers(labels, asked, places)
    untrained: dict[int, Doubles] = {}
    for other in others:
        if id(other.untrained) not in untrained:
            untrained[id(other.untrained)] = _baseline(mine, sample(other.untrained, other.ids))
    returns: list[list[Return]] = [[] for _ in asked]
    states: list[_Matched] = []
    for other in others:
        theirs = sample(other.engine, other.ids)
        matched = _match(mine, theirs, untrained[id(other.untrained)], rows, random)
        states.append(matched)
        for each, one in zip(returns, _returns(other.name, theirs, matched, rows, asked, answers), strict=True):
            each.append(one)
        del theirs  # before the next is read
    return Recurrence(
        [other.name for other in others],
        [Recurring(finding, each) for finding, each in zip(asked, returns, strict=True)],
        mine.units[:num_states],
        [matched.partners[:num_states] for matched in states],
        *(
            np.stack([getattr(matched, name)[:num_states] for matched in states])
            for name in ("r", "untrained", "comes_back")
        ),
    )


def _of_interest(sample: Sample, engine: RecordingEngine, found: Sequence[Unit]) -> tuple[Sample, int]:
    """Returns what is sought in other models: all states of the model, and after them the gates that were found; and
    the number of the states."""
    names = make_cell(engine.config).state_names
    states = [place for place, unit in enumerate(sample.units) if unit.kind in names]
    gates = [place for place, unit in enumerate(sample.units) if unit.kind not in names and unit in found]
    rows = [*states, *gates]
    return Sample([sample.units[row] for row in rows], sample.first[rows], sample.second[rows]), len(states)


def _answers(
    labels: Sequence[Label], asked: Sequence[Finding], places: Sequence[Places]
) -> list[list[npt.NDArray[Any]]]:
    """Returns the values at the places of each half for each finding's label."""
    named = {label.name: label.values for label in labels}
    return [[named[finding.label][chosen] for finding in asked] for chosen in places]


def _baseline(mine: Sample, novice: Sample) -> Doubles:
    """Returns the r of each of `mine` with its partner in an untrained model, on the second half, (U,)."""
    return paired(mine.second, novice.second[partners(mine.first, novice.first)])


def _match(
    mine: Sample, theirs: Sample, untrained: Doubles, asked: Sequence[int], random: np.random.Generator
) -> _Matched:
    which = partners(mine.first, theirs.first)
    r = paired(mine.second, theirs.second[which])
    in_doubt = _exceeds(r, untrained)
    in_doubt[list(asked)] = True
    chance = np.full(len(r), np.inf)
    chance[in_doubt] = np.quantile(by_chance(mine.second[in_doubt], theirs.second, SHIFTS, random), QUANTILE, axis=1)
    return _Matched([theirs.units[place] for place in which], which, r, untrained, chance)


def _returns(
    run: str,
    theirs: Sample,
    matched: _Matched,
    rows: Sequence[int],
    asked: Sequence[Finding],
    answers: Sequence[Sequence[npt.NDArray[Any]]],
) -> Iterator[Return]:
    """Yields what became of each found unit, which stand in these rows, in another model."""
    tellers = _tellers(theirs, asked, answers)
    for finding, row, (teller, known), answer in zip(asked, rows, tellers, answers[1], strict=True):
        effect = _effect(theirs.second[matched.which[row]], answer, finding)
        yield Return(
            run,
            matched.partners[row],
            r=float(matched.r[row]),
            chance=float(matched.chance[row]),
            untrained=float(matched.untrained[row]),
            effect=effect,
            comes_back=bool(matched.comes_back[row]) and _tells(finding, effect),
            known_to=theirs.units[teller],
            known=known,
            is_known=_tells(finding, known),
        )


def _exceeds(r: Doubles, untrained: Doubles) -> Mask:
    exceeds: Mask = np.abs(r) - np.abs(untrained) >= EXCESS
    return exceeds


def _tellers(
    sample: Sample, asked: Sequence[Finding], answers: Sequence[Sequence[npt.NDArray[Any]]]
) -> list[tuple[int, float]]:
    """Returns for each finding's label the place of the unit that tells it best on the first half, and its effect on
    the second."""
    if not asked:
        return []
    is_graded = np.array([finding.is_graded for finding in asked])
    told = []
    for begin in range(0, len(sample.first), _CHUNK):
        keys = np.rint((np.clip(sample.first[begin : begin + _CHUNK], -1, 1) + 1) * _STEPS).astype(np.uint16)
        told.append(effects(keys, np.stack(answers[0]), is_graded))
    chosen = np.abs(np.nan_to_num(np.concatenate(told))).argmax(0).tolist()
    return [
        (which, _effect(sample.second[which], answer, finding))
        for which, answer, finding in zip(chosen, answers[1], asked, strict=True)
    ]


def _effect(values: npt.NDArray[Any], answers: npt.NDArray[Any], finding: Finding) -> float:
    """Returns the effect of one unit (N,) for the finding's label (N,); 0 where there is none."""
    return float(np.nan_to_num(effects(values[None], answers[None], np.array([finding.is_graded]))[0, 0]))


def _tells(finding: Finding, effect: float) -> bool:
    """Returns whether a unit with this effect tells the finding's label clearly, and better than the last characters
    and an untrained unit do."""
    return abs(effect) > max(CLEAR, abs(finding.from_characters), abs(finding.untrained))
