"""What stands around a cell and changes a piece of it.

A wrapper is a cell. What it does not define itself, facts and methods alike, is that of the cell inside. There are two
kinds. A `Wrapper` changes what is read (`prepare`, `recur`, `combine`) and stands next to the cell; a `Stepping` one
changes a whole step (`advance`) and stands around those. `registry.py` puts them in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from charrnn.cells.cell import Cell
from charrnn.settings.config import ModelConfig


class Need(NamedTuple):
    """What a setting needs of the cell that it changes."""

    setting: str
    """A field of the configuration."""
    suits: Callable[[Cell], bool]
    reason: str
    """Why the setting does not go with the other cells."""

    def why_not(self, cell: Cell) -> str:
        """Returns why the setting does not go with `cell`, which does not suit it."""
        is_about_matrix = self.suits in (has_matrix, has_gated_matrix)
        return no_matrix(cell) if is_about_matrix and not (cell.has_matrix or cell.is_unitary) else self.reason


def has_matrix(cell: Cell) -> bool:
    """Whether the cell has a recurrent matrix of weights."""
    return cell.has_matrix


def has_gated_matrix(cell: Cell) -> bool:
    """Whether what the cell reads of its output goes into a memory that it keeps beside it."""
    return cell.has_matrix and cell.candidate is not None


def no_matrix(cell: Cell) -> str:
    """Returns why a setting of recurrent matrices is not for a cell that has no `weight_hh`."""
    return "its recurrent matrix is unitary by itself" if cell.is_unitary else "it has no recurrent matrix of weights"


def has_candidate(cell: Cell) -> bool:
    """Whether the cell writes a candidate to its memory."""
    return cell.candidate is not None


def has_memory(cell: Cell) -> bool:
    """Whether the cell has a memory c beside its output h."""
    return "c" in cell.state_names


_PASSED_ON = frozenset(
    {*Cell.__annotations__, *(name for name, value in vars(Cell).items() if callable(value))}
    - {"words", "kernel", "compiled", "advance", "observe", "step", "at_rest", "configured", "check"}
    - {name for name in vars(Cell) if name.startswith("_")}
)


@dataclass(frozen=True)
class Wrapper(Cell):
    """Changes what the cell inside reads; its own arrays come after those of that cell."""

    inner: Cell

    needs: ClassVar[tuple[Need, ...]] = ()
    """Of the settings that ask for this wrapper."""
    passed_on: ClassVar[frozenset[str]] = _PASSED_ON

    def __post_init__(self) -> None:
        kinds = type(self).__mro__
        own = {name for kind in kinds[: kinds.index(Cell)] for name in vars(kind)}
        self._declare(**{name: getattr(self.inner, name) for name in self.passed_on - own})

    @classmethod
    def is_asked(cls, config: ModelConfig) -> bool:
        """Whether `config` asks for this wrapper."""
        return any(getattr(config, need.setting) for need in cls.needs)

    @classmethod
    def around(cls, cell: Cell, config: ModelConfig) -> Self:
        """Puts the wrapper around `cell`. Its fields are those of the settings it needs that are not switches."""
        values = [getattr(config, need.setting) for need in cls.needs]
        return cls(cell, *(value for value in values if not isinstance(value, bool)))


@dataclass(frozen=True)
class Stepping(Wrapper):
    """Changes the whole step of the cell inside."""

    passed_on = _PASSED_ON | {"advance"}
