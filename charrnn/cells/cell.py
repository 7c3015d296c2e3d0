"""What every recurrent cell promises.

A cell is one step of recurrence: a small frozen object that knows its equations and the shapes of its parameters
and owns no array. Its step is a pure function of arrays, and the same code runs on torch tensors and on numpy
arrays. Knows one moment. Refuses to know time, layers and training.

Shape letters: B lanes, I input size, H hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypeAlias

from charrnn.arrays import Array, Arrays, zeros_like_rows

State: TypeAlias = tuple[Array, ...]
"""The state's arrays in the order of `state_names`, each (B, H). The first is h, the cell's output."""

Gates: TypeAlias = tuple[Array, ...]
"""Values between input and new state in the order of `gate_names`, each (B, H)."""


class Cell(ABC):
    """One step of recurrence."""

    name: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]]
    gate_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""

    @abstractmethod
    def observe(self, p: Arrays, x: Array, state: State) -> tuple[State, Gates]:
        """The new state and the gates that led to it, for input `x` (B, I); `p` maps parameter names to arrays."""

    def step(self, p: Arrays, x: Array, state: State) -> State:
        """The new state after input `x` (B, I). Its first array is the output."""
        return self.observe(p, x, state)[0]

    def zero_state(self, p: Arrays, lanes: int) -> State:
        """The state before the first character: zeros, (lanes, H) each."""
        weight = p["weight_hh"]
        return tuple(zeros_like_rows(weight, lanes, weight.shape[1]) for _ in self.state_names)
