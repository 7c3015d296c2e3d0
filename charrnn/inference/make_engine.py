"""The engine that runs a model fastest on this machine's CPU, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from charrnn.cells.parameters import written_out
from charrnn.cells.registry import describe
from charrnn.cells.registry import is_plain as is_plain_cell
from charrnn.errors import UsageError
from charrnn.inference.compiled import CompiledNetwork, is_available
from charrnn.inference.inplace import InPlaceNetwork, is_plain
from charrnn.inference.reference import Network
from charrnn.settings.choices import WeightsName
from charrnn.settings.config import ModelConfig


def make_engine(
    config: ModelConfig,
    parameters: Mapping[str, npt.NDArray[Any]],
    *,
    weights: WeightsName = "float32",
    threads: int | None = None,
) -> Any:
    """The fastest engine for a CPU: the compiled step where the package has it, else numpy.

    Raises UsageError for int8 weights where there is no compiled step: numpy would only be slower with them.
    """
    config, parameters = written_out(config, parameters)
    if is_available(config):
        return CompiledNetwork(config, parameters, weights=weights, threads=threads)
    if weights != "float32" and config.skip != "none":
        raise UsageError(
            f"--weights is {weights!r}, and there is no compiled step for --skip {config.skip}", "leave --weights out"
        )
    if weights != "float32":
        if not is_plain_cell(config):
            raise UsageError(
                f"--weights is {weights!r}, and there is no compiled step for this cell, {describe(config)}",
                "leave --weights out",
            )
        raise UsageError(
            f"--weights is {weights!r}, and this installation has no compiled step",
            "install charrnn where there is a C compiler (gcc or clang), or leave --weights out",
        )
    return InPlaceNetwork(config, parameters) if is_plain(config) else Network(config, parameters)
