"""Scores one text statically and dynamically, with settings that are given or tuned on another text.

The steps are gradient statistics on training text, the search on held-out text, and the score of the text itself; each
step starts from the trained weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import DivergenceError
from charrnn.evaluation.bpc import Proceed
from charrnn.evaluation.dynamic import gradient_statistics, score_dynamic, statistics_characters
from charrnn.evaluation.dynamic_rule import DynamicRule
from charrnn.evaluation.report import ForeignText, Progress, Static, figures, static_figures
from charrnn.evaluation.score import TextScore
from charrnn.evaluation.tuning import TEMPERATURES, Trial, ladders_of, search
from charrnn.text.stored import TextIds

Tried = Callable[[str, Trial], None]
"""A function that is called after each trial of the search, with "static" or "dynamic" and the trial."""
Rates = dict[str, float]
"""The values of settings by name."""
Ladders = Mapping[str, list[float]]
_SHOWN = ("nats_per_character", "bits_per_character", "bits_per_byte", "perplexity")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """A plan of the comparison: which scores to compute, with which settings, and on which other texts."""

    rule: DynamicRule | None
    """The rule of dynamic evaluation; None computes the static figures alone."""
    temperature: float | None
    """The temperature; None means what the search finds or, without a search, 1."""
    given: frozenset[str] = frozenset()
    """The fields of the rule that the search does not change."""
    training: TextIds | None = None
    """The text whose gradients give the rms rule its statistics."""
    tuning: TextIds | None = None
    """The text that the search scores; None means that there is no search."""


def compare(
    checkpoint: Checkpoint,
    text: ForeignText,
    plan: Comparison,
    how: Static,
    *,
    progress: Progress = lambda *_: None,
    tried: Tried = lambda *_: None,
) -> dict[str, Any]:
    """Returns the figures of `static_figures`, and under `static` and `dynamic` those at each one's temperature.

    Raises DivergenceError where the rule's rates are too much for the model.
    """
    model, rule, ids, statistics = how.model(checkpoint), plan.rule, text.ids, None

    def proceed(doing: str, total: int) -> Proceed:
        return lambda done: progress(doing, done, total)

    if rule is not None and rule.name == "rms":
        assert plan.training is not None
        total = statistics_characters(len(plan.training), rule.segment)
        statistics = gradient_statistics(
            model, plan.training, segment=rule.segment, proceed=proceed("taking statistics", total)
        )
    static, tuned = {"temperature": plan.temperature or 1.0}, dict[str, Any]()
    dynamic = dict(static)
    if (held_out := plan.tuning) is not None:

        def tune(which: str, loss: Callable[[Mapping[str, float]], TextScore], rates: Ladders, start: Rates) -> Rates:
            ladders = {name: ladder for name, ladder in rates.items() if name not in plan.given}
            if plan.temperature is None:
                ladders["temperature"] = TEMPERATURES
            best, trials = search(
                lambda settings: loss(settings).nats_per_character, ladders, start, lambda trial: tried(which, trial)
            )
            tuned[which] = _listed(trials)
            return best.settings

        tuned["characters"] = len(held_out) - 1
        static = tune("static", lambda settings: how.score(model, held_out, settings["temperature"]), {}, static)
        if (given := rule) is not None:
            ladders = ladders_of(given.name)
            best = tune(
                "dynamic",
                lambda settings: score_dynamic(
                    model, held_out, given.at(settings), statistics, temperature=settings["temperature"]
                ),
                ladders,
                {name: getattr(given, name) for name in ladders} | dynamic,
            )
            dynamic, rule = {"temperature": best["temperature"]}, given.at(best)
    found = static_figures(model, text, how, progress)
    at_temperature = found
    if static["temperature"] != 1.0:
        at_temperature = static_figures(model, text, how, progress, static["temperature"])
    found["static"] = {**static, **_shown(at_temperature)}
    if rule is not None:
        result = score_dynamic(model, ids, rule, statistics, proceed=proceed("adapting", len(ids) - 1), **dynamic)
        settings = {key: value for key, value in asdict(rule).items() if key != "epsilon" or rule.name == "rms"}
        found["dynamic"] = {"rule": settings.pop("name"), **settings, **dynamic, **_shown(_checked(result, text, rule))}
        if plan.training is not None:
            found["dynamic"]["statistics_characters"] = statistics_characters(len(plan.training), rule.segment)
    if tuned:
        found["tuning"] = tuned
    return found


def _checked(result: TextScore, text: ForeignText, rule: DynamicRule) -> dict[str, Any]:
    if not math.isfinite(result.nats):
        raise DivergenceError(
            f"the weights ran away in dynamic evaluation at --lr {rule.learning_rate:g}", "a smaller --lr, or --tune"
        )
    return figures(result, text)


def _shown(all_figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: all_figures[name] for name in _SHOWN}


def _listed(trials: list[Trial]) -> list[Rates]:
    """Returns the trials for JSON, which has no infinity: a trial that diverged gets no loss."""
    losses = [(trial.settings, trial.nats_per_character) for trial in trials]
    return [settings | ({"nats_per_character": loss} if math.isfinite(loss) else {}) for settings, loss in losses]
