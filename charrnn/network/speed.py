"""Estimates how many characters a model trains on in a given time, by its arithmetic and, on a GPU, by its kernels.

Pure functions of a few numbers. Nothing here was measured on a GPU by this project: the pace of cuDNN's kernels comes
from figures that others have published, named beside each of them. Which settings are chosen by it is the business of
`training/recipe.py`.

Shape letters: H hidden size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.cells.registry import make_cell
from charrnn.cells.wiring import input_sizes
from charrnn.network.cudnn import GPU, Expectation, expectations
from charrnn.settings.config import ModelConfig

# Seconds of a step of one layer with all lanes, (forward, backward), where only the latency counts.
_PACE = {
    # 5 us are what both took with what is around them, on an H100 with 768 units and 16 lanes (NX-AI's benchmark of
    # FlashRNN, which has cuDNN beside it); 6 us leave some room.
    "persistent": (2.4e-6, 3.6e-6),
    # Both from the benchmark of pull request 62143 of torch, on an older GPU that it does not name: up to 192 units,
    # standard 6.8 us and 9 to 13 us; small, at 128 units and 16 lanes, 2.6 us and 4.1 us.
    "small": (2.6e-6, 4.1e-6),
    "standard": (6.8e-6, 10.2e-6),
}
# The same benchmark: forward, the small kernel of a layer too wide for it backward takes about so long for each lane.
_WIDE_SMALL = 1e-6
# A cell that no kernel knows: measured on a CPU (results-cells.md), estimated from the number of launches on a GPU.
_LOOPED = 0.5
_LOOPED_STEP = 1.5e-4


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run computes on, as far as its speed depends on it."""

    speed: float
    """Operations a second that a whole run keeps of what all its processes together could do."""
    gpu: GPU | None = None
    """The NVIDIA GPU that each process has; None where there is another device."""
    precision: str = "fp32"
    processes: int = 1
    has_compiled: bool = True
    """Whether compiled code trains the cells it knows there, where there is no GPU."""


REFERENCE = Machine(2 * 95e9)
"""What the experiments ran on: two threads in bf16 at their nominal speed."""


def operations(model: ModelConfig, vocabulary_size: int) -> float:
    """Returns the multiplications and additions to train on one character: three times those of its prediction.

    The first layer's input is looked up, not multiplied.
    """
    H, cell = model.hidden_size, make_cell(model)
    *layers, decoder = input_sizes(model)
    shapes = [cell.shapes(size, H) for size in layers]
    products = sum(math.prod(shape) for layer in shapes for shape in layer.values() if len(shape) == 2)
    looked_up = math.prod(shapes[0]["weight_ih"])
    products += math.floor(model.num_layers * cell.extra_work(H))
    return 3.0 * 2.0 * (products - looked_up + decoder * vocabulary_size)


def expected_characters(
    model: ModelConfig,
    vocabulary_size: int,
    machine: Machine,
    seconds: float,
    *,
    lanes: int | None = None,
    accumulate: int = 1,
) -> float:
    """Returns about how many characters a run of `seconds` trains on, all its pauses included.

    On a GPU the steps of the layers follow each other at the pace of their kernels, which more lanes do not slow until
    the arithmetic does; `accumulate` is in how many parts each process computes its lanes, one after the other. On
    another device the arithmetic alone counts, and nobody asks for the lanes.
    """
    gpu, core = machine.gpu, make_cell(model).core
    is_fast = core.kernel is not None
    if gpu is None:
        is_fast = core.compiled is not None and (is_fast or machine.has_compiled)
    characters = seconds * machine.speed * (1.0 if is_fast else _LOOPED) / operations(model, vocabulary_size)
    if gpu is None:
        return characters
    assert lanes is not None
    if is_fast:
        parts = machine.processes * accumulate
        kernels = expectations(model, lanes, machine.precision, gpu, parts=parts)
        step = sum(_layer_step(kernel, model, lanes / parts, machine.precision, gpu) for kernel in kernels)
    else:
        step = model.num_layers * _LOOPED_STEP
    return min(characters, seconds * lanes / (accumulate * step))


def _layer_step(kernel: Expectation, model: ModelConfig, lanes: float, precision: str, gpu: GPU) -> float:
    """Returns the seconds of a step of one layer, forward and backward with `lanes` lanes, without its arithmetic.

    The standard kernel reads the recurrent weights anew in every step, from memory where they do not stay in the L2.
    """
    read = 0.0
    if gpu.bandwidth is not None and gpu.l2 is not None:
        H = model.hidden_size
        weights = math.prod(make_cell(model).core.shapes(H, H)["weight_hh"]) * (2 if precision == "fp16" else 4)
        read = weights / gpu.bandwidth if weights > gpu.l2 else 0.0
    forward, backward = _PACE[kernel.forward][0], _PACE[kernel.backward][1]
    if kernel.forward == "standard":
        forward = max(forward, read)
    elif kernel.forward == "small" and kernel.backward != "small":
        forward = max(forward, _WIDE_SMALL * lanes)
    return forward + (max(backward, read) if kernel.backward == "standard" else backward)
