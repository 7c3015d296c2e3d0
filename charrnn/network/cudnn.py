"""Which kernel of NVIDIA's cuDNN a layer is expected to get, and what would have to change for a faster one.

torch chooses between three (`get_algo` in aten/src/ATen/native/cudnn/RNN.cpp, the same from 2.8 to 2.13; the persistent
kernels are Diamos et al. 2016, "Persistent RNNs"):

    small     the whole recurrence in one launch, for narrow layers, in any precision
    persistent  the recurrent weights stay on the chip: fp16 only, a single layer, widths in steps of 128 up to 1024
    standard  a matrix product a step, read anew from memory each time

These are pure rules over numbers, so that they can be asked without a GPU at hand. `speed.py` says how fast the
kernels are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from charrnn.cells.registry import make_cell
from charrnn.cells.wiring import input_sizes
from charrnn.settings.config import ModelConfig
from charrnn.wording import count

Kernel = Literal["small", "persistent", "standard"]

# The widest layers of the small kernel, forward and backward, by cuDNN's mode, in which rnn is of either activation.
_NARROW = {"rnn": (384, 256), "lstm": (192, 128), "gru": (192, 128)}
_STEP, _WIDEST = 128, 1024
_MOST_LANES = 128
_FEWEST_MULTIPROCESSORS = 98


@dataclass(frozen=True, slots=True)
class GPU:
    """What the rules ask about a device."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int
    """Bytes in all."""
    l2: int | None = None
    """Bytes of the last cache before the memory; None where nobody says."""
    bandwidth: float | None = None
    """Bytes a second from the memory; None where nobody says."""


IMAGINED = GPU("an H200-class GPU", (9, 0), 132, 141 * 10**9, l2=50 * 2**20, bandwidth=4.8e12)
"""What a plan is made for where no GPU is at hand."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A layer's kernels, why they are these, and what to change; `advice` is empty where nothing would help."""

    forward: Kernel
    backward: Kernel
    why: str
    advice: str = ""


def expected(
    mode: str,
    input_size: int,
    hidden_size: int,
    lanes: int,
    precision: str,
    gpu: GPU,
    *,
    parts: int = 1,
    is_first: bool = True,
) -> Expectation:
    """Returns the kernels of one layer trained on `lanes` lanes in `parts` (of a split step, or by as many processes).

    The first layer's input is the embedding; that of another is as wide as the layer below it, or under dense skip
    connections holds the embedding too (`is_first` says that it does).
    """
    widest_forward, widest_backward = _NARROW[mode]
    kernel, why, advice = _wide(mode, input_size, hidden_size, lanes, precision, gpu, parts, is_first)
    if gpu.capability >= (6, 0):
        if hidden_size <= widest_backward:
            return Expectation(
                "small", "small", f"{mode} layers of up to {widest_backward} units have one of their own"
            )
        if hidden_size <= widest_forward:
            return Expectation(
                "small",
                kernel,
                f"between {widest_backward} and {widest_forward} units only the forward pass is the small kernel, "
                "which is slow there with many lanes" + (f"; backward: {why}" if why else ""),
                f"--hidden {widest_backward}" + (f", or {advice}" if advice else ""),
            )
    return Expectation(kernel, kernel, why or "fp16, and every size is one it takes", advice)


def _wide(
    mode: str, input_size: int, hidden_size: int, lanes: int, precision: str, gpu: GPU, parts: int, is_first: bool
) -> tuple[Kernel, str, str]:
    """Returns persistent or standard, why not persistent, and what to change together to get it."""
    if not _has_persistent(gpu):
        return "standard", f"{gpu.name} is not among those that torch uses the persistent kernel on", ""
    wrong, advice = [], []
    if mode == "gru" and gpu.capability[0] > 7:
        wrong.append("torch keeps gru layers from the persistent kernel")
        advice.append("--cell lstm")
        mode = "lstm"
    if precision != "fp16":
        wrong.append(f"the precision is {precision}, not fp16")
        advice.append("--precision fp16")
    if hidden_size % _STEP or hidden_size > _WIDEST:
        wrong.append(f"{hidden_size} units are not a multiple of {_STEP} up to {_WIDEST}")
    width = min(_WIDEST, -(-max(hidden_size, _NARROW[mode][0] + 1) // _STEP) * _STEP)
    if width != hidden_size:
        advice.append(f"--hidden {width}")
    if is_first and input_size % _STEP:
        wrong.append(f"an input of {input_size} is not a multiple of {_STEP}")
        advice.append(f"--embedding {-(-input_size // _STEP) * _STEP}")
    # Of the width that is advised, since not every width takes the same lanes.
    fitting = [number for number in range(8, _MOST_LANES + 1, 8) if _takes_lanes(mode, width, number, gpu)]
    if lanes % parts or lanes // parts not in fitting:
        at_once = f"{count(lanes, 'lane')} at once" if parts == 1 else f"{count(lanes, 'lane')} in {parts} parts"
        wrong.append(f"{at_once} are not a number it is used for")
        advice.append(f"--batch {parts * min(fitting, key=lambda number: abs(parts * number - lanes))}")
    return ("standard" if wrong else "persistent"), ", ".join(wrong), " ".join(advice)


def _has_persistent(gpu: GPU) -> bool:
    major, minor = gpu.capability
    if major == 7:
        return minor != 5
    return major >= 8 and minor != 6 and gpu.multiprocessors >= _FEWEST_MULTIPROCESSORS


def _takes_lanes(mode: str, hidden_size: int, lanes: int, gpu: GPU) -> bool:
    if gpu.capability[0] == 7:  # for windows of 40 and more characters
        return (lanes % 16 == 0 and lanes not in (80, 112) and lanes <= _MOST_LANES) or lanes == 8
    return lanes % 8 == 0 and lanes <= _MOST_LANES and (mode != "rnn" or lanes < 96 or hidden_size < 896)


def expectations(model: ModelConfig, lanes: int, precision: str, gpu: GPU, *, parts: int = 1) -> list[Expectation]:
    """Returns what each layer is expected to get, from the first; for `parts` see `expected`."""
    kernel, H, is_dense = make_cell(model).core.kernel, model.hidden_size, model.skip == "dense"
    assert kernel is not None, "the cell has none"
    mode = kernel.partition("_")[0]
    return [
        expected(mode, size, H, lanes, precision, gpu, parts=parts, is_first=layer == 0 or is_dense)
        for layer, size in enumerate(input_sizes(model)[:-1])
    ]


def explain(model: ModelConfig, lanes: int, precision: str, gpu: GPU, *, parts: int = 1) -> list[str]:
    """Says kernel, reason and what to change in a line for each run of like layers; for `parts` see `expected`."""
    lines, first = list[str](), 1
    for one, alike in itertools.groupby(expectations(model, lanes, precision, gpu, parts=parts)):
        last = first + len(list(alike)) - 1
        which = f"layer {first}" if last == first else f"layers {first} to {last}"
        first = last + 1
        kernel = one.forward if one.forward == one.backward else f"{one.forward} forward, {one.backward} backward"
        advice = f"; to change it: {one.advice}" if one.advice else ""
        lines.append(f"{which}: cuDNN's {kernel} kernel expected ({one.why}){advice}")
    return lines
