"""Random configurations of a training, of every setting that there is: a new one is drawn as soon as it is declared."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from charrnn.cells.names import NAMES
from charrnn.settings.checks import FLAG
from charrnn.settings.fields import Setting, settings_of
from charrnn.settings.presets import PresetName
from charrnn.training.request import GROUPS

LEFT_OUT = {
    "minutes": "how far a run comes in a time is not the same twice",
    "config": "says what other options say",
    "dry_run": "trains nothing",
    "fresh": "begins another run",
    "change": "is about what a run that goes on is given otherwise",
    "init_from": "another run, which no configuration has; the settings of the model would have to be its own",
    "distill_from": "another run, which no configuration has",
    "quiet": "prints nothing of what a trial reads",
    "name": "the trial says where a run lies",
    "out": "the trial says where a run lies",
    "device": "the CPU",
    "column": "belongs to a table, which no corpus here is",
    "glob": "belongs to a corpus that is a folder, and is drawn with it",
    "steps": "the budget, which each configuration has in steps or epochs",
    "epochs": "the budget, which each configuration has in steps or epochs",
}
"""Settings of `train` that are not drawn as the others are, and why."""

_VALUES: dict[str, Sequence[str]] = {
    "cell": NAMES, "num_layers": ("1", "2", "3"), "hidden_size": ("4", "7", "8", "16"), "embedding_size": ("3", "7",
    "8"),
    "chrono_range": ("3", "9", "40"), "spectral_radius": ("0.5", "1.2"), "init_gain": ("0.5", "1.5"),
    "mogrifier": ("1", "3", "4"), "mogrifier_rank": ("1", "3"), "encoding": ("utf-8", "latin-1", "utf-8-sig"),
    "batch_size": ("1", "2", "3", "5"), "bptt": ("3", "5", "12"), "learning_rate": ("0.0003", "0.002", "0.01"),
    "muon_ratio": ("0.1", "1"), "beta1": ("0", "0.8"), "beta2": ("0.9", "0.999"), "weight_decay": ("0", "0.1"),
    "clip_norm": ("0", "0.1", "5"), "warmup": ("0", "3", "20"), "average_after": ("1", "2"), "l2": ("0.0001", "0.01"),
    "activation_penalty": ("0.1", "2"), "temporal_penalty": ("0.1", "2"), "orthogonal_penalty": ("0.01", "0.1"),
    "jacobian_penalty": ("0.1", "0.5"), "validate_every": ("1", "2", "3", "5"), "sample_every": ("0", "1", "2", "3",
    "5"),
    "sample_length": ("1", "9", "30"), "log_every": ("1", "2", "3", "7"), "save_every": ("0", "0.01", "60"),
    "keep_every": ("1", "2", "3", "5"), "patience": ("1", "2", "3"), "accumulate": ("1", "2", "3"), "prime": ("",
    "a", "The "),
    "ensemble": ("2", "3"), "distill": ("0.2", "0.5"),
    "threads": ("1", "1", "2"), "validation": ("held.txt",), "seed": ("0", "1", "5", str(2**63 - 1)),
    "precision": ("auto", "fp32", "bf16"), "forget_bias": ("0", "2", "-1"), "gate_bias": ("-1", "1"),
    "validation_fraction": ("0", "0.05", "0.3"), "test_fraction": ("0", "0.2"),
    "documents": ("lines", "lines", r"split:\n", r"split:[ \n]+"),
}  # fmt: skip
"""Values of settings whose bounds alone would make a run long or wild."""
_NUMBERS = ("0", "0.1", "0.3", "0.5", "0.9", "1", "2", "3", "5")
_CORPORA = (
    ["text.txt"],
    ["text.txt"],
    ["text.txt.gz"],
    ["text.txt", "more.txt"],
    ["folder"],
    ["folder", "--glob", "*.md"],
)
_MOST_DRAWN = 14


@dataclass
class Configuration:
    """The words of a training, but for where it goes."""

    corpus: list[str]
    budget: list[str]
    options: dict[str, list[str]] = field(default_factory=dict)
    """The option's name -> its words."""

    def words(self) -> list[str]:
        """Returns all words."""
        return [*self.corpus, *self.budget, *(word for words in self.options.values() for word in words)]

    def without_one_of(self, message: str, draw: random.Random) -> None:
        """Leaves out one of the options that the message of an error names, or any where it names none."""
        named = [flag for flag in re.findall(r"--[a-z][a-z0-9-]*", message) if flag in self.options]
        chosen = [flag for flag in self.options if flag in named and flag not in _SIZES]
        if not (chosen := chosen or [flag for flag in self.options if flag not in _SIZES]):
            raise AssertionError(f"what is refused names no option that was drawn: {message}")
        del self.options[draw.choice(chosen)]


_SIZES = ("--hidden", "--embedding", "--layers", "--batch", "--bptt", "--threads")
"""Always given, since customary values would make a run long."""


def settings() -> Mapping[str, Setting]:
    """Every setting of `train` by its field's name, but for those left out."""
    return {
        name: declared for cls in GROUPS.values() for name, declared in settings_of(cls).items() if name not in LEFT_OUT
    }


def values(name: str, declared: Setting) -> list[list[str]]:
    """Returns the words for each value of a setting that may be drawn."""
    check = declared.check
    if check is FLAG:
        return [[word] for word in declared.flags[0].split("/")]
    if name in _VALUES:
        words: Sequence[str] = _VALUES[name]
    elif choices := get_args(check.kind):
        words = choices
    else:
        words = [word for word in _NUMBERS if _accepts(check.kind, check.accepts, word)]
    assert words, f"no value is known for {declared.flag}: say some in {__name__}"
    return [[declared.flag, word] for word in words]


def _accepts(kind: Any, accepts: Any, word: str) -> bool:
    try:
        return bool(accepts(kind(word)))
    except ValueError:
        return False


def drawn(draw: random.Random) -> Configuration:
    """Returns a configuration, which may contradict itself."""
    steps = (
        ["--steps", str(draw.randrange(2, 17))]
        if draw.random() < 0.7
        else ["--epochs", draw.choice(["0.1", "0.3", "0.5"])]
    )
    found = Configuration(list(draw.choice(_CORPORA)), steps)
    known = {declared.flag: values(name, declared) for name, declared in settings().items()}
    others = [flag for flag in known if flag not in _SIZES]
    for flag in (*_SIZES, *draw.sample(others, draw.randrange(2, _MOST_DRAWN))):
        found.options[flag] = draw.choice(known[flag])
    if draw.random() < 0.08:
        found.options["--preset"] = ["--preset", draw.choice(get_args(PresetName))]
    return found
