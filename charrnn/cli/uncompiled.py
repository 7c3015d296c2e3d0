"""What a C compiler would bring, said in one line where its absence costs something.

The figures were measured on one kind of processor (x86-64, AMD Zen 4), so nothing is said on another.
"""

from __future__ import annotations

import platform
from math import prod

from charrnn.cells.parameters import parameter_shapes
from charrnn.inference.make_engine import could_be_compiled
from charrnn.native import step, window
from charrnn.settings.config import ModelConfig

PATIENCE = 5.0
"""Seconds that numpy may take for a text before it is worth a line that compiled code would be faster."""
# What numpy takes for a character: for each layer, and for each of its weights.
_SECONDS_FOR_LAYER, _SECONDS_FOR_WEIGHT = 30e-6, 3e-11


def is_measured_machine() -> bool:
    """Whether this machine is of the kind that the figures are of."""
    return platform.machine().lower() in ("x86_64", "amd64")


def missed_in_sampling(config: ModelConfig, vocabulary: int, characters: int) -> str | None:
    """Returns a line that says why compiled code does not write `characters` characters, and what would bring it.

    Returns None where it does, never could, is turned off on purpose, or would not save much time.
    """
    if not could_be_compiled(config) or not is_measured_machine():
        return None
    weights = sum(map(prod, parameter_shapes(config, vocabulary).values()))
    seconds = characters * (config.num_layers * _SECONDS_FOR_LAYER + weights * _SECONDS_FOR_WEIGHT)
    why = step.why_absent() if seconds > PATIENCE else None
    if why is None:
        return None
    reason, remedy = why
    return f"{reason}, and numpy writes: compiled code is 1.6 to 15 times as fast; {remedy}"


def missed_in_training(*, has_kernel: bool) -> str | None:
    """Returns a line that says why torch trains the layers on this CPU, and what would bring compiled code for it.

    That is torch's own kernel where it has one for the cell, else its operations, step by step. Returns None where
    compiled code is there, or is turned off on purpose.
    """
    why = window.why_absent() if is_measured_machine() else None
    if why is None:
        return None
    reason, remedy = why
    trains = "torch's own kernels train" if has_kernel else "torch trains step by step"
    return f"{reason}, and {trains}: compiled code is 1.3 to 3 times as fast; {remedy}"
