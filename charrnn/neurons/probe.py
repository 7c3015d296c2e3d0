"""Linear probes: how well a few units of the state predict a label, compared with baselines.

This is the experiment of Radford, Jozefowicz & Sutskever 2017 (arXiv 1704.01444), who found one unit for sentiment: L1
logistic regression (`logistic.py`) on the state. C is chosen by accuracy on a validation part, with the largest penalty
among equals; with more than two classes, each is fitted against the rest. Units are standardised by the training part,
so that weights can be compared. Only the chosen probe is applied to the test part. Beside it stand the best unit alone
(chosen on the training part) and the baselines:

    untrained   the same probe on a model of the same shape that has learned nothing
    last 3      the commonest class after the last three characters (`contexts.after_characters`)
    counts      the same probe on how often each character occurs: only for whole texts
    majority    the training part's commonest class

A probe says what can be read from a state, not that the model uses it.

Shape letters: N places (or texts), D units of the state, K decisions (1 for two classes, else one for each).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextError
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.contexts import CONTEXT, after_characters, contexts
from charrnn.neurons.labels import Label
from charrnn.neurons.logistic import Fit, fit
from charrnn.neurons.record import Report, Unit, silent
from charrnn.neurons.states import state_units, states_after, states_in
from charrnn.neurons.statistics import Doubles, auc, effects, mean_interval, mean_interval_of_independent
from charrnn.settings.config import ModelConfig
from charrnn.wording import count

Ids = npt.NDArray[np.integer]
Places = npt.NDArray[np.int64]

PLACES = 6000
"""The largest number of places, or texts, in all three parts together."""
PATH = tuple(2.0**power for power in range(-8, 1))
FEWEST = 20
"""The smallest number of texts of each class, in all three parts together."""
_RAREST = 10
"""The smallest number of places of each class, in each part."""
_SHARES = (0.5, 0.25)  # of the training and the validation part; the rest is the test part
_MOST_NUMBERS = 1 << 24
_PATIENCE = 3
_HEAVIEST = 5
_STILL = 1e-6  # a unit with a smaller standard deviation counts as constant


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """How well a probe, a unit or a baseline tells the classes of the test part."""

    name: str
    accuracy: float
    low: float | None
    """The lower end of the accuracy's 95 % interval; None, as `high` is, where the text is too short to tell."""
    high: float | None
    auc: float
    """The AUC, which is the mean over classes where there are more than two."""
    features: int | None = None
    """The number of features with a nonzero weight; None where the score is not a probe's."""
    C: float | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """A unit's weight, for a change of one standard deviation, towards a class."""

    unit: Unit
    weight: float
    towards: str


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one value of C on the path."""

    C: float
    accuracy: float
    """The accuracy on the validation part."""
    features: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe's scores beside the baselines'. The difference is its accuracy less that of the best baseline."""

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    """The shares of the classes in the test part."""
    parts: tuple[int, int, int]
    """The sizes of the training, validation and test parts."""
    units: int
    score: ProbeScore
    alone: ProbeScore
    best_unit: Unit
    baselines: tuple[ProbeScore, ...]
    best_baseline: str
    difference: float
    low: float | None
    """The lower end of the difference's 95 % interval; None, as `high` is, where the text is too short to tell."""
    high: float | None
    heaviest: tuple[Weight, ...]
    path: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class _Task:
    """A classification task: answers (N,) as class numbers, the rows of the three parts, and whether answers follow
    one another in a text, so that they depend on each other."""

    classes: tuple[str, ...]
    answers: Places
    parts: tuple[Places, Places, Places]
    is_text: bool

    def truths(self, part: int) -> npt.NDArray[np.bool_]:
        """Returns, (K, N of the part), whether each answer is the second of two classes, or each class of several."""
        answers = self.answers[self.parts[part]]
        asked = range(1, 2) if len(self.classes) == 2 else range(len(self.classes))
        return np.stack([answers == one for one in asked])

    def is_right(self, decided: Doubles, part: int) -> Doubles:
        """Returns 1 for each answer that the decisions (K, N of the part) get right, 0 for the others."""
        guessed = (decided[0] > 0).astype(np.int64) if len(decided) == 1 else decided.argmax(0)
        right: Doubles = (guessed == self.answers[self.parts[part]]).astype(np.float64)
        return right

    def interval(self, values: Doubles) -> tuple[float, float] | tuple[None, None]:
        """Returns the 95 % interval of the mean of `values` (N,) of the test part; None where it is too short."""
        return (mean_interval(values) or (None, None)) if self.is_text else mean_interval_of_independent(values)

    def score(self, name: str, decided: Doubles, fits: Sequence[Fit] = (), C: float | None = None) -> ProbeScore:
        """Returns the score of decisions (K, N) on the test part."""
        right, truths = self.is_right(decided, 2), self.truths(2)
        low, high = self.interval(right)
        area = float(np.mean([auc(one, truth) for one, truth in zip(decided, truths, strict=True)]))
        return ProbeScore(name, float(right.mean()), low, high, area, _features(fits) if fits else None, C)


@dataclass(frozen=True, eq=False)
class _Line:
    """A fitted probe: its K fits, its decisions (K, N) on the test part, and the path of C that led to it."""

    fits: list[Fit]
    decided: Doubles
    C: float
    path: tuple[Step, ...]


def probe_text(
    engine: RecordingEngine,
    untrained: RecordingEngine,
    ids: Ids,
    label: Label,
    *,
    start: int = 0,
    seed: int = 0,
    report: Report = silent,
) -> Probe:
    """Probes the state at places of a text, from `start` on, for a label. The three parts follow one after the other.

    Raises TextError where the label holds, or fails to, at too few places of a part.
    """
    random = np.random.Generator(np.random.Philox(seed))
    ends = [start + int((len(ids) - start) * share) for share in np.cumsum([0.0, *_SHARES])] + [len(ids)]
    most = most_places(engine.config)
    drawn = []
    for begin, end, share in zip(ends, ends[1:], (*_SHARES, 1 - sum(_SHARES)), strict=False):
        drawn.append(begin + np.sort(random.choice(end - begin, min(int(most * share), end - begin), replace=False)))
    chosen = np.concatenate(drawn)
    answers = (label.values[chosen] > 0).astype(np.int64)
    task = _Task(("no", "yes"), answers, _consecutive(drawn), is_text=True)
    for name, part in zip(("training", "validation", "test"), task.parts, strict=True):
        holds = int(answers[part].sum())
        if min(holds, len(part) - holds) < _RAREST:
            raise TextError(
                f"{label.name!r} holds at {holds:,} of {len(part):,} places of the {name} part, too "
                f"{'few' if holds < _RAREST else 'many'} to say anything",
                f"{_RAREST} or more of each are needed: take more of the text (--length), or another label",
            )

    def states(reader: RecordingEngine) -> Doubles:
        return states_in(reader, ids, chosen, report)

    learned = np.arange(start, ends[1])
    told = after_characters(contexts(ids), learned, label.values[None, learned], chosen[task.parts[2]]) - 0.5
    return _probe(task, states, engine, untrained, told, {})


def probe_texts(
    engine: RecordingEngine,
    untrained: RecordingEngine,
    texts: Sequence[Ids],
    answers: Sequence[str],
    *,
    vocabulary_size: int,
    seed: int = 0,
    report: Report = silent,
) -> Probe:
    """Probes the state at the end of each text, read from the zero state, for its class; parts are drawn by `seed`.

    Raises TextError where there is one class only, or too few texts of a class.
    """
    names = tuple(sorted(set(answers)))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[answer] for answer in answers], np.int64)
    counts = np.bincount(numbers)
    if len(names) < 2:
        raise TextError(f"all texts have the label {names[0]!r}", "a probe tells two classes or more apart")
    if counts.min() < FEWEST:
        rarest = int(counts.argmin())
        raise TextError(
            f"{count(counts[rarest], 'text')} {'has' if counts[rarest] == 1 else 'have'} the label {names[rarest]!r}, "
            "too few to learn on some and test on others",
            f"give {FEWEST} or more of each label",
        )
    random = np.random.Generator(np.random.Philox(seed))
    drawn: list[list[Places]] = [[], [], []]
    for number in range(len(names)):
        rows = random.permutation(np.flatnonzero(numbers == number))
        for part, some in zip(drawn, np.split(rows, np.ceil(len(rows) * np.cumsum(_SHARES)).astype(int)), strict=True):
            part.append(some)
    first, second, third = (np.sort(np.concatenate(part)) for part in drawn)
    task = _Task(names, numbers, (first, second, third), is_text=False)

    def states(reader: RecordingEngine) -> Doubles:
        return states_after(reader, texts, report)

    ends = [np.append(np.zeros(CONTEXT, np.int64), text[-CONTEXT:].astype(np.int64) + 1) for text in texts]
    last = np.cumsum([len(end) for end in ends]) - 1  # all ends in one row, each begun by an id that is no character's
    codes = (code[last] for code in contexts(np.concatenate(ends)))
    told = after_characters(codes, first, task.truths(0).astype(np.float64), third)
    told = told - 0.5 if len(told) == 1 else told
    occurring = np.stack([np.bincount(text, minlength=vocabulary_size) / len(text) for text in texts])
    return _probe(task, states, engine, untrained, told, {"character counts": occurring})


def _probe(
    task: _Task,
    states: Callable[[RecordingEngine], Doubles],
    engine: RecordingEngine,
    untrained: RecordingEngine,
    told: Doubles,
    others: dict[str, Doubles],
) -> Probe:
    """Compares a probe of the state with `told`, the decisions (K, N) of the last characters, and with probes of
    `others`, features (N, any)."""
    taken = states(engine)
    line = _fitted(taken, task)
    units = state_units(engine.config)
    best = _best(taken, task)
    alone = _fitted(taken[:, [best]], task)
    del taken
    compared = {"untrained model": _fitted(states(untrained), task)}
    compared |= {name: _fitted(features, task) for name, features in others.items()}
    commonest = np.bincount(task.answers[task.parts[0]], minlength=len(task.classes)).astype(np.float64)
    constant = commonest if len(commonest) > 2 else commonest[1:] - commonest[:1]
    decisions = {name: one.decided for name, one in compared.items()}
    decisions[f"last {CONTEXT} characters"] = told
    decisions["majority"] = np.repeat(constant[:, None], len(task.parts[2]), 1)
    baselines = [
        task.score(name, decided, *((compared[name].fits, compared[name].C) if name in compared else ()))
        for name, decided in decisions.items()
    ]
    winner = max(baselines, key=lambda score: score.accuracy)
    gained = task.is_right(line.decided, 2) - task.is_right(decisions[winner.name], 2)
    low, high = task.interval(gained)
    return Probe(
        task.classes,
        tuple(float((task.answers[task.parts[2]] == one).mean()) for one in range(len(task.classes))),
        (len(task.parts[0]), len(task.parts[1]), len(task.parts[2])),
        len(units),
        task.score("state", line.decided, line.fits, line.C),
        task.score("best unit alone", alone.decided, alone.fits, alone.C),
        units[best],
        tuple(baselines),
        winner.name, float(gained.mean()), low, high,
        _heaviest(line.fits, units, task.classes),
        line.path,
    )  # fmt: skip


def most_places(config: ModelConfig) -> int:
    """Returns the number of places, or texts, whose states fit into memory: at most `PLACES`."""
    return max(8 * FEWEST, min(PLACES, _MOST_NUMBERS // len(state_units(config))))


def _consecutive(pieces: Sequence[Places]) -> tuple[Places, Places, Places]:
    ends = np.cumsum([0, *map(len, pieces)])
    first, second, third = (np.arange(begin, end) for begin, end in zip(ends, ends[1:], strict=False))
    return first, second, third


def _fitted(features: Doubles, task: _Task) -> _Line:
    """Fits a probe for each C of a path, each from the solution before, until the validation log-loss only grows."""
    scale, middle = features[task.parts[0]].std(0), features[task.parts[0]].mean(0)
    scale = np.where(scale > _STILL, scale, np.inf)
    training, validation, test = ((features[part] - middle) / scale for part in task.parts)
    truths = task.truths(0)
    fits: list[Fit | None] = [None] * len(truths)
    best: tuple[float, list[Fit], float] | None = None
    path: list[Step] = []
    lowest, waited = np.inf, 0
    for C in PATH:
        found = [fit(training, truth, C, before) for truth, before in zip(truths, fits, strict=True)]
        fits = list(found)
        decided = np.stack([one.decide(validation) for one in found])
        accuracy = float(task.is_right(decided, 1).mean())
        loss = float(np.logaddexp(0, np.where(task.truths(1), -decided, decided)).mean())
        path.append(Step(C, accuracy, _features(found)))
        waited, lowest = (0, loss) if loss < lowest else (waited + 1, lowest)
        if best is None or accuracy > best[0]:
            best = accuracy, found, C
        if waited == _PATIENCE:
            break
    assert best is not None
    return _Line(best[1], np.stack([one.decide(test) for one in best[1]]), best[2], tuple(path))


def _features(fits: Sequence[Fit]) -> int:
    return int(np.any([one.weights != 0 for one in fits], axis=0).sum())


def _best(states: Doubles, task: _Task) -> int:
    """Returns the unit that tells the classes best on the training part, by its mean AUC, whatever its sign."""
    truths = task.truths(0)
    told = effects(states[task.parts[0]].T, truths, np.zeros(len(truths), bool))
    return int(np.nan_to_num(np.abs(told)).mean(1).argmax())


def _heaviest(fits: Sequence[Fit], units: Sequence[Unit], classes: tuple[str, ...]) -> tuple[Weight, ...]:
    weights = np.stack([one.weights for one in fits])
    heaviest = np.abs(weights).max(0)
    found = []
    for place in np.argsort(-heaviest, kind="stable")[:_HEAVIEST]:
        if heaviest[place] > 0:
            towards = int(np.abs(weights[:, place]).argmax())
            name = classes[1] if len(fits) == 1 else classes[towards]
            found.append(Weight(units[place], float(weights[towards, place]), name))
    return tuple(found)
