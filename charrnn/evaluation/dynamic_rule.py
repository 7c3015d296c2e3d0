"""How dynamic evaluation moves the weights, as numbers.

Knows settings and their bounds. Refuses to know what is done with them (`dynamic.py`), and does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from charrnn.settings.checks import between, is_number, one_of, positive_integer, require

RuleName = Literal["rms", "sgd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicRule:
    """One of the two rules, with its rates; `dynamic.py` has the equations."""

    name: RuleName = "rms"
    """rms divides each weight's gradient by its root mean square on training text; sgd does not."""
    segment: int = 20
    """Characters scored between two updates of the weights."""
    learning_rate: float = 4e-5
    """Learning rate of the updates."""
    prior: float = 1e-3
    """How far each update goes back to the trained weights, as a share of the way: under rms the mean share, larger for
    weights with large gradients."""
    epsilon: float = 1e-5
    """Under rms, what is added to the root mean square, so that weights with hardly any gradient do not run away."""

    def __post_init__(self) -> None:
        one_of("--dynamic", self.name, get_args(RuleName))
        positive_integer("--segment", self.segment)
        between("--lr", self.learning_rate, 0.0, math.inf)
        between("--prior", self.prior, 0.0, 1.0)
        require(is_number(self.epsilon) and self.epsilon > 0, "--epsilon", self.epsilon, "a number above 0")

    def at(self, rates: Mapping[str, float]) -> DynamicRule:
        """The rule with other rates, by the names of the fields; what is not named stays."""
        return DynamicRule(
            name=self.name,
            segment=self.segment,
            learning_rate=rates.get("learning_rate", self.learning_rate),
            prior=rates.get("prior", self.prior),
            epsilon=rates.get("epsilon", self.epsilon),
        )


DEFAULTS = {"rms": DynamicRule(name="rms"), "sgd": DynamicRule(name="sgd", learning_rate=0.025)}
"""By the rule's name: near where the search ended for models of 1 x 256 on War and Peace and tiny Shakespeare."""
