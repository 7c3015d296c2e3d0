"""Activation patching with matched pairs: how much of what the model concludes from a character is carried by a unit.

A pair (`pairs.py`) is a text in two readings, A as it stands and B with a character changed at a place d, and a later
place q. The answer of a reading is the log-odds that it gives to the character x that A has at q,

    answer = log p(x) - log (1 - p(x))    in nats,

which is the difference of the logarithms of two probabilities: of x, and of all others together. The change that the
pair makes is D = answer(A) - answer(B). Then A is read once more, and after each character from d to q - 1 the state of
one unit is replaced by what it is in B after the same character (for an lstm both its h and its c); the layers above,
the next step and the answer read that, and all other states go their own way. B is read once more with the unit's state
of A. The shares of the change that the unit carries, over all pairs, are

    taken out    sum (answer(A) - answer(A with the unit of B)) / sum D
    put in       sum (answer(B with the unit of A) - answer(B)) / sum D

The first says how much is lost without what the unit holds, the second how much that alone is enough for. Where the
knowledge lies in one place both are 1, where it lies elsewhere both are 0. Where it is kept in several copies, the
first is small and the second may be large, or both may be small; shares of several units need not add up.

Replacing activations by those of a matched text is the causal mediation analysis of Vig et al. 2020 (arXiv 2004.12265),
who measure the ratio of an indirect effect to the total one. Zhang & Nanda 2023 (arXiv 2309.16042) found that texts
should differ by a replaced token and not by noise, and that effects should be measured by a difference of logits;
Heimersheim & Nanda 2024 (arXiv 2404.15255) tell why both directions say different things. The interval of a ratio of
means is that of the delta method over pairs (Cochran 1977, Sampling Techniques, section 6.4), with Student's t.

Shape letters: N pairs, P pairs side by side, S sets of units, V vocabulary, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.cell import State
from charrnn.cells.members import as_one, count_members, parted
from charrnn.cells.parameters import written_out
from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.ensemble import averaged
from charrnn.inference.reference import Change, Network, NetworkState
from charrnn.neurons.autocorrelated import spread_of_independent
from charrnn.neurons.find import Atlas
from charrnn.neurons.record import Report, Unit, check_finite, silent
from charrnn.settings.config import ModelConfig

Ids = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Place = tuple[int, int]
"""A layer (from 1) and an index: all states of one unit."""

CONTEXT = 500
"""The number of characters before the change that both readings have in common."""
FEWEST = 20
"""The smallest number of pairs over which shares are measured."""
COMPARED = 8
"""The number of random sets of units beside each that is asked about."""
_LANES = 1024
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Exchange:
    """Two readings of a passage: their ids up to the question, and what is asked for."""

    place: int
    """The place of the first character that differs."""
    changed: Ids
    """The ids of what is put there."""
    asked: int
    """The place of the character whose log-odds are the answer; it lies behind what is changed."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean, or a ratio of means, over pairs with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, slots=True)
class Carried:
    """What some units carry of the change in the answer; shares are NaN where the change itself is not shown."""

    places: tuple[Place, ...]
    taken_out: Mean
    put_in: Mean
    answers: Doubles
    """The answers of A with these units of B, and of B with these of A, (2, N)."""


@dataclass(frozen=True, eq=False, slots=True)
class Patching:
    """The change in the answer over pairs, and how much of it units carry."""

    answers: Doubles
    """The answers of A and of B, (2, N), in nats."""
    change: Mean
    """The mean of answer(A) - answer(B)."""
    carried: list[Carried]
    """An entry for each set of units that was asked about."""
    random: list[list[Carried]]
    """For each of them, as many random other units of the same layers, several times."""

    @property
    def is_shown(self) -> bool:
        """Whether the interval of the change leaves out 0: without a change there is nothing to carry."""
        return self.change.low * self.change.high > 0


def places_of_units(units: Sequence[Unit], config: ModelConfig) -> list[Place]:
    """Returns the places of state units, each once. Raises UsageError for a gate, which has no state of its own."""
    states = make_cell(config).state_names
    for unit in units:
        if unit.kind not in states:
            others = " or ".join(str(Unit(unit.layer, kind, unit.index)) for kind in states)
            raise UsageError(
                f"--unit is {unit}, a gate, and --patch exchanges states: a gate keeps nothing from one character to "
                "the next",
                f"give the state of the same index, {others}",
            )
    return list(dict.fromkeys((unit.layer, unit.index) for unit in units))


def ranked_states(atlas: Atlas, config: ModelConfig) -> list[Place]:
    """Returns the places of all states, first those that tell the atlas' only label best on the half that chooses;
    nothing where the label is too rare."""
    if not atlas.scores.labels:
        return []
    states, tells = make_cell(config).state_names, np.abs(np.nan_to_num(atlas.scores.first[:, 0]))
    order = np.argsort(-tells, kind="stable").tolist()
    return places_of_units([unit for unit in (atlas.scores.units[one] for one in order) if unit.kind in states], config)


def patch(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    ids: Ids,
    exchanges: Sequence[Exchange],
    asked: Sequence[Sequence[Place]],
    *,
    end: int | None = None,
    compared: int = COMPARED,
    seed: int = 0,
    report: Report = silent,
) -> Patching:
    """Measures how much of the change in the answer each set of units in `asked` carries, beside random sets.

    Exchanges begin at `CONTEXT` or later. `end` is the id that is read from the zero state. `report` is told how many
    pairs have been read. Raises WeightsTooLarge where the weights are too large to compute with.
    """
    sets = [tuple(each) for each in asked]
    members = parted(parameters, count_members(parameters))
    H = as_one(config, len(members)).hidden_size
    random = np.random.Generator(np.random.Philox(seed))
    beside = [_random_sets(each, H, compared, random) for each in sets]
    each_once = list(dict.fromkeys([*sets, *(one for several in beside for one in several)]))
    networks = [Network(*written_out(config, own), end=end) for own in members]
    answers = _answers(networks, ids, exchanges, each_once, report)
    check_finite("an answer is", answers)
    whole = answers[0, 0] - answers[0, 1]
    change = _ratio(whole, np.ones_like(whole))
    is_shown = change.low * change.high > 0

    def carried(places: tuple[Place, ...]) -> Carried:
        found = answers[1 + each_once.index(places)]
        lost, won = answers[0, 0] - found[0], found[1] - answers[0, 1]
        unknown = Mean(math.nan, math.nan, math.nan)
        shares = [_ratio(part, whole) if is_shown else unknown for part in (lost, won)]
        return Carried(places, shares[0], shares[1], found)

    return Patching(
        answers[0], change, [carried(each) for each in sets], [[carried(one) for one in several] for several in beside]
    )


def _random_sets(asked: tuple[Place, ...], H: int, many: int, random: np.random.Generator) -> list[tuple[Place, ...]]:
    """Draws different sets of as many other units in each layer as `asked` has; fewer than `many`, or none, where there
    are too few others. Units that know the same may be among them: they show that one is not alone."""
    layers = sorted({layer for layer, _ in asked})
    sets: dict[tuple[Place, ...], None] = {}
    for _ in range(_TRIES * many):
        drawn: list[Place] = []
        for layer in layers:
            free = [index for index in range(H) if (layer, index) not in asked]
            wanted = sum(one == layer for one, _ in asked)
            drawn += [(layer, free[place]) for place in sorted(random.permutation(len(free))[:wanted].tolist())]
        if len(drawn) == len(asked):
            sets[tuple(drawn)] = None
        if len(sets) == many:
            break
    return list(sets)


def _ratio(part: Doubles, whole: Doubles) -> Mean:
    """Returns the mean of `part` divided by the mean of `whole`, both (N,), with the delta method's interval."""
    ratio = float(part.mean() / whole.mean())
    width = spread_of_independent((part - ratio * whole) / whole.mean()).within()
    return Mean(ratio, ratio - width, ratio + width)


def _answers(
    networks: Sequence[Network],
    ids: Ids,
    exchanges: Sequence[Exchange],
    sets: Sequence[tuple[Place, ...]],
    report: Report,
) -> Doubles:
    """Returns the answers of A and B, (S + 1, 2, N): first as they are, then with each set of units exchanged."""
    N, S = len(exchanges), len(sets) + 1
    found = np.full((S, 2, N), np.nan)
    # Those of one length side by side, so that few lanes wait for others.
    order = sorted(range(N), key=lambda number: exchanges[number].place - exchanges[number].asked)
    together = max(1, _LANES // (2 * S))
    for begin in range(0, N, _LANES):
        several = order[begin : begin + _LANES]
        places = np.array([exchanges[number].place for number in several])
        states = [network.zero_state(len(several)) for network in networks]
        for t in range(-CONTEXT, 0):
            ahead = ids[places + t]
            states = [network.observe(ahead, state)[0] for network, state in zip(networks, states, strict=True)]
        for first in range(0, len(several), together):
            report("exchanging states", begin + first, N)
            here = several[first : first + together]
            lanes = np.tile(np.arange(first, first + len(here)), 2 * S).tolist()
            begun = [network.take(state, lanes) for network, state in zip(networks, states, strict=True)]
            found[:, :, here] = _side_by_side(networks, begun, ids, [exchanges[number] for number in here], sets)
    return found


def _side_by_side(
    networks: Sequence[Network],
    states: list[NetworkState],
    ids: Ids,
    exchanges: Sequence[Exchange],
    sets: Sequence[tuple[Place, ...]],
) -> Doubles:
    """Returns what `_answers` does, for exchanges whose distances descend; `states` are those before them, a lane for
    each of (2 S P)."""
    S, P = len(sets) + 1, len(exchanges)
    places, asked = (np.array([getattr(one, name) for one in exchanges]) for name in ("place", "asked"))
    lengths, wanted = asked - places, ids[asked]
    T = int(lengths[0])
    both = np.stack([ids[np.minimum(places + t, asked)] for t in range(T)])[:, None].repeat(2, 1)  # (T, 2, P)
    for number, one in enumerate(exchanges):
        both[: len(one.changed), 1, number] = one.changed
    changes = [_exchange(sets, S, member, network.config) for member, network in enumerate(networks)]
    found = np.full((S, 2, P), np.nan)
    for t in range(T):
        going = int((lengths > t).sum())
        if (lanes := _kept(states[0], S)) > going:
            kept = np.arange(S * 2 * lanes).reshape(S, 2, lanes)[:, :, :going].ravel().tolist()
            states = [network.take(state, kept) for network, state in zip(networks, states, strict=True)]
        read = np.broadcast_to(both[t, :, :going], (S, 2, going)).ravel()
        states = [
            network.observe(read, state, change)[0]
            for network, state, change in zip(networks, states, changes, strict=True)
        ]
        first = int((lengths > t + 1).sum())  # from here on, the next character is asked for
        if first < going:
            ends = np.arange(S * 2 * going).reshape(S, 2, going)[:, :, first:].ravel()
            likely = averaged([
                log_probabilities(network.decode(read[ends], network.take(state, ends.tolist())))
                for network, state in zip(networks, states, strict=True)
            ])  # fmt: skip
            answers = log_odds(likely, np.tile(wanted[first:going], 2 * S))
            found[:, :, first:going] = answers.reshape(S, 2, going - first)
    return found


def _kept(state: NetworkState, S: int) -> int:
    return len(state[0][0]) // (2 * S)


def _exchange(sets: Sequence[tuple[Place, ...]], S: int, member: int, config: ModelConfig) -> Change:
    """Returns what replaces, in the lanes (S, 2, P) of a member, the units of each set by those of the other reading.

    The first of the S has both readings as they are; a lane takes the units from there.
    """
    H = config.hidden_size
    own = [[(layer, index - member * H) for layer, index in each if index // H == member] for each in sets]

    def change(layer: int, state: State) -> State:
        changed = []
        for array in state:
            lanes = array.reshape(S, 2, -1, array.shape[-1]).copy()
            for number, each in enumerate(own, 1):
                indices = [index for one, index in each if one == layer + 1]
                lanes[number][..., indices] = lanes[0, ::-1][..., indices]
            changed.append(lanes.reshape(array.shape))
        return tuple(changed)

    return change


def log_odds(likely: Doubles, wanted: Ids) -> Doubles:
    """Returns log p(x) - log (1 - p(x)) for the ids x of `wanted` (B,), from log-probabilities (B, V)."""
    rows = np.arange(len(wanted))
    others = likely.copy()
    others[rows, wanted] = -np.inf
    found: Doubles = likely[rows, wanted] - np.logaddexp.reduce(others, axis=1)
    return found
