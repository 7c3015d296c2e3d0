"""The settings of sampling: how characters are drawn, where a sample ends, and which samples are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from charrnn.errors import UsageError
from charrnn.settings.checks import (
    AT_LEAST_0,
    COUNT,
    FLAG,
    SHARE,
    Check,
    number,
    one_of,
    whole,
)
from charrnn.settings.fields import Record, setting
from charrnn.wording import not_utf_8

UnitName = Literal["sentence", "line", "paragraph"]
"""A unit of text at whose end a sample may stop."""

SeedWord = Literal["random"]
RANDOM = "random"
_MOST_BIAS = 1000.0
_LARGEST_SEED = 2**63 - 1
_DRAWN_SEEDS = 2**32
"""Seeds that are drawn are below this number: they are easily typed again."""

_text = partial(setting, panel="Text")
_drawing = partial(setting, panel="Drawing")
_lists = partial(setting, panel="Lists")


def _is_stop(value: Any) -> bool:
    words = [value] if isinstance(value, str) else value
    return isinstance(words, list | tuple) and bool(words) and all(isinstance(one, str) and one for one in words)


def _bias(word: Any) -> tuple[str, float] | None:
    """Returns the text and the number of `TEXT=NUMBER`, or None for anything else."""
    text, sign, figure = word.rpartition("=") if isinstance(word, str) else ("", "", "")
    try:
        bias = float(figure)
    except ValueError:
        return None
    return (text, bias) if sign and text and _is_bias(bias) else None


def _is_bias(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST_BIAS


def _are_biases(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(text, str) and text and _is_bias(b) for text, b in value.items())
    words = [value] if isinstance(value, str) else value
    return isinstance(words, list | tuple) and bool(words) and all(_bias(word) is not None for word in words)


def _is_seed(value: Any) -> bool:
    return value == RANDOM or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_SEED)


def _seed_of(word: str) -> Any:
    return int(word) if re.fullmatch(r"[+-]?\d{1,30}", word, re.ASCII) else word


def _is_pattern(value: Any) -> bool:
    try:
        is_text = isinstance(value, str) and value != "" and not_utf_8(value) is None  # others would never match
        return is_text and bool(re.compile(value))
    except (re.error, OverflowError, RecursionError):
        return False


_STOPS = Check(list[str], _is_stop, "at least one character")
_BIASES = Check(list[str], _are_biases, f"TEXT=NUMBER with a number of at most {_MOST_BIAS:g} in size, such as king=+2")
_SEED = Check(int, _is_seed, f"a whole number from 0 to {_LARGEST_SEED:,}, or random", read=_seed_of)
_PATTERN = Check(str, _is_pattern, "a regular expression of Python")


def drawn_seed() -> int:
    """Returns a seed that nobody has chosen."""
    import secrets  # it would be loaded for every help page

    return secrets.randbelow(_DRAWN_SEEDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(Record):
    """How characters are drawn from the model's distribution, and where a sample ends."""

    length: int = _text(1000, COUNT, "--length", "-n", level="everyday")
    """Characters to write, at most."""
    stop: str | Sequence[str] | None = _text(None, _STOPS, "--stop", level="everyday", metavar="TEXT")
    """Text after which to stop, itself included, of several the one that comes first (may be given several times)."""
    stop_at: UnitName | None = _text(None, one_of(UnitName), "--stop-at", level="everyday")
    """Stop at the end of the first sentence, line or paragraph, without the space or line end behind it."""
    repeat_until_stop: bool = _text(False, FLAG, "--repeat-until-stop")
    """Write on past the length until a stop comes, or without one until Ctrl-C."""
    temperature: float = _drawing(
        0.8, AT_LEAST_0, "--temperature", "-t", level="everyday", metavar="NUMBER[,NUMBER...]", is_listed=True
    )
    """Number that logits are divided by (below 1 safer, above 1 wilder, 0 takes the likeliest character each time), or
    several with commas between them, which write one sample each."""
    top_k: int | None = _drawing(None, COUNT, "--top-k", level="everyday")
    """Draw only from this many characters, the likeliest."""
    top_p: float | None = _drawing(None, number(0.0, 1.0, above=True), "--top-p", level="everyday")
    """Draw only from the smallest set of characters that holds this much probability (nucleus sampling)."""
    min_p: float | None = _drawing(None, SHARE, "--min-p")
    """Draw only from characters at least this share as likely as the likeliest."""
    repetition_penalty: float = _drawing(1.0, number(0.0, 100.0, above=True), "--repetition-penalty")
    """Number that the logit of a character is divided by where the character would go on repeating a stretch of the
    text's end (1 changes nothing, 1.5 is much)."""
    repetition_window: int = _drawing(400, whole(1, 100_000), "--repetition-window")
    """Last characters of the text in which --repetition-penalty looks for what would be repeated."""
    repetition_stretch: int = _drawing(8, whole(0, 1000), "--repetition-stretch")
    """Characters that must be the same before a character for --repetition-penalty to count it as a repetition (0 for
    every character in the window)."""
    logit_bias: Mapping[str, float] | Sequence[str] | None = _drawing(
        None, _BIASES, "--logit-bias", metavar="TEXT=NUMBER"
    )
    """Add a number to the logit of a character, such as e=-1, or of each character that goes on with a word that the
    text has begun, such as king=+2 (may be given several times)."""
    num_beams: int | None = _drawing(None, whole(1, 60), "--num-beams")
    """Search for the likeliest text with this many beams, instead of drawing."""
    length_penalty: float = _drawing(0.0, number(-10.0, 10.0), "--length-penalty")
    """Power of a text's length that its log-probability is divided by where --num-beams compares texts that end."""
    seed: int | SeedWord = _drawing(1, _SEED, "--seed", level="everyday", metavar="N|random")
    """Seed of the random numbers, of which the same gives the same text, or random to have one drawn."""

    def __post_init__(self) -> None:
        """Checks the values, and draws the seed where it is to be random."""
        Record.__post_init__(self)
        if self.seed == RANDOM:
            object.__setattr__(self, "seed", drawn_seed())

    def check_together(self) -> None:
        """Raises UsageError where a setting has nothing that it is about, or contradicts the search with beams."""
        if self.num_beams is None:
            if self.length_penalty:
                raise UsageError(
                    "--length-penalty is about the texts of --num-beams", "add --num-beams, or leave it out"
                )
        else:
            given = [self.top_k, self.top_p, self.min_p, self.repeat_until_stop or None]
            names = ("--top-k", "--top-p", "--min-p", "--repeat-until-stop")
            for name, value in zip(names, given, strict=True):
                if value is not None:
                    raise UsageError(
                        f"--num-beams searches for the likeliest text, and {name} has no part in it",
                        f"leave {name} out",
                    )
        if self.repetition_penalty == 1:
            for flag, value, default in (
                ("--repetition-window", self.repetition_window, 400),
                ("--repetition-stretch", self.repetition_stretch, 8),
            ):
                if value != default:
                    raise UsageError(f"{flag} is about --repetition-penalty", "add --repetition-penalty, such as 1.3")

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts, each once."""
        words = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(dict.fromkeys(words))

    @property
    def biases(self) -> dict[str, float]:
        """Text -> what is added to logits. Of a text that is named twice the numbers are added up."""
        if isinstance(self.logit_bias, Mapping):
            return dict(self.logit_bias)
        words = (self.logit_bias,) if isinstance(self.logit_bias, str) else self.logit_bias or ()
        found: dict[str, float] = {}
        for text, bias in filter(None, map(_bias, words)):
            found[text] = found.get(text, 0.0) + bias
        return found

    @property
    def seed_number(self) -> int:
        """The seed, which is a number here also where it was drawn."""
        assert isinstance(self.seed, int)
        return self.seed

    @property
    def has_stop(self) -> bool:
        """Whether a sample may end before its length, by what was asked for."""
        return self.stop is not None or self.stop_at is not None

    @property
    def is_certain(self) -> bool:
        """Whether there is one text that the settings allow, whatever the seed."""
        return self.temperature == 0 or self.top_k == 1 or self.num_beams is not None

    @property
    def is_adjusted(self) -> bool:
        """Whether logits are changed by what the text holds."""
        return self.logit_bias is not None or self.repetition_penalty != 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection(Record):
    """Which samples of a list are kept; for each that is not another one is drawn."""

    unique: bool = _lists(False, FLAG, "--unique")
    """Keep only samples that differ from each other."""
    novel: bool = _lists(False, FLAG, "--novel")
    """Keep only samples that the run's text does not hold: a sample that ends with its line must not be a line of the
    text, and any other must not stand anywhere in it."""
    filter: str | None = _lists(None, _PATTERN, "--filter", metavar="REGEX")
    """Keep only samples, with their prime, in which a regular expression is found."""
    tries: int = _lists(100, COUNT, "--tries")
    """Samples to draw at most for each that --unique, --novel and --filter shall keep."""

    @property
    def is_choosy(self) -> bool:
        """Whether anything but the samples as they come is wanted."""
        return self.unique or self.novel or self.filter is not None
