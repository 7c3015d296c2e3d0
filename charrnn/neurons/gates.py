"""Counts how often each gate is nearly open (right-saturated) and nearly shut (left-saturated) over a text.

After Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078, section 4.2): a gate is left-saturated while its activation
is below 0.1 and right-saturated while it is above 0.9. A unit's two fractions of the time place it in a triangle. Near
its right end a forget gate remembers for long (an integrator); near its upper end it never does (what they call a
feed-forward cell). Only counts are kept, so that memory does not grow with the text.

The candidates (lstm: g, gru: n) go through a tanh: they are no gates in this sense and are left out.

Shape letters: T characters in a block, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.cell import Ends
from charrnn.cells.names import with_article
from charrnn.cells.registry import make_cell, plain_cells
from charrnn.errors import UsageError
from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.record import check_finite, parts_of, record_pieces
from charrnn.settings.config import ModelConfig

Doubles = npt.NDArray[np.float64]

LEFT, RIGHT = 0.1, 0.9
"""The activations below and above which a gate counts as saturated."""
MOSTLY = 0.9
"""The fraction of the time above which a gate counts as saturated nearly always."""


@dataclass(frozen=True, slots=True)
class GateSaturation:
    """How often one kind of gate in one layer was saturated."""

    layer: int
    kind: str
    title: str
    """The name of this kind of gate, for headings."""
    ends: Ends | None
    """The meanings of the gate's two ends, where the gate decides whether a unit keeps its content; else None."""
    right: Doubles
    """The fraction of the time that each unit's gate was above `RIGHT`, (H,)."""
    left: Doubles
    """The fraction of the time that each unit's gate was below `LEFT`, (H,)."""

    @property
    def mostly_right(self) -> int:
        """The number of units whose gate was right-saturated nearly always."""
        return int(np.count_nonzero(self.right > MOSTLY))

    @property
    def mostly_left(self) -> int:
        """The number of units whose gate was left-saturated nearly always."""
        return int(np.count_nonzero(self.left > MOSTLY))


@dataclass(frozen=True, slots=True)
class Saturation:
    """How often the gates of all layers were saturated."""

    characters: int
    """The number of characters after which the gates were measured. Where it is 0, `gates` is empty."""
    gates: tuple[GateSaturation, ...]
    """The saturation of each gate: layer by layer, and within a layer in the order of the cell's equations."""


def gate_kinds(config: ModelConfig) -> tuple[str, ...]:
    """Returns the gates with values between 0 and 1: i, f, o of an lstm; r, z of a gru. Raises UsageError where there
    are none."""
    cell = make_cell(config)
    kinds = tuple(kind for kind in cell.gate_names if kind != cell.candidate)
    if not kinds:
        gated = " or ".join(with_article(each.name) for each in plain_cells() if each.gate_names)
        raise UsageError(
            f"--gates: {with_article(config.cell)} has no gates, its units are a {cell.activation} of what comes in",
            f"name the checkpoint of {gated} with --checkpoint",
        )
    return kinds


def saturation(
    engine: RecordingEngine, pieces: Iterable[Sequence[int] | npt.NDArray[Any]], start: int = 0, *, block: int = 256
) -> Saturation:
    """Reads a text that comes in `pieces` of ids, and counts saturated gates from character `start` on.

    Raises UsageError for a cell without gates, CheckpointError where an activation is not finite.
    """
    kinds = gate_kinds(engine.config)
    H = engine.config.hidden_size
    parts = parts_of(engine.config, kinds)
    right = {part: np.zeros(H, np.int64) for part in parts}
    left = {part: np.zeros(H, np.int64) for part in parts}
    place = 0
    for taken in record_pieces(engine, pieces, parts, block):
        before = max(0, start - place)
        place += len(taken[parts[0]])
        for part, values in taken.items():
            check_finite(f"the {part[1]} gates of layer {part[0]} are", values)
            right[part] += np.count_nonzero(values[before:] > RIGHT, axis=0)
            left[part] += np.count_nonzero(values[before:] < LEFT, axis=0)
    characters = max(0, place - start)
    if not characters:
        return Saturation(0, ())
    cell = make_cell(engine.config)
    titles, ends = dict(cell.gate_titles), dict([cell.keeping] if cell.keeping else [])
    return Saturation(
        characters,
        tuple(
            GateSaturation(layer, kind, titles.get(kind, kind), ends.get(kind), *(each / characters for each in counts))
            for (layer, kind), counts in zip(parts, zip(right.values(), left.values(), strict=True), strict=True)
        ),
    )
