"""`charrnn eval TEXT -c A -c B`: several models on the same text, and by how many bits a character each differs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import TextError, UsageError, WeightsTooLarge

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.evaluation.report import ForeignText, Static
    from charrnn.neurons.statistics import Doubles
    from charrnn.settings.config import DataConfig

_READING = {"as_bytes": "--bytes", "encoding": "--encoding", "encoding_errors": "--encoding-errors",
            "newlines": "--newlines", "normalize": "--normalize", "lowercase": "--lowercase",
            "documents": "--documents", "column": "--column"}  # fmt: skip
"""The settings on which depends what the characters of a text are, and their options."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more a model needs than the first one, in bits per character; negative where it needs less."""

    bits: float
    low: float | None
    high: float | None
    """The ends of the 95 % interval over the text; None where the difference changes too slowly for it to tell."""

    def sentence(self, name: str, first: str, characters: int) -> str:
        """Returns the difference in words."""
        from charrnn.wording import count

        over = f"over {count(characters, 'character')}"
        less = "less" if self.bits < 0 else "more"
        begin = f"{name} needs {abs(self.bits):.4f} bits per character {less} than {first}"
        if self.low is None or self.high is None:
            return f"{begin}, {over}: the text is too short to say how sure that is"
        ends = (-self.high, -self.low) if self.bits < 0 else (self.low, self.high)
        if self.low <= 0 <= self.high and self.low != self.high:
            between = f"95 %: {-self.low:.4f} less to {self.high:.4f} more"
            return f"{begin} ({between}), {over}: no clear difference"
        return f"{begin} (95 %: {ends[0]:.4f} to {ends[1]:.4f}), {over}"


def check(checkpoints: Sequence[Path], given: dict[str, bool]) -> None:
    """Raises UsageError where one model is named twice, or what was given is about more than the static score."""
    seen: set[str] = set()
    for path in checkpoints:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(f"-c names {path} twice", "name two different checkpoints, or this one once")
        seen.add(real)
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(
                f"several checkpoints are compared by their static scores, and {flag} does not go with that",
                f"leave {flag} out, or name one checkpoint",
            )


def check_reading(names: Sequence[str], loaded: Sequence[Checkpoint], overridden: set[str]) -> None:
    """Raises TextError where two models read the same file as different characters.

    `overridden` are the settings for which all models get the user's value.
    """
    first = loaded[0].data
    for name, other in zip(names[1:], loaded[1:], strict=True):
        if first.as_bytes != other.data.as_bytes:
            kinds = ("bytes", "characters") if first.as_bytes else ("characters", "bytes")
            raise TextError(
                f"{names[0]} reads {kinds[0]} and {name} reads {kinds[1]}, which are not counted alike",
                "score each by itself, and compare the bits per byte",
            )
        for setting, flag in _READING.items():
            if getattr(first, setting) != getattr(other.data, setting) and setting not in overridden:
                these, those = (_given(each, setting, flag) for each in (first, other.data))
                raise TextError(
                    f"{names[0]} reads texts with {these} and {name} with {those}",
                    "compare models that read the same characters",
                )


def _given(data: DataConfig, setting: str, flag: str) -> str:
    """Returns a setting as it is given; documents that are the rows of a table are given by its column."""
    if setting == "documents" and data.column is not None:
        return f"--column {data.column}"
    return f"{flag} {getattr(data, setting)}"


def check_same(names: Sequence[str], texts: Sequence[ForeignText]) -> None:
    """Raises TextError where two models would not be scored on the same characters."""
    from charrnn.text.stored import are_equal

    for name, text in zip(names[1:], texts[1:], strict=True):
        if text.unknown != texts[0].unknown or not are_equal(text.originals, texts[0].originals):
            raise TextError(
                f"{names[0]} and {name} do not score the same characters: they leave out different ones that they do "
                "not know, or their runs cut the text differently",
                "compare them on a text that both know, without --split",
            )


def score(
    loaded: Sequence[Checkpoint], texts: Sequence[ForeignText], names: Sequence[str], how: Static, progress: Any
) -> tuple[list[dict[str, Any]], list[Difference]]:
    """Returns the figures of each model, and the difference of each but the first from the first."""
    import numpy as np

    from charrnn.evaluation.report import static_figures

    figures: list[dict[str, Any]] = []
    differences: list[Difference] = []
    first: Doubles | None = None
    for checkpoint, text, name in zip(loaded, texts, names, strict=True):
        losses = np.zeros(max(0, len(text.ids) - 1), np.float32)
        figures.append(static_figures(how.model(checkpoint), text, how, progress, losses=losses))
        if not math.isfinite(figures[-1]["nats_per_character"]):
            raise WeightsTooLarge(f"the score of {name} is")
        nats = losses.astype(np.float64)
        if first is None:
            first = nats
        else:
            differences.append(_difference(figures[0], figures[-1], nats - first))
    return figures, differences


def _difference(first: dict[str, Any], other: dict[str, Any], nats: Doubles) -> Difference:
    """Returns the difference from the nats that each character costs more."""
    from charrnn.neurons.statistics import mean_interval

    bits = other["bits_per_character"] - first["bits_per_character"]
    if not len(nats):
        return Difference(bits, bits, bits)
    # Characters that are counted without being scored one by one, such as unknown ones, cost both the same.
    scale = len(nats) / (other["characters"] * math.log(2))
    ends = mean_interval(nats)
    return Difference(bits, ends[0] * scale, ends[1] * scale) if ends else Difference(bits, None, None)


def show(
    names: Sequence[str], figures: Sequence[dict[str, Any]], differences: Sequence[Difference], *, as_json: bool
) -> None:
    """Prints a table of the models, and a sentence for each difference; or all of it as JSON."""
    if as_json:
        compared = [
            {"checkpoint": name, "than": names[0], "bits_per_character": one.bits, "low": one.low, "high": one.high}
            for name, one in zip(names[1:], differences, strict=True)
        ]
        models = [{"checkpoint": name, **each} for name, each in zip(names, figures, strict=True)]
        print(json.dumps({"models": models, "differences": compared}))
        return
    from charrnn.cli.output import print_pieces
    from charrnn.display.safe import visible
    from charrnn.display.table import Columns, Row

    shown = [visible(name, kept="") for name in names]
    rows = [
        Row((name, *(f"{each[key]:.4f}" for key in ("bits_per_character", "bits_per_byte", "perplexity"))))
        for name, each in zip(shown, figures, strict=True)
    ]
    print_pieces([Columns(("model", "bpc", "bits/byte", "perplexity"), rows, (0,))])
    for name, one in zip(shown[1:], differences, strict=True):
        print(one.sentence(name, shown[0], figures[0]["characters"]))
    if unknown := figures[0]["unknown_characters"]:
        print(f"of which {unknown:,} are unknown to each model and charged 20.1 bits each")
    if figures[0]["protocol"] == "windowed":
        print(f"in {figures[0]['windows']:,} windows of {figures[0]['context']:,}, each from the zero state")
