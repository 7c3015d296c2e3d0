"""What stands around a cell and changes one of its pieces.

A wrapper is a cell, and passes everything on to the one inside but for what it changes. There are two kinds. Those that
change what is read (`prepare`, `recur`, `combine`) stand next to the cell; those that change a whole step (`advance`)
stand around them. `registry.py` puts them in this order. Knows one cell. Refuses to know which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.cells.arrays import Array, Arrays
from charrnn.cells.cell import PLAIN, Cell, Gates, Inside, Noise, State


@dataclass(frozen=True)
class Reading(Cell):
    """A cell that reads otherwise; its own arrays come after those of the cell inside."""

    inner: Cell

    def __post_init__(self) -> None:
        for name in ("name", "state_names", "gate_names", "blocks", "input_bias"):
            object.__setattr__(self, name, getattr(self.inner, name))

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """Those of the cell inside."""
        return self.inner.noise_rates

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Those of the cell inside."""
        return self.inner.shapes(input_size, hidden_size)

    def derive(self, p: Arrays) -> Arrays:
        """That of the cell inside."""
        return self.inner.derive(p)

    def project(self, p: Arrays, x: Array) -> Array:
        """That of the cell inside."""
        return self.inner.project(p, x)

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """That of the cell inside."""
        return self.inner.prepare(p, x)

    def recur(self, p: Arrays, prepared: tuple[Array, ...], h: Array) -> Array:
        """That of the cell inside."""
        return self.inner.recur(p, prepared, h)

    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """That of the cell inside."""
        return self.inner.combine(p, prepared, recurrent, state, inside)

    def zero_state(self, p: Arrays, lanes: int) -> State:
        """That of the cell inside."""
        return self.inner.zero_state(p, lanes)


@dataclass(frozen=True)
class Stepping(Reading):
    """A cell whose step is made otherwise."""

    def advance(
        self, p: Arrays, prepared: tuple[Array, ...], state: State, noise: Noise = (), inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """That of the cell inside."""
        return self.inner.advance(p, prepared, state, noise, inside)
