"""Static and dynamic figures of one text, side by side, with settings that are given or tuned on another text.

Knows the order: statistics on training text, the search on held-out text, then the text itself, each from the trained
weights. Refuses to know where the texts come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import DivergenceError
from charrnn.evaluation.bpc import Proceed
from charrnn.evaluation.dynamic import gradient_statistics, score_dynamic, statistics_characters
from charrnn.evaluation.dynamic_rule import DynamicRule
from charrnn.evaluation.report import ForeignText, figures, make_model, score_by_protocol
from charrnn.evaluation.score import Score
from charrnn.evaluation.tuning import TEMPERATURES, Trial, ladders_of, search
from charrnn.network.model import CharacterModel
from charrnn.text.vocabulary import Ids

Tried = Callable[[str, Trial], None]
"""Called after each trial of the search, with "static" or "dynamic"."""
_SHOWN = ("nats_per_character", "bits_per_character", "bits_per_byte", "perplexity")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvalPlan:
    """What is to be found out about a text."""

    rule: DynamicRule | None
    """None for the static figures alone."""
    temperature: float | None
    """None for 1, or for what the search finds."""
    given: frozenset[str] = frozenset()
    """Fields of the rule that the search leaves as they are."""
    training: Ids | None = None
    """Text whose gradients give the rms rule its statistics."""
    tuning: Ids | None = None
    """Text that the search scores; without it there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """How the static score is computed."""

    device: torch.device
    window: int
    lanes: int | None
    context: int | None


def compare(
    checkpoint: Checkpoint,
    text: ForeignText,
    plan: EvalPlan,
    how: Static,
    *,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    tried: Tried = lambda *_: None,
) -> dict[str, Any]:
    """The static figures as `report` has them, and under `static` and `dynamic` those at the temperature of each.

    Raises DivergenceError where the rule's rates are too much for the model.
    """
    model = make_model(checkpoint, how.device)
    device, rule, ids = how.device, plan.rule, text.ids

    def proceed(doing: str, total: int) -> Proceed:
        def report(done: int) -> bool:
            progress(doing, done, total)
            return True

        return report

    statistics = None
    if rule is not None and rule.name == "rms":
        assert plan.training is not None
        statistics = gradient_statistics(
            model, plan.training, segment=rule.segment, device=device,
            proceed=proceed("taking statistics", statistics_characters(len(plan.training), rule.segment)),
        )  # fmt: skip
    static, tuned = {"temperature": plan.temperature or 1.0}, dict[str, Any]()
    dynamic = dict(static)
    if plan.tuning is not None:
        tuned["characters"] = len(plan.tuning) - 1
        static, tuned["static"] = _tune_static(model, plan, how, tried)
        if rule is not None:
            best, tuned["dynamic"] = _tune_dynamic(model, plan, rule, statistics, device, tried)
            dynamic, rule = {"temperature": best["temperature"]}, rule.at(best)

    def scored(temperature: float) -> dict[str, Any]:
        result = score_by_protocol(
            model, ids, device, how.window, how.lanes, how.context, temperature=temperature,
            proceed=proceed("scoring", len(ids) - 1),
        )  # fmt: skip
        assert result is not None
        return figures(result, text, how.context)

    found = scored(1.0)
    at_temperature = found if static["temperature"] == 1.0 else scored(static["temperature"])
    found["static"] = {**static, **_shown(at_temperature)}
    if rule is not None:
        result = score_dynamic(
            model, ids, rule, statistics, device=device, proceed=proceed("adapting", len(ids) - 1), **dynamic
        )
        assert result is not None
        settings = {key: value for key, value in asdict(rule).items() if key != "epsilon" or rule.name == "rms"}
        found["dynamic"] = {"rule": settings.pop("name"), **settings, **dynamic, **_shown(_checked(result, text, rule))}
        if plan.training is not None:
            found["dynamic"]["statistics_characters"] = statistics_characters(len(plan.training), rule.segment)
    if tuned:
        found["tuning"] = tuned
    return found


def _checked(result: Score, text: ForeignText, rule: DynamicRule) -> dict[str, Any]:
    if not math.isfinite(result.nats):
        raise DivergenceError(
            f"the weights ran away in dynamic evaluation at --lr {rule.learning_rate:g}", "a smaller --lr, or --tune"
        )
    return figures(result, text)


def _shown(all_figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: all_figures[name] for name in _SHOWN}


Found = tuple[dict[str, float], list[dict[str, float]]]
"""The best settings, and every trial."""


def _tune_static(model: CharacterModel, plan: EvalPlan, how: Static, tried: Tried) -> Found:
    ids = plan.tuning
    assert ids is not None

    def loss(settings: Mapping[str, float]) -> float:
        temperature = settings["temperature"]
        return _mean(
            score_by_protocol(model, ids, how.device, how.window, how.lanes, how.context, temperature=temperature)
        )

    ladders = {} if plan.temperature is not None else {"temperature": TEMPERATURES}
    best, trials = search(loss, ladders, {"temperature": plan.temperature or 1.0}, lambda trial: tried("static", trial))
    return best.settings, _listed(trials)


def _tune_dynamic(
    model: CharacterModel,
    plan: EvalPlan,
    rule: DynamicRule,
    statistics: list[Tensor] | None,
    device: torch.device,
    tried: Tried,
) -> Found:
    ids = plan.tuning
    assert ids is not None

    def loss(settings: Mapping[str, float]) -> float:
        temperature = settings["temperature"]
        return _mean(score_dynamic(model, ids, rule.at(settings), statistics, device=device, temperature=temperature))

    ladders = ladders_of(rule.name)
    start = {name: getattr(rule, name) for name in ladders} | {"temperature": plan.temperature or 1.0}
    ladders = {name: ladder for name, ladder in ladders.items() if name not in plan.given}
    if plan.temperature is None:
        ladders["temperature"] = TEMPERATURES
    best, trials = search(loss, ladders, start, lambda trial: tried("dynamic", trial))
    return best.settings, _listed(trials)


def _mean(result: Score | None) -> float:
    assert result is not None
    return result.nats_per_character


def _listed(trials: list[Trial]) -> list[dict[str, float]]:
    """JSON has no infinity: a trial that broke off has no loss."""
    return [
        {
            **trial.settings,
            **({"nats_per_character": trial.nats_per_character} if math.isfinite(trial.nats_per_character) else {}),
        }
        for trial in trials
    ]
