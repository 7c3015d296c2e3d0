"""The settings of dynamic evaluation and their bounds; `dynamic.py` applies them. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from charrnn.settings.checks import ABOVE_0, AT_LEAST_0, COUNT, SHARE, one_of
from charrnn.settings.fields import Record, setting, settings_of

RuleName = Literal["rms", "sgd"]

_LEARNING_RATES: dict[RuleName, float] = {"rms": 4e-5, "sgd": 0.025}
_rule = partial(setting, panel="Dynamic evaluation")


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicRule(Record):
    """One of the two rules, with its rates."""

    name: RuleName = _rule("rms", one_of(RuleName), "--dynamic", level="everyday", shown="")
    """Score also while the weights learn from each segment once it is scored (Krause et al. 2018), by the rule rms
    (each weight's gradient is divided by its root mean square on training text) or sgd (it is not)."""
    segment: int = _rule(20, COUNT, "--segment")
    """Characters scored between two updates of the weights."""
    learning_rate: float = _rule(
        _LEARNING_RATES["rms"],
        AT_LEAST_0,
        "--lr",
        shown=", ".join(f"{rate:g} ({name})" for name, rate in _LEARNING_RATES.items()),
    )
    """Learning rate of the updates of dynamic evaluation."""
    prior: float = _rule(1e-3, SHARE, "--prior")
    """How far each update goes back to the trained weights, as a share of the way: under rms the mean share, larger for
    weights with large gradients."""
    epsilon: float = _rule(1e-5, ABOVE_0, "--epsilon")
    """What is added under rms to the root mean square, so that weights with hardly any gradient do not run away."""

    def at(self, rates: Mapping[str, Any]) -> DynamicRule:
        """Returns the rule with other values of the fields named in `rates`; names that are not fields are ignored."""
        return replace(self, **{name: rate for name, rate in rates.items() if name in settings_of(DynamicRule)})


DEFAULTS = {name: DynamicRule(name=name, learning_rate=rate) for name, rate in _LEARNING_RATES.items()}
"""The default settings of each rule by its name: near the optimum of a search for models of 1 x 256 on War and Peace
and tiny Shakespeare."""
