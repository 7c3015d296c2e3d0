"""What every recurrent cell promises: one step of recurrence, and the facts about it that others ask for.

A cell is a small frozen object that owns no array. Its step is a pure function of arrays, and the same code runs on
torch tensors and on numpy arrays. A step comes in three pieces, so that a wrapper can stand between any two of them
(`wrapper.py`), and so that the first can be computed for all steps of a window at once:

    prepare     what only the input decides: its product and bias     (..., I) -> arrays (..., R)
    recur       the product with what is read of the state            (B, H) -> (B, R)
    combine     the elementwise rest                                  -> the new state and the gates

Where the steps read parameters in another form than the one that is learned, it is made once for all steps of a window:

    derive      the parameters as the steps read them     name -> array

`core` is the cell that steps with these: the cell itself, unless all that it does is to derive.

What is drawn at random in training is an input, `noise`: an array (B, H) of zeros and ones for each of `noise_rates`,
the outermost wrapper's first. Without noise (the empty tuple) a step is what it is outside training. In training the
statistics of a batch normalisation are replaced by an object that measures them (`normalised.py`).

To add a cell, write a file with its class and name it in `names.py`. The defaults below are those of a cell that no
compiled code knows.

Shape letters: B lanes, I input size, H hidden size, R rows of the recurrent matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import numpy.typing as npt

from charrnn.cells.arrays import Array, Arrays, zeros_like_rows
from charrnn.settings.config import ModelConfig

State: TypeAlias = tuple[Array, ...]
"""The state's arrays in the order of `state_names`, each (B, H). The first is h, the cell's output."""

Gates: TypeAlias = tuple[Array, ...]
"""Values between input and new state in the order of `gate_names`, each (B, H)."""

Step: TypeAlias = tuple[State, Gates]
"""The new state and the gates that led to it."""

Prepared: TypeAlias = tuple[Array, ...]
"""What `prepare` gives: arrays (..., R), or (..., I) for who reads the input only in the step."""

Noise: TypeAlias = tuple[Array, ...]
"""For each of `noise_rates`, 0 in a share of about that rate of the units and 1 in the others, (B, H)."""

Numbers: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


class RandomSource(Protocol):
    """A generator of random numbers."""

    def normal(self, shape: Shape) -> Numbers:
        """Draws from N(0, 1)."""

    def uniform(self, shape: Shape, low: float, high: float) -> Numbers:
        """Draws from U(low, high)."""


class Ends(NamedTuple):
    """What the ends of a gate that decides over the memory are called, and what units are that stay there."""

    right: tuple[str, str]
    """Where the gate is near 1."""
    left: tuple[str, str]
    """Where the gate is near 0."""


def _as_it_is(x: Array) -> Array:
    return x


class Inside(NamedTuple):
    """What wrappers do in the middle of a cell's elementwise part."""

    candidate: Callable[[Array], Array] = _as_it_is
    """Applied to what is about to be written to the memory (lstm: g, gru: n)."""
    memory: Callable[[Array], Array] = _as_it_is
    """Applied to the memory as the output sees it (lstm: c in tanh(c))."""


PLAIN = Inside()


class Cell:
    """One step of recurrence."""

    name: str
    state_names: tuple[str, ...] = ("h",)
    gate_names: tuple[str, ...] = ()
    """What `combine` gives beside the state: gates through a sigmoid, and the candidate."""
    candidate: str | None = None
    """The one of `gate_names` that goes through a tanh and is written to the memory."""
    gate_titles: tuple[tuple[str, str], ...] = ()
    """What the gates are called, by their names; a gate without a title is called by its name."""
    keeping: tuple[str, Ends] | None = None
    """The gate that decides what becomes of what a unit holds, and how."""
    candidate_is_apart: bool = False
    """Whether a gate stands between the candidate's two products, so that they are not simply added up."""
    blocks: tuple[str, ...] = ("h",)
    """What the blocks of H rows of the matrices and of the bias are for."""
    input_bias: str = "bias"
    """The bias that is added to the input's product."""
    recurrent_bias: str = "bias"
    """The bias that a constant part of the recurrent product can be added to."""
    noise_rates: tuple[float, ...] = ()
    """The share of zeros in each array of noise that a step of training takes."""

    own_settings: tuple[tuple[str, str], ...] = ()
    """Fields of the configuration that only this cell has, each with the reason why other cells do not."""
    words: tuple[str, ...] = ()
    """What this cell, or this wrapper by itself, differs in from the plain one, as `describe` says it."""
    activation: str = ""
    """Of a cell without gates: the function that its units are of what they read."""
    has_matrix: bool = True
    """Whether the recurrence multiplies h by a matrix of weights, weight_hh."""
    is_unitary: bool = False
    """Whether the recurrence multiplies the state by a matrix that is unitary by itself."""
    is_elman: bool = False
    """Whether h_t = f(W_ih x_t + W_hh h_{t-1} + b), as in Elman's network."""

    unbounded: tuple[str, ...] = ()
    """The parts of the state that may leave -1 to 1, so that their tanh is shown."""
    lowest: float = -1.0
    """The least value that tanh(h) comes near, or takes on."""
    keeps_lengths: bool = False
    """Whether the state loses nothing and is not bounded where the recurrent matrix is orthogonal."""
    keeps_all: bool = False
    """Whether nothing of the state is ever lost, nor bounds it: as long as it is carried on it grows."""
    held: tuple[str, ...] = ("h",)
    """The kinds of units that other weights can hold still (`neurons/clamping.py`)."""
    memory_held_by: tuple[tuple[str, float], ...] = ()
    """The gates, and their values, that make the memory c a constant, that of the candidate."""

    kernel: str | None = None
    """The function of torch that runs this cell along a window, such as `lstm`; None where there is none."""
    compiled: str | None = None
    """The name of this cell in charrnn's own compiled code; None where it does not know it."""

    def _declare(self, **facts: Any) -> None:
        """Sets facts that depend on the fields of a frozen cell, when it is made."""
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    @classmethod
    def configured(cls, config: ModelConfig) -> Self:
        """Makes the cell. Its fields are `own_settings`, in their order."""
        return cls(*(getattr(config, setting) for setting, _ in cls.own_settings))

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where `config`, which asks for this cell or wrapper, contradicts itself."""

    @property
    def core(self) -> Cell:
        """The cell that steps, with the parameters that `derive` gives."""
        return self

    def at_rest(self) -> Cell:
        """The cell outside training, without wrappers that do nothing there."""
        return self

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the shapes of weight_ih (R, I), weight_hh (R, H) and biases (R,), where R is H times the blocks."""
        rows = len(self.blocks) * hidden_size
        biases = dict.fromkeys((self.input_bias, self.recurrent_bias), (rows,))
        return {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), **biases}

    def first_biases(self, config: ModelConfig, log_times: Callable[[], Numbers]) -> Mapping[str, Any]:
        """Returns what the gates' biases begin with, by block, where that is not 0: a number, or (H,).

        `log_times` draws the logarithms of the times that chrono initialisation gives to the units (`initial.py`).
        """
        return {}

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Returns the first value of the array `name`; None where it is drawn like any other (`initial.py`)."""
        return None

    def extra_work(self, hidden_size: int) -> float:
        """Returns the multiplications that a character takes and the sizes of the matrices do not show."""
        return 0.0

    def limits(self, kind: str) -> tuple[float, float]:
        """Returns the range a kind of unit is shown in: gates 0 to 1, all else -1 to 1 (tanh where `unbounded`)."""
        return (0.0, 1.0) if kind in self.gate_names and kind != self.candidate else (-1.0, 1.0)

    def derive(self, p: Arrays) -> Arrays:
        """Makes what the steps of a window read from the parameters `p`; `p` itself where that is nothing else."""
        return p

    def project(self, p: Arrays, x: Array) -> Array:
        """Returns the product with the input `x` (..., I), for any number of steps and lanes at once: (..., R)."""
        return x @ p["weight_ih"].T

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns all that only the input `x` (..., I) decides: its product and bias, or more; arrays (..., R)."""
        return (self.project(p, x) + p[self.input_bias],)

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns the product (B, R) with the state's output `h` (B, H). Some cells multiply it with `prepared`."""
        return h @ p["weight_hh"].T

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns the new state and its gates from both products and the old state, by the cell's own equations."""
        raise NotImplementedError

    def advance(self, p: Arrays, prepared: Prepared, state: State, noise: Noise = (), inside: Inside = PLAIN) -> Step:
        """Returns the new state and its gates, from what `prepare` gave for this step (B, R)."""
        return self.combine(p, prepared, self.recur(p, prepared, state[0]), state, inside)

    def observe(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> Step:
        """Returns the new state and its gates for input `x` (B, I); `p` maps parameter names to arrays."""
        core, p = self.core, self.derive(p)
        return core.advance(p, core.prepare(p, x), state, noise)

    def step(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> State:
        """Returns the new state after input `x` (B, I). Its first array is the output."""
        return self.observe(p, x, state, noise)[0]

    def rows(self, block: str, hidden_size: int) -> slice:
        """Returns the rows of the matrices and of the bias where a block lies."""
        place = self.blocks.index(block)
        return slice(place * hidden_size, (place + 1) * hidden_size)

    def zero_state(self, p: Arrays, lanes: int) -> State:
        """Returns the state before the first character: zeros, (lanes, H) each."""
        weight = p["weight_ih"]
        return tuple(zeros_like_rows(weight, lanes, len(weight) // len(self.blocks)) for _ in self.state_names)
