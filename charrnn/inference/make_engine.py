"""The engine that runs a model fastest on this machine's CPU, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from charrnn.cells.members import count_members, parted
from charrnn.cells.parameters import written_out
from charrnn.cells.registry import describe, is_plain
from charrnn.errors import UsageError
from charrnn.inference.compiled import CompiledNetwork
from charrnn.inference.ensemble import EnsembleEngine
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.reference import Network
from charrnn.native.step import find_library
from charrnn.settings.choices import WeightsName
from charrnn.settings.config import ModelConfig


def has_compiled_step(config: ModelConfig) -> bool:
    """Whether compiled code can step such a model here."""
    return could_be_compiled(config) and find_library() is not None


def could_be_compiled(config: ModelConfig) -> bool:
    """Whether there is compiled code that steps such a model, be it here or not."""
    return is_plain(config) and config.skip == "none"


def make_engine(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    *,
    weights: WeightsName = "float32",
    threads: int | None = None,
    end: int | None = None,
) -> Any:
    """Makes the fastest engine for a CPU: the compiled step where the package has it, else numpy.

    A lane reads the id `end` from the zero state, whatever stood before it. The parameters of an ensemble make an
    engine of as many engines.

    Raises UsageError for rounded weights where there is no compiled step: numpy would only be slower with them.
    """
    if (members := count_members(parameters)) > 1:
        each = [
            make_engine(config, own, weights=weights, threads=threads, end=end) for own in parted(parameters, members)
        ]
        return EnsembleEngine(each)
    config, parameters = written_out(config, parameters)
    if has_compiled_step(config):
        return CompiledNetwork(config, parameters, weights=weights, threads=threads, end=end)
    if weights != "float32":
        missing, hint = "this installation has no compiled step", "leave --weights out"
        if config.skip != "none":
            missing = f"there is no compiled step for --skip {config.skip}"
        elif not is_plain(config):
            missing = f"there is no compiled step for this cell, {describe(config)}"
        else:
            hint = f"install charrnn where there is a C compiler (gcc or clang), or {hint}"
        raise UsageError(f"--weights is {weights!r}, and {missing}", hint)
    return (InPlaceNetwork if could_be_compiled(config) else Network)(config, parameters, end=end)
