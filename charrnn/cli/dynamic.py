"""What `charrnn eval` does beyond the static score at temperature 1: dynamic evaluation, temperature, and tuning both.

Knows which texts that takes and where they come from: parts of the scored text's corpus where `--split` cuts it, else
texts that the user names. Sees to it that nothing is tuned on what is scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from charrnn.cli.options import setting
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.dynamic_rule import DEFAULTS, DynamicRule, RuleName
from charrnn.settings.checks import is_number, require

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.evaluation.compare import EvalPlan
    from charrnn.evaluation.tuning import Trial
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Ids

_PANEL = "Dynamic evaluation"
_FLAGS = {"learning_rate": "--lr", "prior": "--prior", "epsilon": "--epsilon", "segment": "--segment"}
DEFAULT_TUNE_LENGTH = 40_000


DYNAMIC = typer.Option(
    "--dynamic",
    help="Score also in one stream while the weights learn from each segment once it is scored (Krause et al. 2018), "
    "and report that beside the static score. rms divides each weight's gradient by its root mean square on training "
    "text; sgd does not. The checkpoint is left as it is.",
    rich_help_panel=_PANEL,
)
SEGMENT = setting(DynamicRule, "segment", "--segment", panel=_PANEL)
LEARNING_RATE = setting(
    DynamicRule,
    "learning_rate",
    "--lr",
    panel=_PANEL,
    shown=", ".join(f"{rule.learning_rate:g} ({name})" for name, rule in DEFAULTS.items()),
)
PRIOR = setting(DynamicRule, "prior", "--prior", panel=_PANEL)
EPSILON = setting(DynamicRule, "epsilon", "--epsilon", panel=_PANEL)
STATISTICS = typer.Option(
    "--statistics",
    help="Text the model was trained on, for the statistics of rms: of the run's own corpus its training part is "
    "taken, another text whole.",
    metavar="TEXT",
    show_default="with --split the train part",
    rich_help_panel=_PANEL,
)
TEMPERATURE = typer.Option(
    "--temperature",
    help="Divide the logits by it before they are scored.",
    show_default="1, or tuned",
    rich_help_panel=_PANEL,
)
TUNE = typer.Option(
    "--tune",
    help="Choose the temperature, and under --dynamic what of --lr, --prior and --epsilon is not given, by a search on "
    "validation text.",
    rich_help_panel=_PANEL,
)
TUNE_ON = typer.Option(
    "--tune-on",
    help="Validation text for --tune.",
    metavar="TEXT",
    show_default="with --split or the run's corpus, the validation part",
    rich_help_panel=_PANEL,
)
TUNE_LENGTH = typer.Option(
    "--tune-length",
    min=2,
    help="Characters of the validation text that each trial scores.",
    show_default=f"{DEFAULT_TUNE_LENGTH:,}",
    rich_help_panel=_PANEL,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The options, checked. Raises UsageError where they do not go together."""

    rule: DynamicRule | None
    given: frozenset[str]
    temperature: float | None
    tune: bool
    statistics: str | None
    tune_on: str | None
    tune_length: int

    @classmethod
    def of(
        cls,
        dynamic: RuleName | None,
        rates: dict[str, Any],
        *,
        protocol: str,
        temperature: float | None,
        statistics: str | None,
        tune: bool,
        tune_on: str | None,
        tune_length: int | None,
    ) -> Asked:
        """`rates` are fields of `DynamicRule`, None where the user says nothing."""
        rates = {name: value for name, value in rates.items() if value is not None}
        if temperature is not None:
            require(is_number(temperature) and temperature > 0, "--temperature", temperature, "a number above 0")
        for name in rates:
            DynamicRule(**{name: rates[name]})
            if dynamic is None:
                raise UsageError(f"{_FLAGS[name]} is for --dynamic", f"add --dynamic, or leave {_FLAGS[name]} out")
        if statistics is not None and dynamic != "rms":
            raise UsageError("--statistics are for --dynamic rms", "add --dynamic rms, or leave --statistics out")
        if "epsilon" in rates and dynamic == "sgd":
            raise UsageError("--epsilon is for --dynamic rms", "leave it out")
        if dynamic is not None and protocol == "windowed":
            raise UsageError(
                "--dynamic carries state and weights along one stream, and --protocol windowed starts again and again",
                "leave one of them out",
            )
        for flag, value in (("--tune-on", tune_on), ("--tune-length", tune_length)):
            if value is not None and not tune:
                raise UsageError(f"{flag} is for --tune", f"add --tune, or leave {flag} out")
        if tune and dynamic is None and temperature is not None:
            raise UsageError(
                "--tune has nothing to choose: --temperature is given, and there is no --dynamic", "leave one out"
            )
        return cls(
            rule=None if dynamic is None else replace(DEFAULTS[dynamic], **rates),
            given=frozenset(rates),
            temperature=temperature,
            tune=tune,
            statistics=statistics,
            tune_on=tune_on,
            tune_length=tune_length or DEFAULT_TUNE_LENGTH,
        )

    @property
    def is_plain(self) -> bool:
        """Whether the static score at temperature 1 is all."""
        return self.rule is None and not self.tune and self.temperature in (None, 1.0)

    @property
    def needs_training(self) -> bool:
        """Whether text that the model was trained on is needed."""
        return self.rule is not None and self.rule.name == "rms"


@dataclass(frozen=True, slots=True)
class Part:
    """A corpus, and which part of it, cut as the run cut its own."""

    corpus: Corpus
    split: Literal["all", "train", "validation", "test"]

    def overlaps(self, other: Part) -> bool:
        """Whether a character may be in both."""
        is_same = self.corpus.sha256 == other.corpus.sha256
        return is_same and (self.split == other.split or "all" in (self.split, other.split))


def find_parts(
    asked: Asked, scored: Part, loaded: Checkpoint, read: Callable[[str], Corpus]
) -> tuple[Part | None, Part | None]:
    """The training text for statistics and the validation text for tuning, each None where it is not needed.

    `read` reads a text that the user names. Raises UsageError where one is needed and there is none, TextError where
    tuning would see the text that is scored.
    """
    named = None if asked.statistics is None else read(asked.statistics)
    is_own = named is not None and named.sha256 == loaded.corpus["sha256"]
    training = None if named is None else Part(named, "train" if is_own else "all")
    if asked.needs_training and training is None:
        if scored.split == "all":
            raise UsageError(
                "--dynamic rms needs statistics of the text the model was trained on",
                "name that text with --statistics, or score a part of it with --split test, or take --dynamic sgd",
            )
        training = Part(scored.corpus, "train")
    if not asked.tune:
        return training, None
    if asked.tune_on is not None:
        tuning = Part(read(asked.tune_on), "all")
    elif (scored.split != "all" or is_own) and loaded.data.validation_fraction > 0:
        tuning = Part(named if is_own and named is not None else scored.corpus, "validation")
    else:
        raise UsageError("--tune needs validation text", "name it with --tune-on, or score with --split test")
    if tuning.overlaps(scored):
        raise TextError(
            "--tune would choose its settings on the text that is scored",
            "score another part (--split test), or name another text with --tune-on",
        )
    return training, tuning


def plan(asked: Asked, training: Ids | None, tuning: Ids | None) -> EvalPlan:
    """What is to be found out, with the texts for it. Raises TextError where one is too short."""
    from charrnn.evaluation.compare import EvalPlan

    if training is not None and asked.rule is not None and len(training) <= asked.rule.segment:
        raise TextError(
            f"the training text has {len(training)} characters, and --segment is {asked.rule.segment}",
            "name a longer text with --statistics",
        )
    if tuning is not None:
        tuning = tuning[: asked.tune_length + 1]
        if len(tuning) < 2:
            raise TextError("the validation text for --tune has nothing to score", "name another with --tune-on")
    return EvalPlan(rule=asked.rule, temperature=asked.temperature, given=asked.given, training=training, tuning=tuning)


def say_trial(which: str, trial: Trial) -> None:
    """One trial of the search, on stderr."""
    import math

    from charrnn.display.safe import say

    settings = " ".join(f"{_FLAGS.get(name, '--' + name)} {value:g}" for name, value in trial.settings.items())
    bits = trial.nats_per_character / math.log(2)
    say(f"tuning {which}: {settings}: " + (f"{bits:.4f} bits" if math.isfinite(bits) else "ran away"))


def show(result: dict[str, Any], tuned_on: int | None) -> None:
    """What was found beside the first figures, which are static and at temperature 1."""
    static, dynamic = result["static"], result.get("dynamic")
    if static["temperature"] != 1:
        print(f"static, temperature {static['temperature']:g}: {_figures(static)}")
    if dynamic is not None:
        flags = {flag: dynamic[name] for name, flag in _FLAGS.items() if name in dynamic}
        flags["--temperature"] = dynamic["temperature"]
        gain = static["bits_per_character"] - dynamic["bits_per_character"]
        print(
            f"dynamic ({dynamic['rule']}): {_figures(dynamic)}, {abs(gain):.4f} bits {'less' if gain >= 0 else 'more'}"
        )
        print("with " + " ".join(f"{flag} {value:g}" for flag, value in flags.items()), end="")
        print("" if tuned_on is None else f", tuned on {tuned_on:,} characters")


def _figures(found: dict[str, Any]) -> str:
    return f"{found['bits_per_character']:.4f} bits per character ({found['nats_per_character']:.4f} nats)"
