"""The optimizers by name."""

from __future__ import annotations

from importlib import import_module

from charrnn.settings.choices import OptimizerName
from charrnn.training.optimizers.rule import Optimizer


def find_optimizer(name: OptimizerName) -> Optimizer:
    """The OPTIMIZER of the file that is called as it is."""
    found: Optimizer = import_module(f"charrnn.training.optimizers.{name.replace('-', '_')}").OPTIMIZER
    return found
