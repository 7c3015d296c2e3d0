"""Finds units that are on throughout the spans of a text that a pattern selects, and where else they are on like that.

This automates what is done by hand in LSTMVis (Strobelt, Gehrmann, Pfister & Rush 2018, arXiv 1606.07461). A unit is on
where its value is a threshold or more or, for a low unit, where it is minus the threshold or less. It *fits* a span
where it is on throughout and off just before and just after, with a tolerance of one character at each end: a unit's
value is taken after a character was read, so a unit for quotes is on at the opening quote already. A fit is thus a run
of the unit that begins with the span or one character earlier and ends with it or one later.

Units are chosen on the first half of the spans and reported on the second, beside how often they fit spans of the same
lengths elsewhere in that half, and how many of all their runs there fit a span: a unit that comes on with every word
fits those that were selected too.

The text is read once, and two bits for each unit and character are kept in memory.

Shape letters: T characters, U units, N spans, H hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.patterns import compiled
from charrnn.neurons.record import Part, Unit, check_finite, parts_of, record
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[np.integer]
Places = npt.NDArray[np.int64]
Spans = npt.NDArray[np.int64]
"""Spans of a text, (N, 2): the place of the first character of each, and the place after its last."""
Bits = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

THRESHOLD = 0.3
FEWEST = 4
SHOWN = 10
MATCHES = 20
_SLACK = 1
_CONTROLS = 2000
_ROUNDS = 100
_MOST_BYTES = 1 << 30
_CANDIDATES = 2000
_SHORTEST_RUN = 2
_ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class SpanTally:
    """Counts of what a unit does in one half of the spans, and elsewhere in that half of the text."""

    spans: int
    throughout: int
    """The number of spans throughout which the unit is on."""
    fits: int
    """The number of spans that the unit fits: it is on throughout, and off just before and just after."""
    runs: int
    """The number of runs: stretches of text in which the unit is on without a break."""
    runs_fit: int
    """The number of runs that fit a span."""
    controls: int
    """The number of control spans, which have the same lengths and are placed at random elsewhere."""
    controls_throughout: int
    controls_fit: int

    @property
    def share(self) -> float:
        """The share of the spans that the unit fits."""
        return self.fits / self.spans if self.spans else 0.0

    @property
    def base(self) -> float:
        """The share of the control spans that the unit fits."""
        return self.controls_fit / self.controls if self.controls else 0.0

    @property
    def precision(self) -> float:
        """The share of the unit's runs that fit a span."""
        return self.runs_fit / self.runs if self.runs else 0.0

    @property
    def score(self) -> float:
        """The harmonic mean of `share` and `precision` (F1)."""
        both = self.share + self.precision
        return 2 * self.share * self.precision / both if both else 0.0

    @property
    def lift(self) -> float | None:
        """The ratio of `share` to `base`; None where the unit fits no control spans."""
        return self.share / self.base if self.controls_fit else None


@dataclass(frozen=True, slots=True)
class UnitChoice:
    """A unit that was chosen on the first half of the spans, and what it does in both halves."""

    unit: Unit
    is_low: bool
    """Whether the unit counts as on where its value is minus the threshold or less."""
    chosen: SpanTally
    reported: SpanTally

    def __str__(self) -> str:
        return f"{'-' if self.is_low else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Match:
    """Another place that the chosen units fit: the characters `start` to `end` - 1."""

    start: int
    end: int
    shared: int
    """The number of units of the set that fit the place."""
    others: int
    """The number of other units that fit the place; h and c of a cell count separately, and so do high and low."""
    overlap: float
    """The Jaccard index: the shared units as a part of all units in the set or among the others."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The result of a selection: its spans, the units that were chosen for them, and the matches elsewhere."""

    spans: int
    threshold: float
    units: int
    choices: list[UnitChoice]
    """The chosen units, in the order in which the first half ranks them."""
    together: list[UnitChoice]
    """The set of units that matches are sought for: the choices that score at least half as high as the first."""
    matches: list[Match] | None


@dataclass(frozen=True, eq=False)
class Activity:
    """Where every unit is on, high or low, as packed bits: a row holds eight units' columns, (ceil(2 U / 8), T)."""

    config: ModelConfig
    parts: list[Part]
    bits: Bits

    def columns(self) -> Iterator[tuple[Unit, bool, Flags]]:
        """Yields, for each unit with high and low values: the unit, whether it is low, and where it is on, (T,)."""
        H = self.config.hidden_size
        for row, packed in enumerate(self.bits):
            lanes = np.unpackbits(packed[None], axis=0).view(np.bool_)
            for lane in range(min(8, 2 * H * len(self.parts) - 8 * row)):
                part, place = divmod(8 * row + lane, 2 * H)
                yield Unit(*self.parts[part], place % H), place >= H, lanes[lane]


def parse_pattern(said: str) -> re.Pattern[str]:
    """Returns the compiled pattern of a selection. Raises UsageError where it is not a valid regular expression."""
    return compiled(said, f"--select {said!r} is no valid pattern")


def find_spans(text: str, pattern: re.Pattern[str], start: int = 0) -> Spans:
    """Returns the spans that `pattern`, or its group 1 where it has one, matches from `start` on.

    Spans at the text's end are left out, because it is not known whether a unit goes off after them. Raises UsageError
    where there are too few spans to choose on one half and to report on the other.
    """
    group = 1 if pattern.groups else 0
    found = {match.span(group) for match in pattern.finditer(text, start)}
    spans = sorted((begin, end) for begin, end in found if max(begin, start) < end < len(text) - _SLACK)
    spans = [(begin, end) for begin, end in spans if begin >= start]
    if len(spans) < FEWEST:
        many = {0: "nothing", 1: "1 span"}.get(len(spans), f"{len(spans)} spans")
        raise UsageError(
            f"--select {pattern.pattern!r} selects {many} of the {len(text) - start:,} characters, "
            f"and {FEWEST} are the fewest to choose on one half and to report on the other",
            "give another pattern or a longer text; group 1 is selected where there is one, and it must not be empty",
        )
    return np.array(spans, np.int64)


def select(
    engine: RecordingEngine,
    ids: Ids,
    spans: Spans,
    *,
    threshold: float = THRESHOLD,
    start: int = 0,
    with_matches: bool = False,
    seed: int = 0,
    block: int = 256,
) -> Selection:
    """Chooses the units that fit `spans` of the text whose ids are `ids`, and finds other places that they fit.

    Characters before `start` are read but not measured.
    """
    activity = watch(engine, ids, threshold, block)
    half = len(spans) // 2
    cut = int(spans[half, 0])
    random = np.random.Generator(np.random.Philox(seed))
    halves = [
        (spans[:half], elsewhere(spans, spans[:half], start, cut, random), start, cut),
        (spans[half:], elsewhere(spans, spans[half:], cut, len(ids) - _SLACK - 1, random), cut, len(ids)),
    ]
    best: dict[tuple[int, int], UnitChoice] = {}
    for unit, is_low, on in activity.columns():
        runs = runs_of(on)
        first = _tally(runs, *halves[0])
        cell = (unit.layer, unit.index)
        if first.fits and (cell not in best or first.score > best[cell].chosen.score):
            best[cell] = UnitChoice(unit, is_low, first, _tally(runs, *halves[1]))
    choices = sorted(best.values(), key=lambda choice: (-choice.chosen.score, choice.unit))[:SHOWN]
    together = [choice for choice in choices if choice.chosen.score >= _ALIKE * choices[0].chosen.score]
    units = len(activity.parts) * engine.config.hidden_size
    matches = _matches(activity, together, spans, start) if with_matches else None
    return Selection(len(spans), threshold, units, choices, together, matches)


def watch(engine: RecordingEngine, ids: Ids, threshold: float, block: int = 256) -> Activity:
    """Reads the text, and returns where every state unit is on. Raises UsageError where that would fill the memory."""
    config, T = engine.config, len(ids)
    parts = parts_of(config, make_cell(config).state_names)
    rows = -(-2 * config.hidden_size * len(parts) // 8)
    if rows * T > _MOST_BYTES:
        raise UsageError(
            f"{T:,} characters are too many for a model of this size", f"give --length {_MOST_BYTES // rows} or less"
        )
    bits = np.zeros((rows, T), np.uint8)
    place = 0
    for taken in record(engine, ids, parts, block):
        columns = []
        for part in parts:
            values = taken[part]
            check_finite(f"a unit of kind {part[1]} is", values)
            columns += [values >= threshold, values <= -threshold]
        packed = np.packbits(np.concatenate(columns, axis=1), axis=1)
        bits[:, place : place + len(packed)] = packed.T
        place += len(packed)
    return Activity(config, parts, bits)


def runs_of(on: Flags) -> Spans:
    """Returns the runs of a unit, (runs, 2): the stretches where it is on without a break, as spans."""
    turns = np.flatnonzero(on[1:] != on[:-1]) + 1
    edges = np.concatenate((np.zeros(int(on[0]), np.int64), turns, np.full(int(on[-1]), len(on), np.int64)))
    return edges.reshape(-1, 2)


def fit(runs: Spans, spans: Spans) -> tuple[Flags, Flags, Places]:
    """Returns for each span whether a unit is on throughout, whether it fits the span, and the run the span lies in."""
    which = np.searchsorted(runs[:, 0], spans[:, 0], "right") - 1
    if not len(runs):
        never = np.zeros(len(spans), np.bool_)
        return never, never, which
    begins, ends = runs[which, 0], runs[which, 1]  # spans before all runs get the last one: it begins too late
    throughout = (begins <= spans[:, 0]) & (ends >= spans[:, 1])
    fits = throughout & (begins >= spans[:, 0] - _SLACK) & (ends <= spans[:, 1] + _SLACK)
    return throughout, fits, which


def overlapping(places: Spans, spans: Spans) -> Flags:
    """Returns which of `places` share a character with any of `spans`, which are in order."""
    reached = np.concatenate(([-1], np.maximum.accumulate(spans[:, 1])))
    overlaps: Flags = reached[np.searchsorted(spans[:, 0], places[:, 1], "left")] > places[:, 0]
    return overlaps


def elsewhere(spans: Spans, part: Spans, low: int, high: int, random: np.random.Generator) -> Spans:
    """Draws spans as long as those of `part` between `low` and `high`, which share no character with `spans`.

    Where there is no room for one (as between words for a word), it is put anywhere except exactly onto one of `spans`.
    """
    lengths = random.choice(part[:, 1] - part[:, 0], _CONTROLS)
    begins = np.full(_CONTROLS, -1)
    for round_number in range(2 * _ROUNDS):
        open_places = np.flatnonzero(begins < 0)
        room = high - low - lengths[open_places] + 1
        open_places, room = open_places[room > 0], room[room > 0]
        if not len(open_places):
            break
        drawn = low + (random.random(len(room)) * room).astype(np.int64)
        placed = np.stack((drawn, drawn + lengths[open_places]), axis=1)
        taken = overlapping(placed, spans)
        if round_number >= _ROUNDS:
            taken = np.isin(drawn, spans[:, 0])
        begins[open_places[~taken]] = drawn[~taken]
    placed = np.stack((begins, begins + lengths), axis=1)[begins >= 0]
    return placed[np.argsort(placed[:, 0], kind="stable")]


def _tally(runs: Spans, spans: Spans, controls: Spans, low: int, high: int) -> SpanTally:
    """Returns the counts over a half of the text, from `low` to `high`."""
    throughout, fits, which = fit(runs, spans)
    controls_throughout, controls_fit, _ = fit(runs, controls)
    return SpanTally(
        len(spans), int(throughout.sum()), int(fits.sum()),
        int(((runs[:, 0] < high) & (runs[:, 1] > low)).sum()), len(np.unique(which[fits])),
        len(controls), int(controls_throughout.sum()), int(controls_fit.sum()),
    )  # fmt: skip


def _matches(activity: Activity, together: list[UnitChoice], spans: Spans, start: int) -> list[Match]:
    """Returns the best places outside `spans`: those that most of the set and fewest others fit, longest first."""
    members = {(choice.unit, choice.is_low) for choice in together}
    cells = {(choice.unit.layer, choice.unit.index) for choice in together}
    T = activity.bits.shape[1]
    shortest = min(_SHORTEST_RUN, int((spans[:, 1] - spans[:, 0]).min()))
    flags = [on.copy() for unit, is_low, on in activity.columns() if (unit, is_low) in members]
    count = np.zeros(T, np.uint8)
    for on in flags:
        count[start:] += on[start:]
    found = [np.zeros((0, 2), np.int64)]
    for least in range(len(flags), (len(flags) - 1) // 2, -1):
        runs = runs_of(np.greater_equal(count, least))
        found.append(runs[(runs[:, 1] - runs[:, 0] >= shortest) & (runs[:, 1] < T - _SLACK)])
    places = np.unique(np.concatenate(found), axis=0)
    places = places[~overlapping(places, spans)]
    shared = np.zeros(len(places), np.int64)
    for on in flags:
        shared += fit(runs_of(on), places)[1]
    # Only these candidates are compared with all other units.
    order = np.lexsort((places[:, 0], places[:, 0] - places[:, 1], -shared))[:_CANDIDATES]
    order = order[2 * shared[order] >= max(1, len(flags))]
    places, shared = places[order], shared[order]
    others = np.zeros(len(places), np.int64)
    for unit, _, on in activity.columns():
        if len(places) and (unit.layer, unit.index) not in cells:
            others += fit(runs_of(on), places)[1]
    best: list[Match] = []
    for number in np.lexsort((places[:, 0], places[:, 0] - places[:, 1], others, -shared)).tolist():
        begin, end = places[number].tolist()
        if len(best) < MATCHES and all(end <= other.start or begin >= other.end for other in best):
            mine, theirs = int(shared[number]), int(others[number])
            best.append(Match(begin, end, mine, theirs, mine / (len(flags) + theirs)))
    return best
