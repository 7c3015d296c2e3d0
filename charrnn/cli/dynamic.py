"""What `charrnn eval` does beyond the static score at temperature 1: dynamic evaluation, temperature, and tuning both.

The texts that takes are parts of the scored text's corpus where `--split` cuts it, else texts that the user names.
Nothing is tuned on what is scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from charrnn.cli.ngrams import figures
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.dynamic_rule import DEFAULTS, DynamicRule
from charrnn.settings.checks import ABOVE_0, FLAG, TEXT, whole
from charrnn.settings.choices import SplitName
from charrnn.settings.fields import Record, setting, settings_of
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.evaluation.compare import Comparison
    from charrnn.evaluation.tuning import Trial
    from charrnn.text.corpus import Corpus
    from charrnn.text.stored import TextIds

_DEFAULT_TUNE_LENGTH = 40_000
_option = partial(setting, None, panel="Dynamic evaluation")


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapting(Record):
    """The options beside the rule's."""

    statistics: str | None = _option(TEXT, "--statistics", metavar="TEXT", shown="with --split the train part")
    """Text the model was trained on, for the statistics of --dynamic rms, of which the training part is taken where it
    is the run's own corpus, and else the whole."""
    temperature: float | None = _option(ABOVE_0, "--temperature", shown="1, or tuned")
    """Number that logits are divided by before they are scored."""
    tune: bool | None = _option(FLAG, "--tune")
    """Choose the temperature, and under --dynamic what of --lr, --prior and --epsilon is not given, by a search on
    validation text."""
    tune_on: str | None = _option(
        TEXT, "--tune-on", metavar="TEXT", shown="with --split or the run's corpus, the validation part"
    )
    """Validation text for --tune."""
    tune_length: int | None = _option(whole(2), "--tune-length", shown=f"{_DEFAULT_TUNE_LENGTH:,}")
    """Characters of the validation text that each trial of --tune scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptation:
    """What was asked for, checked."""

    rule: DynamicRule | None
    given: frozenset[str]
    """The rates that the user has chosen."""
    options: Adapting

    @classmethod
    def of(cls, said: dict[str, Any], options: Adapting, *, protocol: str) -> Adaptation:
        """`said` are fields of `DynamicRule`. Raises UsageError where options do not go together."""
        DynamicRule(**said)  # checks each value
        dynamic, rates = said.get("name"), {name: value for name, value in said.items() if name != "name"}
        if options.statistics is not None and dynamic != "rms":
            raise UsageError("--statistics are for --dynamic rms", "add --dynamic rms, or leave --statistics out")
        if "epsilon" in rates and dynamic == "sgd":
            raise UsageError("--epsilon is for --dynamic rms", "leave it out")
        if dynamic is not None and protocol != "streamed":
            raise UsageError(
                f"--dynamic carries state and weights along one stream, and --protocol {protocol} starts again "
                "and again",
                "leave one of them out",
            )
        lacking = [(_flag(name), "--dynamic") for name in rates if dynamic is None]
        if not options.tune:
            for_tuning = {"--tune-on": options.tune_on, "--tune-length": options.tune_length}
            lacking += [(flag, "--tune") for flag, value in for_tuning.items() if value is not None]
        for flag, needed in lacking:
            raise UsageError(f"{flag} is for {needed}", f"add {needed}, or leave {flag} out")
        if options.tune and dynamic is None and options.temperature is not None:
            raise UsageError(
                "--tune has nothing to choose: --temperature is given, and there is no --dynamic", "leave one out"
            )
        rule = None if dynamic is None else replace(DEFAULTS[dynamic], **rates)
        return cls(rule=rule, given=frozenset(rates), options=options)

    @property
    def is_plain(self) -> bool:
        """Whether the static score at temperature 1 is all."""
        return self.rule is None and not self.options.tune and self.options.temperature in (None, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """A corpus, and which part of it, cut as the run cut its own."""

    corpus: Corpus
    split: SplitName

    def overlaps(self, other: Part) -> bool:
        """Whether a character may be in both."""
        is_same = self.corpus.sha256 == other.corpus.sha256
        return is_same and (self.split == other.split or "all" in (self.split, other.split))


def find_parts(
    asked: Adaptation, scored: Part, loaded: Checkpoint, read: Callable[[str], Corpus]
) -> tuple[Part | None, Part | None]:
    """Returns the training text for statistics and the validation text for tuning, None where one is not needed.

    `read` reads a text that the user names. Raises UsageError where one is needed and there is none, TextError where
    tuning would see the text that is scored.
    """
    named = None if asked.options.statistics is None else read(asked.options.statistics)
    is_own = named is not None and named.sha256 == loaded.corpus["sha256"]
    training = None if named is None else Part(named, "train" if is_own else "all")
    if training is None and asked.rule is not None and asked.rule.name == "rms":
        if scored.split == "all":
            raise UsageError(
                "--dynamic rms needs statistics of the text the model was trained on",
                "name that text with --statistics, or score a part of it with --split test, or take --dynamic sgd",
            )
        training = Part(scored.corpus, "train")
    if not asked.options.tune:
        return training, None
    if asked.options.tune_on is not None:
        tuning = Part(read(asked.options.tune_on), "all")
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


def plan(asked: Adaptation, training: TextIds | None, tuning: TextIds | None) -> Comparison:
    """What is to be found out, with the texts for it. Raises TextError where one is too short."""
    from charrnn.evaluation.compare import Comparison

    if training is not None and asked.rule is not None and len(training) <= asked.rule.segment:
        raise TextError(
            f"the training text has {count(len(training), 'character')}, and --segment is {asked.rule.segment}",
            "name a longer text with --statistics",
        )
    if tuning is not None:
        tuning = tuning[: (asked.options.tune_length or _DEFAULT_TUNE_LENGTH) + 1]
        if len(tuning) < 2:
            raise TextError("the validation text for --tune has nothing to score", "name another with --tune-on")
    return Comparison(
        rule=asked.rule, temperature=asked.options.temperature, given=asked.given, training=training, tuning=tuning
    )


def say_trial(which: str, trial: Trial) -> None:
    """Reports one trial of the search on stderr."""
    import math

    from charrnn.display.notice import say

    settings = " ".join(f"{_flag(name)} {value:g}" for name, value in trial.settings.items())
    bits = trial.nats_per_character / math.log(2)
    say(f"tuning {which}: {settings}: " + (f"{bits:.4f} bits" if math.isfinite(bits) else "ran away"))


def show(result: dict[str, Any], tuned_on: int | None) -> None:
    """Prints what was found beside the first figures, which are static and at temperature 1."""
    static, dynamic = result["static"], result.get("dynamic")
    if static["temperature"] != 1:
        print(f"static, temperature {static['temperature']:g}: {figures(static)}")
    if dynamic is not None:
        named = [name for name in ("learning_rate", "prior", "epsilon", "segment", "temperature") if name in dynamic]
        gain = static["bits_per_character"] - dynamic["bits_per_character"]
        less = "less" if gain >= 0 else "more"
        print(f"dynamic ({dynamic['rule']}): {figures(dynamic)}, {abs(gain):.4f} bits {less}")
        tuned = "" if tuned_on is None else f", tuned on {count(tuned_on, 'character')}"
        print("with " + " ".join(f"{_flag(name)} {dynamic[name]:g}" for name in named) + tuned)


def _flag(name: str) -> str:
    """Returns the option of a field of the rule, or of the temperature."""
    return settings_of(Adapting if name == "temperature" else DynamicRule)[name].flag
