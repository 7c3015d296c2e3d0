"""The interface of every recurrent cell: one step of recurrence, and the facts about it that other modules ask for.

A cell is a small frozen object that owns no array. Its step is a pure function of arrays, and the same code runs on
torch tensors and on numpy arrays. A step has three parts, so that a wrapper can act between any two of them
(`wrapper.py`), and so that the first can be computed for all steps of a window at once:

    prepare     what depends on the input alone: its product and bias     (..., I) -> arrays (..., R)
    recur       the recurrent product                                     (B, H) -> (B, R)
    combine     the elementwise rest                                      -> the new state and the gates

Where the steps read the parameters in another form than the learned one, `derive` computes that form once for all steps
of a window:

    derive      the parameters as the steps read them     name -> array

`core` is the cell that steps with these: the cell itself, unless it does nothing but derive parameters.

Random numbers of training are an input, `noise`: an array (B, H) of zeros and ones for each of `noise_rates`, the
outermost wrapper's first. Without noise (the empty tuple) a step is the one used outside training. In training the
statistics of a batch normalisation are replaced by an object that measures them (`normalised.py`).

To add a cell, write a file with its class and name it in `names.py`. The defaults below are those of a cell that the
compiled code does not support.

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
"""The values of the gates and the candidate in the order of `gate_names`, each (B, H)."""

Step: TypeAlias = tuple[State, Gates]
"""The new state and the gates that it was computed with."""

Prepared: TypeAlias = tuple[Array, ...]
"""The result of `prepare`: arrays (..., R), or (..., I) from a cell that reads the input only in the step."""

Noise: TypeAlias = tuple[Array, ...]
"""One array (B, H) for each of `noise_rates`: 0 for about that share of the units, 1 for the others."""

Numbers: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


class RandomSource(Protocol):
    """A generator of random numbers."""

    def normal(self, shape: Shape) -> Numbers:
        """Draws from N(0, 1)."""

    def uniform(self, shape: Shape, low: float, high: float) -> Numbers:
        """Draws from U(low, high)."""


class Ends(NamedTuple):
    """The names of the two extremes of a gate that controls the memory, and of units whose gate stays at one."""

    right: tuple[str, str]
    """The names for a gate near 1."""
    left: tuple[str, str]
    """The names for a gate near 0."""


def _as_it_is(x: Array) -> Array:
    return x


class Inside(NamedTuple):
    """The functions that wrappers apply in the middle of a cell's elementwise part."""

    candidate: Callable[[Array], Array] = _as_it_is
    """The function applied to what is about to be written to the memory (lstm: g, gru: n)."""
    memory: Callable[[Array], Array] = _as_it_is
    """The function applied to the memory where the output reads it (lstm: c in tanh(c))."""


PLAIN = Inside()


class Cell:
    """A recurrent cell: its equations for one step, and the facts about it."""

    name: str
    state_names: tuple[str, ...] = ("h",)
    gate_names: tuple[str, ...] = ()
    """The names of what `combine` returns beside the state: gates (after their sigmoid) and the candidate."""
    candidate: str | None = None
    """The name of the candidate, which goes through a tanh and is written to the memory; None without one."""
    gate_titles: tuple[tuple[str, str], ...] = ()
    """Pairs of a gate's name and its title; a gate without a title is called by its name."""
    keeping: tuple[str, Ends] | None = None
    """The gate that decides how much of a unit's memory is kept, and the names of its extremes."""
    candidate_is_apart: bool = False
    """Whether a gate multiplies one of the candidate's two products, so that they are not simply added."""
    blocks: tuple[str, ...] = ("h",)
    """The names of the blocks of H rows that the matrices and the bias consist of."""
    input_bias: str = "bias"
    """The name of the bias that is added to the input's product."""
    recurrent_bias: str = "bias"
    """The name of the bias that a constant part of the recurrent product can be added to."""
    noise_rates: tuple[float, ...] = ()
    """The share of zeros in each array of noise that a step of training takes."""

    own_settings: tuple[tuple[str, str], ...] = ()
    """Fields of the configuration that only this cell has, each with the reason why other cells do not."""
    words: tuple[str, ...] = ()
    """The words by which `describe` names how this cell, or this wrapper by itself, differs from the plain cell."""
    activation: str = ""
    """The name of the activation function of a cell without gates."""
    has_matrix: bool = True
    """Whether the recurrence multiplies h by a matrix of weights, weight_hh."""
    is_unitary: bool = False
    """Whether the recurrence multiplies the state by a matrix that is unitary by itself."""
    is_elman: bool = False
    """Whether h_t = f(W_ih x_t + W_hh h_{t-1} + b), as in Elman's network."""

    unbounded: tuple[str, ...] = ()
    """The parts of the state that may leave the range -1 to 1, so that their tanh is shown."""
    lowest: float = -1.0
    """The least value that tanh(h) takes or approaches."""
    keeps_lengths: bool = False
    """Whether the state loses nothing and is unbounded where the recurrent matrix is orthogonal."""
    keeps_all: bool = False
    """Whether the state keeps everything and grows without bound as long as it is carried on."""
    held: tuple[str, ...] = ("h",)
    """The kinds of units that other weights can hold still (`neurons/clamping.py`)."""
    memory_held_by: tuple[tuple[str, float], ...] = ()
    """The gates, and the values of them, that hold the memory c constant at the candidate's value."""

    kernel: str | None = None
    """The function of torch that runs this cell along a window, such as `lstm`; None where there is none."""
    compiled: str | None = None
    """The name of this cell in charrnn's own compiled code; None where that does not support the cell."""

    def _declare(self, **facts: Any) -> None:
        """Sets facts that depend on the fields of a frozen cell, when it is made."""
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    @classmethod
    def configured(cls, config: ModelConfig) -> Self:
        """Makes the cell of `config`. The cell's fields are its `own_settings`, in their order."""
        return cls(*(getattr(config, setting) for setting, _ in cls.own_settings))

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError where `config`, which asks for this cell or wrapper, contradicts itself."""

    @property
    def core(self) -> Cell:
        """Returns the cell that steps with the parameters that `derive` returns."""
        return self

    def at_rest(self) -> Cell:
        """Returns the cell for use outside training, without wrappers that do nothing there."""
        return self

    def shapes(self, input_size: int, hidden_size: int) -> Mapping[str, Shape]:
        """Returns the shapes of weight_ih (R, I), weight_hh (R, H) and biases (R,), where R is H times the blocks."""
        rows = len(self.blocks) * hidden_size
        biases = dict.fromkeys((self.input_bias, self.recurrent_bias), (rows,))
        return {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), **biases}

    def first_biases(self, config: ModelConfig, log_times: Callable[[], Numbers]) -> Mapping[str, Any]:
        """Returns the initial biases of the gates that do not begin at 0, by block: a number, or (H,).

        `log_times` draws the logarithms of the units' time constants for chrono initialisation (`initial.py`).
        """
        return {}

    def initial(self, name: str, shape: Shape, config: ModelConfig, source: RandomSource) -> Numbers | None:
        """Returns the initial value of the array `name`; None where `initial.py` draws it as any other array."""
        return None

    def extra_work(self, hidden_size: int) -> float:
        """Returns the multiplications per character beyond those of the matrices."""
        return 0.0

    def limits(self, kind: str) -> tuple[float, float]:
        """Returns the range in which a kind of unit is shown: gates 0 to 1, others -1 to 1 (`unbounded` by tanh)."""
        return (0.0, 1.0) if kind in self.gate_names and kind != self.candidate else (-1.0, 1.0)

    def derive(self, p: Arrays) -> Arrays:
        """Returns the arrays that the steps of a window read, computed from the parameters `p`, or `p` itself."""
        return p

    def project(self, p: Arrays, x: Array) -> Array:
        """Returns the input matrix's product (..., R) with `x` (..., I), for any number of steps and lanes at once."""
        return x @ p["weight_ih"].T

    def prepare(self, p: Arrays, x: Array) -> Prepared:
        """Returns all that depends on the input `x` (..., I) alone: its product and bias, or more; arrays (..., R)."""
        return (self.project(p, x) + p[self.input_bias],)

    def recur(self, p: Arrays, prepared: Prepared, h: Array) -> Array:
        """Returns the recurrent product (B, R) with `h` (B, H). In some cells it depends on `prepared` too."""
        return h @ p["weight_hh"].T

    def combine(self, p: Arrays, prepared: Prepared, recurrent: Array, state: State, inside: Inside = PLAIN) -> Step:
        """Returns the new state and its gates from both products and the old state, by the cell's own equations."""
        raise NotImplementedError

    def advance(self, p: Arrays, prepared: Prepared, state: State, noise: Noise = (), inside: Inside = PLAIN) -> Step:
        """Returns the new state and its gates, from what `prepare` returned for this step (B, R)."""
        return self.combine(p, prepared, self.recur(p, prepared, state[0]), state, inside)

    def observe(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> Step:
        """Returns the new state and its gates for input `x` (B, I); `p` maps parameter names to arrays."""
        core, p = self.core, self.derive(p)
        return core.advance(p, core.prepare(p, x), state, noise)

    def step(self, p: Arrays, x: Array, state: State, noise: Noise = ()) -> State:
        """Returns the new state after input `x` (B, I). Its first array is the output."""
        return self.observe(p, x, state, noise)[0]

    def rows(self, block: str, hidden_size: int) -> slice:
        """Returns the rows that `block` occupies in the matrices and the bias."""
        place = self.blocks.index(block)
        return slice(place * hidden_size, (place + 1) * hidden_size)

    def zero_state(self, p: Arrays, lanes: int) -> State:
        """Returns the state before the first character: zeros, (lanes, H) each."""
        weight = p["weight_ih"]
        return tuple(zeros_like_rows(weight, lanes, len(weight) // len(self.blocks)) for _ in self.state_names)
