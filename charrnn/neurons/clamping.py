"""Holds chosen units of a model at constant values, by changing the weights of the network.

The value at which a unit is held reaches everything that reads the unit, in every step from the first one on. Engines
need no change: a unit is read through a column of a weight matrix, so a constant unit amounts to a bias, and a constant
gate is one without inputs. So a held model runs on every engine, at full speed, and computes the same numbers as a step
in which the unit is overwritten (the tests compare the two).

    h        its columns are added to the biases of its readers: the layer itself, the layer above or the decoder
    c        (lstm, as tanh(c), see `record`) i = 1, f = 0, g is constant; the columns of h = o tanh(c) are rescaled
    a gate   its row of the weights becomes zero, and its bias becomes what gives the value

This holds for the plain cells. In their variants, h can still be held where matrix products read it unchanged
(peepholes, coupled gates, zoneout). Where h is normalised, multiplied (also by a reset gate) or (in a urnn) transformed
first, no bias has the same effect, and holding is refused.

Shape letters: H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.members import count_members, joined, parted
from charrnn.cells.names import enumerated
from charrnn.cells.registry import describe, make_cell, plain_cells
from charrnn.errors import UsageError
from charrnn.neurons.columns import readers
from charrnn.neurons.record import Unit, is_unbounded, limits, parse_unit
from charrnn.settings.config import ModelConfig

Array = npt.NDArray[np.float32]

_SHUT = 40.0
"""The argument at which a sigmoid is saturated: sigmoid(-40), 1 - sigmoid(40) and 1 - tanh(20) vanish in float32."""
_HALF = 0.5
_HIGHEST = 1.0 - 2.0**-24
"""The largest float32 below 1: the highest value at which the tanh of an unbounded h can be held."""


def check_can_hold(config: ModelConfig, kind: str) -> None:
    """Raises UsageError where units of this kind cannot be held constant by changing weights."""
    held = make_cell(config).held
    if kind not in held:
        here = f", and here {enumerated(list(held), 'and')} can" if held else ""
        whole = [cell.name for cell in plain_cells() if {*cell.state_names, *cell.gate_names} <= set(cell.held)]
        raise UsageError(
            f"units of kind {kind} cannot be held in this model ({describe(config)}): no other weights would do that",
            f"units of plain {enumerated(whole, 'and')} models can be held{here}",
        )


def parse_clamp(said: str, config: ModelConfig) -> tuple[Unit, float]:
    """Returns the unit and the value of a clamp such as `L2.c318=+1`. Raises UsageError where it is malformed."""
    name, equals, number = said.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or math.isnan(value):
        raise UsageError(f"--clamp is {said!r}", "write UNIT=VALUE, such as --clamp L2.c318=+1")
    unit = parse_unit(name.strip(), config, option="--clamp")
    check_can_hold(config, unit.kind)
    low, high = limits(unit.kind, config)
    if unit.kind == "h" and is_unbounded("h", config):
        cell = make_cell(config)
        if not max(cell.lowest, -_HIGHEST) <= value < 1:
            allowed = ("more than -1" if cell.lowest else "0") + " to less than 1"
            raise UsageError(
                f"--clamp holds {unit} at {number.strip()}", f"a {cell.activation}'s h is given as tanh(h): {allowed}"
            )
    elif not low <= value <= high:
        raise UsageError(f"--clamp holds {unit} at {number.strip()}", f"it can take on {low:g} to {high:g}")
    return unit, value


def clamp(
    config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], held: Mapping[Unit, float]
) -> Mapping[str, Array]:
    """Returns parameters of the model in which each unit of `held` keeps its value; `parameters` are not changed.

    The model must have been rewritten by `columns.with_own_columns`. Where h is held, nothing reads the gates and the
    memory of the same index any more: they are left as they are. A unit of an ensemble is held in its member.
    """
    if (members := count_members(parameters)) > 1:
        H, each = config.hidden_size, [dict[Unit, float]() for _ in range(members)]
        for unit, value in held.items():
            each[unit.index // H][Unit(unit.layer, unit.kind, unit.index % H)] = value
        return joined([clamp(config, *both) for both in zip(parted(parameters, members), each, strict=True)])
    changed = _Changed(config, parameters)
    for unit in held:
        check_can_hold(config, unit.kind)
        if unit.kind != "h" and Unit(unit.layer, "h", unit.index) in held:
            continue
        if unit.kind == "h":
            changed.hold_output(unit, held[unit])
        elif unit.kind == "c":
            changed.hold_memory(unit, held[unit])
        elif Unit(unit.layer, "c", unit.index) not in held or unit.kind not in changed.held_with_memory:
            changed.hold_gate(unit, held[unit])
    return changed.arrays


class _Changed:
    """Parameters that are being changed; each array is copied before its first change."""

    def __init__(self, config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]]) -> None:
        self.config, self._cell = config, make_cell(config)
        self.arrays = dict(parameters)
        self._copied: set[str] = set()
        self.held_with_memory = {**dict(self._cell.memory_held_by), str(self._cell.candidate): _HALF}
        """The gates that are held together with the memory c, and the value of each."""

    def _own(self, name: str) -> Array:
        if name not in self._copied:
            self.arrays[name] = np.array(self.arrays[name], np.float32)
            self._copied.add(name)
        return self.arrays[name]

    def _readers(self, unit: Unit) -> list[tuple[Array, Array]]:
        """Returns the matrix columns that read the unit's output, each with the bias of the same rows."""
        return [
            (self._own(reader.matrix)[:, reader.first + unit.index], self._own(reader.bias))
            for reader in readers(self.config, unit.layer)
        ]

    def hold_output(self, unit: Unit, value: float) -> None:
        if "h" in self._cell.unbounded:
            value = math.atanh(min(max(value, self._cell.lowest, -_HIGHEST), _HIGHEST))
        for column, bias in self._readers(unit):
            bias += np.float32(value) * column
            column[:] = 0

    def hold_memory(self, unit: Unit, value: float) -> None:
        for kind, at in self.held_with_memory.items():
            self.hold_gate(Unit(unit.layer, kind, unit.index), at)
        for column, _ in self._readers(unit):
            column *= np.float32(value / math.tanh(_HALF))

    def hold_gate(self, unit: Unit, value: float) -> None:
        cell = self._cell
        row = cell.rows(unit.kind, self.config.hidden_size).start + unit.index
        for name in ("weight_ih", "weight_hh", cell.recurrent_bias, cell.input_bias):
            self._own(f"layers.{unit.layer}.{name}")[row] = 0
        self._own(f"layers.{unit.layer}.{cell.input_bias}")[row] = _argument(value, *cell.limits(unit.kind))


def _argument(value: float, low: float, high: float) -> float:
    """Returns the argument at which the gate's activation, a sigmoid or a candidate's tanh, is `value`."""
    share = (value - low) / (high - low)
    if share in (0.0, 1.0):
        return _SHUT if share else -_SHUT
    return math.log(share / (1 - share)) / (1 if low == 0 else 2)
