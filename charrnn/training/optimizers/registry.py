"""The optimizers by name."""

from __future__ import annotations

from importlib import import_module

from charrnn.settings.choices import OptimizerName
from charrnn.training.optimizers.rule import Optimizer


def find_optimizer(name: OptimizerName) -> Optimizer:
    """Returns the optimizer called `name`, which is declared in the file of that name."""
    found: Optimizer = import_module(f"charrnn.training.optimizers.{name.replace('-', '_')}").OPTIMIZER
    return found
