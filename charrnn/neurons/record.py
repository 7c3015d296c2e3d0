"""What the units do while the model reads: every unit's value after every character.

The text is run once through the network, in order, from the zero state, and activations are handed out in blocks,
so that memory does not grow with the text. Knows units, their names and ranges. Refuses to know what they mean.

A unit is `L<layer>.<kind><index>`: layer from 1; kind h, c, or a gate (lstm: i f g o, gru: r z n); index from 0.

Shape letters: T characters in a block, L layers, H hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig

Floats = npt.NDArray[np.float32]
Part = tuple[int, str]
"""A layer (from 1) and a kind: all H units of that kind there."""

_BLOCK = 256


class Recorder(Protocol):
    """An engine that tells what its units do."""

    @property
    def config(self) -> ModelConfig:
        """Its shape."""

    def zero_state(self, lanes: int = 1) -> Any:
        """The state before the first character."""

    def record(self, ids: npt.ArrayLike, state: Any) -> tuple[dict[str, Floats], Any]:
        """Reads `ids` (T,): every unit's value after each, by kind (T, L, H), and the new state."""


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
        """Where it lies."""
        return self.layer, self.kind


def kinds(config: ModelConfig) -> tuple[str, ...]:
    """The kinds of units a model has: its states, then its gates."""
    cell = make_cell(config)
    return (*cell.state_names, *cell.gate_names)


def parse_unit(name: str, config: ModelConfig, option: str = "--unit") -> Unit:
    """The unit called `name` in a model of this shape. Raises UsageError where there is no such unit."""
    match = re.fullmatch(r"L([0-9]{1,6})\.([a-z])([0-9]{1,9})", name)
    if not match:
        raise UsageError(
            f"{option} is {name!r}", "units are named like L1.h0 or L2.c17: layer from 1, kind, index from 0"
        )
    unit = Unit(int(match[1]), match[2], int(match[3]))
    if not 1 <= unit.layer <= config.num_layers:
        raise UsageError(
            f"there is no layer {unit.layer} in {name}", f"the model's layers are 1 to {config.num_layers}"
        )
    if unit.kind not in kinds(config):
        raise UsageError(
            f"a {config.cell} has no {unit.kind!r} as in {name}", f"its kinds are {', '.join(kinds(config))}"
        )
    if unit.index >= config.hidden_size:
        raise UsageError(f"there is no unit {unit.index} as in {name}", f"indices are 0 to {config.hidden_size - 1}")
    return unit


def limits(kind: str, config: ModelConfig) -> tuple[float, float]:
    """The range a kind is shown in: gates 0 to 1, all else -1 to 1 (what has no bounds as its tanh, see `record`)."""
    return make_cell(config).limits(kind)


def is_unbounded(kind: str, config: ModelConfig) -> bool:
    """Whether values of a kind have no bounds, so that their tanh is shown."""
    return kind in make_cell(config).unbounded


def title(unit: Unit, config: ModelConfig) -> str:
    """A unit's name, with what is shown of it where that is not its own value."""
    return f"{unit} (tanh {unit.kind})" if is_unbounded(unit.kind, config) else str(unit)


def record(
    engine: Recorder, ids: Sequence[int] | npt.NDArray[Any], parts: Sequence[Part], block: int = _BLOCK
) -> Iterator[dict[Part, Floats]]:
    """Yields, for each block of the text, the activations (T, H) of `parts` after each character.

    The lstm's c is handed out as tanh(c), what it contributes to the output and what Karpathy, Johnson & Fei-Fei 2015
    (arXiv 1506.02078) draw: c itself has no bounds. The h of a urnn, and of an rnn with relu or modrelu, has
    none either: it is tanh(h) here.
    """
    return record_pieces(engine, [ids], parts, block)


def record_pieces(
    engine: Recorder, pieces: Iterable[Sequence[int] | npt.NDArray[Any]], parts: Sequence[Part], block: int = _BLOCK
) -> Iterator[dict[Part, Floats]]:
    """The same for a text that comes in pieces, of any length: the state goes on from each to the next."""
    state = engine.zero_state(1)
    for ids in pieces:
        for start in range(0, len(ids), block):
            taken, state = engine.record(np.asarray(ids[start : start + block]), state)
            here: dict[Part, Floats] = {}
            for layer, kind in parts:
                values = taken[kind][:, layer - 1]
                here[layer, kind] = np.tanh(values) if is_unbounded(kind, engine.config) else values
            yield here


def liveliest(engine: Recorder, ids: Sequence[int] | npt.NDArray[Any], count: int) -> list[Unit]:
    """The `count` state units that vary most over the text, by the standard deviation of what `record` gives.

    Of each layer's h and (for an lstm) tanh(c); a unit is named once, as the kind in which it varies more.
    """
    config = engine.config
    cell = make_cell(config)
    parts = [(layer, kind) for layer in range(1, config.num_layers + 1) for kind in cell.state_names]
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
