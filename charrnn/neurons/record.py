"""Records the activations of units while the model reads a text: every unit's value after every character.

The text is run once through the network, in order, from the zero state, and activations are handed out in blocks,
so that memory does not grow with the text.

A unit is `L<layer>.<kind><index>`: layer from 1; kind h, c, or a gate (lstm: i f g o, gru: r z n); index from 0.

Shape letters: T characters in a block, L layers, H hidden size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.names import with_article
from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError, WeightsTooLarge
from charrnn.inference.engine import Engine, RecordingEngine
from charrnn.settings.config import ModelConfig

Floats = npt.NDArray[np.float32]
Part = tuple[int, str]
"""A layer (from 1) and a kind, which stand for all H units of that kind in the layer."""

Report = Callable[[str, int, int], None]
"""A function that is told what is being done, how much of it is done, and how much there is in all."""

ALL = "all"
"""The name of all states of a model together."""
_MANY = "all stands for all states, L1 for those of a layer, h for all units of a kind, L1.h for those of a layer"
_BLOCK = 256
_WARM_UP = 1000
_SCORED = 1024


def silent(_doing: str, _done: int, _total: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True, order=True, slots=True)
class Unit:
    """One number in the network that changes with the text."""

    layer: int
    kind: str
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}.{self.kind}{self.index}"

    @property
    def part(self) -> Part:
        """The unit's layer and kind."""
        return self.layer, self.kind


def parts_of(config: ModelConfig, of_kinds: Sequence[str]) -> list[Part]:
    """Returns the parts of the model with these kinds: of every layer each kind."""
    return [(layer, kind) for layer in range(1, config.num_layers + 1) for kind in of_kinds]


def units_of(config: ModelConfig, of_kinds: Sequence[str]) -> list[Unit]:
    """Returns all units of these kinds, by layer, then kind, then index."""
    return [Unit(*part, index) for part in parts_of(config, of_kinds) for index in range(config.hidden_size)]


def check_finite(what: str, values: npt.NDArray[np.floating[Any]]) -> None:
    """Raises WeightsTooLarge where a value is not finite; the message begins with `what`, such as "a loss is"."""
    if not np.isfinite(values).all():
        raise WeightsTooLarge(what)


def kinds(config: ModelConfig) -> tuple[str, ...]:
    """Returns the kinds of units a model has: its states, then its gates."""
    cell = make_cell(config)
    return (*cell.state_names, *cell.gate_names)


def parse_unit(name: str, config: ModelConfig, option: str = "--unit") -> Unit:
    """Returns the unit called `name` in a model of this shape. Raises UsageError where there is no such unit."""
    if option == "--unit":
        name = name.removeprefix("-")  # which --find prints before a unit that is low where the label holds
    match = re.fullmatch(r"L([0-9]{1,6})\.([a-z])([0-9]{1,9})", name)
    if not match:
        meant = f"did you mean L1.{name}?" if re.fullmatch("[a-z][0-9]{1,9}", name) else None
        if name.startswith("-L"):
            meant = f"did you mean {name[1:]}? the minus says that the unit is low where the label holds"
        raise UsageError(
            f"{option} is {name!r}", meant, "units are named like L1.h0 or L2.c17: layer from 1, kind, index from 0"
        )
    unit = Unit(int(match[1]), match[2], int(match[3]))
    if not 1 <= unit.layer <= config.num_layers:
        raise UsageError(
            f"there is no layer {unit.layer} in {name}", f"the model's layers are 1 to {config.num_layers}"
        )
    if unit.kind not in kinds(config):
        raise UsageError(
            f"{with_article(config.cell)} has no {unit.kind!r} as in {name}",
            f"its kinds are {', '.join(kinds(config))}",
        )
    if unit.index >= config.hidden_size:
        raise UsageError(f"there is no unit {unit.index} as in {name}", f"indices are 0 to {config.hidden_size - 1}")
    return unit


def units_named(name: str, config: ModelConfig, option: str = "the unit") -> list[Unit]:
    """Returns the units called `name`: one (L2.c17), a layer's of a kind (L2.c), all states of a layer (L2), all units
    of a kind (c), or all states (all). Raises UsageError where there are none, in the name of `option`.
    """
    if name == ALL:
        return units_of(config, make_cell(config).state_names)
    if name in kinds(config):
        return units_of(config, name)
    match = re.fullmatch(r"L([0-9]{1,6})(?:\.([a-z]))?", name)
    if match is None:
        try:
            return [parse_unit(name, config, option)]
        except UsageError as error:
            raise UsageError(error.message, *error.hints, None if re.match(r"L\d", name) else _MANY) from error
    states = make_cell(config).state_names
    firsts = [parse_unit(f"L{match[1]}.{kind}0", config, option) for kind in ([match[2]] if match[2] else states)]
    return [Unit(*first.part, index) for first in firsts for index in range(config.hidden_size)]


def limits(kind: str, config: ModelConfig) -> tuple[float, float]:
    """Returns the range in which a kind is shown: 0 to 1 for gates, -1 to 1 for all else (unbounded values as tanh)."""
    return make_cell(config).limits(kind)


def is_unbounded(kind: str, config: ModelConfig) -> bool:
    """Returns whether the values of a kind have no bounds, so that their tanh is shown instead."""
    return kind in make_cell(config).unbounded


def title(unit: Unit, config: ModelConfig) -> str:
    """Returns a unit's name, and what is shown of the unit where that is not its own value."""
    return f"{unit} (tanh {unit.kind})" if is_unbounded(unit.kind, config) else str(unit)


def record(
    engine: RecordingEngine, ids: Sequence[int] | npt.NDArray[Any], parts: Sequence[Part], block: int = _BLOCK
) -> Iterator[dict[Part, Floats]]:
    """Yields, for each block of the text, the activations (T, H) of `parts` after each character.

    The lstm's c is handed out as tanh(c), which is its contribution to the output and what Karpathy, Johnson & Fei-Fei
    2015 (arXiv 1506.02078) draw; c itself has no bounds. The h of a urnn, and of an rnn with relu or modrelu, has no
    bounds either, and is handed out as tanh(h).
    """
    return record_pieces(engine, [ids], parts, block)


def record_pieces(
    engine: RecordingEngine,
    pieces: Iterable[Sequence[int] | npt.NDArray[Any]],
    parts: Sequence[Part],
    block: int = _BLOCK,
) -> Iterator[dict[Part, Floats]]:
    """Yields what `record` does for a text in pieces of any length; the state is carried from piece to piece."""
    state = engine.zero_state(1)
    for ids in pieces:
        for start in range(0, len(ids), block):
            taken, state = engine.record(np.asarray(ids[start : start + block]), state)
            here: dict[Part, Floats] = {}
            for layer, kind in parts:
                values = taken[kind][:, layer - 1]
                here[layer, kind] = np.tanh(values) if is_unbounded(kind, engine.config) else values
            yield here


class Columns:
    """Takes the values of units, a column for each in their order, out of the values of whole parts."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.count = len(units)
        places: dict[Part, tuple[list[int], list[int]]] = {}
        for place, unit in enumerate(units):
            to, from_ = places.setdefault(unit.part, ([], []))
            to.append(place)
            from_.append(unit.index)
        self._places = {part: (_as_slice(to), _as_slice(from_)) for part, (to, from_) in places.items()}

    @property
    def parts(self) -> list[Part]:
        """The parts that have the units."""
        return list(self._places)

    def taken_from(self, values: Mapping[Part, Floats]) -> Floats:
        """Returns the values (T, units) of the units, from those of their parts, (T, H) each."""
        found = np.empty((len(next(iter(values.values()))), self.count), np.float32)
        for part, (to, from_) in self._places.items():
            found[:, to] = values[part][:, from_]
        return found


def _as_slice(places: list[int]) -> slice | list[int]:
    """Returns places that stand one after the other as a slice, which numpy copies faster."""
    whole = slice(places[0], places[0] + len(places))
    return whole if places == [*range(whole.start, whole.stop)] else places


def record_units(
    engine: RecordingEngine, ids: Sequence[int] | npt.NDArray[Any], columns: Columns, block: int = _BLOCK
) -> Iterator[Floats]:
    """Yields, for each block of the text, the values (T, units) of units after each character."""
    return (columns.taken_from(taken) for taken in record(engine, ids, columns.parts, block))


def record_passage(engine: RecordingEngine, ids: npt.NDArray[Any], part: Part, begin: int, end: int) -> Floats:
    """Returns the activations (T, H) of `part` after each of `ids[begin:end]`, given a thousand ids before them."""
    before = min(begin, _WARM_UP)
    taken = [block[part] for block in record(engine, ids[begin - before : end], [part])]
    return np.concatenate(taken)[before:]


def losses_of(engine: Engine, ids: npt.NDArray[Any], report: Report = silent) -> npt.NDArray[np.float64]:
    """Returns the loss of each of `ids`, (T,) or (T, B), in bits, given all before it in its lane.

    The loss of the first id of each lane is NaN.
    """
    losses, state, logits = np.empty(ids.shape), engine.zero_state(1 if ids.ndim == 1 else ids.shape[1]), None
    for start in range(0, len(ids), _SCORED):
        scored = engine.score(ids[start : start + _SCORED], state, logits)
        state, logits = scored.state, scored.logits
        losses[start : start + _SCORED] = -scored.log_probabilities / math.log(2)
        report("reading as one stream", min(start + _SCORED, len(ids)), len(ids))
    return losses


def liveliest(engine: RecordingEngine, ids: Sequence[int] | npt.NDArray[Any], count: int) -> list[Unit]:
    """Returns the `count` state units that vary most over the text, by the standard deviation of what `record` gives.

    They are chosen from each layer's h and (for an lstm) tanh(c); of the two of one index only the livelier is named.
    """
    config = engine.config
    parts = parts_of(config, make_cell(config).state_names)
    sums = {part: np.zeros(config.hidden_size) for part in parts}
    squares = {part: np.zeros(config.hidden_size) for part in parts}
    for taken in record(engine, ids, parts):
        for part, values in taken.items():
            exact = values.astype(np.float64)
            sums[part] += exact.sum(0)
            squares[part] += (exact**2).sum(0)
    spread = {part: squares[part] / len(ids) - (sums[part] / len(ids)) ** 2 for part in parts}
    best: dict[tuple[int, int], tuple[float, Unit]] = {}
    for (layer, kind), variances in spread.items():
        for index, variance in enumerate(variances.tolist()):
            candidate = (variance, Unit(layer, kind, index))
            if (layer, index) not in best or candidate[0] > best[layer, index][0]:
                best[layer, index] = candidate
    ranked = sorted(best.values(), key=lambda pair: (-pair[0], pair[1]))
    return [unit for _, unit in ranked[:count]]
