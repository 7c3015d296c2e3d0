"""A model in which chosen units stand still: the same network with other weights.

What a unit is held at reaches everything that reads it, in every step and from the first one on. No engine has to know:
whoever reads a unit does so through a column of a weight matrix, so a constant there is a bias, and a gate that never
moves is one without inputs. So a held model runs wherever a model runs, at full speed, and its numbers are those of the
step with the unit overwritten (the tests do that).

    h        its columns become part of the biases of who reads them: the layer itself, the layer above or the decoder
    c        (lstm, as tanh(c), see `record`) i = 1, f = 0, g is constant; what h = o tanh(c) lacks, its columns make up
    a gate   its row of the weights becomes zero, its bias what gives the value

That is so in the plain cells. Around them, h can still be held where products read it as it is (peepholes, coupled
gates, zoneout); where it is normalised, multiplied or (in a urnn) transformed first no bias is the same, and holding is
refused.

Shape letters: H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import describe, is_plain
from charrnn.errors import UsageError
from charrnn.neurons.columns import reading_columns
from charrnn.neurons.record import Unit, limits, parse_unit
from charrnn.settings.config import ModelConfig

Array = npt.NDArray[np.float32]

_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ""}
"""The rows of a layer's matrices, in blocks of H."""
_SHUT = 40.0
"""sigmoid(-40) and 1 - sigmoid(40) are nothing beside 1 in float32, as 1 - tanh(20) is."""
_HALF = 0.5
_HIGHEST = 1.0 - 2.0**-24
"""tanh of an h without bounds, in float32, where it is not 1."""


def check_can_hold(config: ModelConfig, kind: str) -> None:
    """Raises UsageError for a kind that no other weights hold still."""
    if is_plain(config) or (config.activation != "tanh" and not _changes_what_is_read(config)):
        return
    is_h_held = not _changes_what_is_read(config)
    if kind != "h" or not is_h_held:
        raise UsageError(
            f"units of kind {kind} cannot be held in this model ({describe(config)}): no other weights would do that",
            "units of plain lstm, gru and rnn models can be held" + (", and here h can" if is_h_held else ""),
        )


def _changes_what_is_read(config: ModelConfig) -> bool:
    is_normalised = config.layer_norm or config.batch_norm
    return is_normalised or config.multiplicative or config.mogrifier > 0 or config.cell == "urnn"


def parse_clamp(said: str, config: ModelConfig) -> tuple[Unit, float]:
    """Returns the unit and the value that `L2.c318=+1` names. Raises UsageError."""
    name, equals, number = said.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or math.isnan(value):
        raise UsageError(f"--clamp is {said!r}", "write UNIT=VALUE, such as --clamp L2.c318=+1")
    unit = parse_unit(name.strip(), config, option="--clamp")
    check_can_hold(config, unit.kind)
    low, high = limits(unit.kind)
    if config.activation != "tanh":
        lowest = 0 if config.activation == "relu" else -_HIGHEST
        if not lowest <= value < 1:
            allowed = ("more than -1" if lowest else "0") + " to less than 1"
            raise UsageError(
                f"--clamp holds {unit} at {number.strip()}", f"a {config.activation}'s h is given as tanh(h): {allowed}"
            )
    elif not low <= value <= high:
        raise UsageError(f"--clamp holds {unit} at {number.strip()}", f"it can take on {low:g} to {high:g}")
    return unit, value


def clamp(
    config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]], held: Mapping[Unit, float]
) -> dict[str, Array]:
    """Returns the parameters of the model in which each unit keeps its value; `parameters` stay as they are.

    The model is one whose columns are its own (`columns.with_own_columns`).
    Where h is held as well, nothing reads what leads to it: the others of its index are left alone.
    """
    changed = _Changed(config, parameters)
    for unit in held:
        check_can_hold(config, unit.kind)
        if unit.kind != "h" and Unit(unit.layer, "h", unit.index) in held:
            continue
        if unit.kind == "h":
            changed.hold_output(unit, held[unit])
        elif unit.kind == "c":
            changed.hold_memory(unit, held[unit])
        elif unit.kind == "o" or Unit(unit.layer, "c", unit.index) not in held:
            changed.hold_gate(unit, held[unit])
    return changed.arrays


class _Changed:
    """Parameters that are being changed; each array is copied before its first change."""

    def __init__(self, config: ModelConfig, parameters: Mapping[str, npt.NDArray[Any]]) -> None:
        self.config = config
        self.arrays = dict(parameters)
        self._copied: set[str] = set()

    def _own(self, name: str) -> Array:
        if name not in self._copied:
            self.arrays[name] = np.array(self.arrays[name], np.float32)
            self._copied.add(name)
        return self.arrays[name]

    def _readers(self, unit: Unit) -> list[tuple[Array, Array]]:
        """Returns the columns that read this unit's output, each with the bias of the same rows."""
        names = {f"layers.{unit.layer}.weight_hh": 0, **reading_columns(self.config, unit.layer)}
        return [(self._own(name)[:, first + unit.index], self._own(self._bias(name))) for name, first in names.items()]

    def _bias(self, matrix: str) -> str:
        """Returns the name of the bias that is added to this matrix's product."""
        place, _, kind = matrix.rpartition(".")
        if place == "decoder":
            return "decoder.bias"
        return f"{place}.bias" + (kind.removeprefix("weight") if self.config.cell == "gru" else "")

    def hold_output(self, unit: Unit, value: float) -> None:
        if self.config.activation != "tanh":
            lowest = 0.0 if self.config.activation == "relu" else -_HIGHEST
            value = math.atanh(min(max(value, lowest), _HIGHEST))
        for column, bias in self._readers(unit):
            bias += np.float32(value) * column
            column[:] = 0

    def hold_memory(self, unit: Unit, value: float) -> None:
        for kind, at in (("i", 1.0), ("f", 0.0), ("g", _HALF)):
            self.hold_gate(Unit(unit.layer, kind, unit.index), at)
        for column, _ in self._readers(unit):
            column *= np.float32(value / math.tanh(_HALF))

    def hold_gate(self, unit: Unit, value: float) -> None:
        row = _GATES[self.config.cell].index(unit.kind) * self.config.hidden_size + unit.index
        layer = f"layers.{unit.layer}."
        for matrix in ("weight_ih", "weight_hh"):
            self._own(layer + matrix)[row] = 0
        if self.config.cell == "gru":
            self._own(layer + "bias_hh")[row] = 0
        self._own(layer + ("bias_ih" if self.config.cell == "gru" else "bias"))[row] = _argument(unit.kind, value)


def _argument(kind: str, value: float) -> float:
    """Returns the number of which the gate's own function, a sigmoid or the candidates' tanh, makes `value`."""
    low, high = limits(kind)
    share = (value - low) / (high - low)
    if share in (0.0, 1.0):
        return _SHUT if share else -_SHUT
    return math.log(share / (1 - share)) / (1 if low == 0 else 2)
