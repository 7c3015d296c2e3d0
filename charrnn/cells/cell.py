"""What every recurrent cell promises.

A cell is one step of recurrence: a small frozen object that knows its equations and the shapes of its parameters
and owns no array. Its step is a pure function of arrays, and the same code runs on torch tensors and on numpy
arrays. Knows one moment. Refuses to know time, layers and training.

A step comes in three pieces, so that a wrapper can stand between any two of them (`wrapper.py`), and so that the first
can be computed for all steps of a window at once:

    prepare     what only the input decides: its product and bias     (..., I) -> arrays (..., R)
    recur       the product with what is read of the state            (B, H) -> (B, R)
    combine     the elementwise rest                                  -> the new state and the gates

What of the parameters is needed in a form of its own is made before the first of them, once for all steps of a window:

    derive      the parameters as the steps read them     name -> array

and the steps are those of `core`, which is the cell itself unless all it does is derive.

What is drawn at random in training is a part of what goes in: `noise`, an array (B, H) of zeros and ones for each of
`noise_rates`, the outermost wrapper's first. Without noise (the empty tuple) a step is what it is outside training.
What is normalised over the lanes in training is so by what then stands among the parameters (`batchnorm.py`).

Shape letters: B lanes, I input size, H hidden size, R rows of the recurrent matrix.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from charrnn.cells.arrays import Array, Arrays, zeros_like_rows

State: TypeAlias = tuple[Array, ...]
"""The state's arrays in the order of `state_names`, each (B, H). The first is h, the cell's output."""

Gates: TypeAlias = tuple[Array, ...]
"""Values between input and new state in the order of `gate_names`, each (B, H)."""

Noise: TypeAlias = tuple[Array, ...]
"""For each of `noise_rates`, 0 in a share of about that rate of the units and 1 in the others, (B, H)."""


def _as_it_is(x: Array) -> Array:
    return x


class Inside(NamedTuple):
    """What wrappers do in the middle of a cell's elementwise part."""

    candidate: Callable[[Array], Array] = _as_it_is
    """To what is about to be written to the memory (lstm: g, gru: n)."""
    memory: Callable[[Array], Array] = _as_it_is
    """To the memory as the output sees it (lstm: c in tanh(c))."""


PLAIN = Inside()


class Cell(ABC):
    """One step of recurrence."""

    name: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]]
    gate_names: ClassVar[tuple[str, ...]]
    blocks: ClassVar[tuple[str, ...]]
    """What the blocks of H rows of the matrices and of the bias are for."""

    input_bias: ClassVar[str] = "bias"
    """The bias that is added to the input's product."""

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The share of zeros in each array of noise that a step of training takes."""
        return ()

    @abstractmethod
    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""

    @property
    def core(self) -> Cell:
        """The cell that steps, with what `derive` gives."""
        return self

    def derive(self, p: Arrays) -> Arrays:
        """What the steps of a window read, from the parameters `p`; `p` itself where that is nothing else."""
        return p

    def project(self, p: Arrays, x: Array) -> Array:
        """The product with the input `x` (..., I), for any number of steps and lanes at once: (..., R)."""
        return x @ p["weight_ih"].T

    def prepare(self, p: Arrays, x: Array) -> tuple[Array, ...]:
        """All that only the input `x` (..., I) decides: the product with its bias, or more; arrays (..., R)."""
        return (self.project(p, x) + p[self.input_bias],)

    def recur(self, p: Arrays, prepared: tuple[Array, ...], h: Array) -> Array:
        """The product with what is read of the state, `h` (B, H): (B, R). `prepared` is for those who multiply it."""
        return h @ p["weight_hh"].T

    @abstractmethod
    def combine(
        self, p: Arrays, prepared: tuple[Array, ...], recurrent: Array, state: State, inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """The new state and the gates that led to it, from the products and the old state."""

    def advance(
        self, p: Arrays, prepared: tuple[Array, ...], state: State, noise: Noise = (), inside: Inside = PLAIN
    ) -> tuple[State, Gates]:
        """The new state and its gates, from what `prepare` gave for this step (B, R)."""
        return self.combine(p, prepared, self.recur(p, prepared, state[0]), state, inside)

    def observe(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> tuple[State, Gates]:
        """The new state and the gates that led to it, for input `x` (B, I); `p` maps parameter names to arrays."""
        core, p = self.core, self.derive(p)
        return core.advance(p, core.prepare(p, x), state, noise)

    def step(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> State:
        """The new state after input `x` (B, I). Its first array is the output."""
        return self.observe(p, x, state, noise)[0]

    def rows(self, block: str, hidden_size: int) -> slice:
        """Where a block lies in the matrices and in the bias."""
        place = self.blocks.index(block)
        return slice(place * hidden_size, (place + 1) * hidden_size)

    def at_rest(self) -> Cell:
        """The cell outside training, without what is nothing there."""
        return self

    def zero_state(self, p: Arrays, lanes: int) -> State:
        """The state before the first character: zeros, (lanes, H) each."""
        weight = p["weight_hh"]
        return tuple(zeros_like_rows(weight, lanes, weight.shape[1]) for _ in self.state_names)
