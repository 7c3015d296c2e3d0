"""What `charrnn eval` tells beside the static score: each line, where the bits go, and what compressors achieve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charrnn.errors import TextError, UsageError
from charrnn.settings.checks import FLAG, one_of
from charrnn.settings.fields import Record, setting

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.evaluation.itemised import Itemised
    from charrnn.evaluation.report import ForeignText, Static
    from charrnn.settings.choices import SplitName, UnknownPolicy
    from charrnn.text.corpus import Corpus
    from charrnn.text.stored import TextIds

LineOrder = Literal["text", "dearest", "cheapest"]
_option = partial(setting, panel="Beside the score")


@dataclass(frozen=True, kw_only=True, slots=True)
class Details(Record):
    """What is told beside the score."""

    lines: bool = _option(False, FLAG, "--lines", level="everyday")
    """Show what each line costs."""
    sort: LineOrder = _option("text", one_of(LineOrder), "--sort")
    """The order of --lines: that of the text, or by bits per character, the dearest or the cheapest first."""
    errors: bool = _option(False, FLAG, "--errors", level="everyday")
    """Show where the bits go, and the kinds of errors."""
    compressors: bool = _option(False, FLAG, "--compressors")
    """Show what general compressors need for the same characters."""

    def flags(self) -> dict[str, bool]:
        """Returns whether each option was given."""
        return {
            "--lines": self.lines,
            "--sort": self.sort != "text",
            "--errors": self.errors,
            "--compressors": self.compressors,
        }

    @property
    def are_asked_for(self) -> bool:
        """Whether anything is."""
        return self.lines or self.errors or self.compressors

    def check(self, *, protocol: str, is_plain: bool) -> None:
        """Raises UsageError where options do not go together. `is_plain` tells whether the score is the static one."""
        if self.sort != "text" and not self.lines:
            raise UsageError("--sort is for --lines", "add --lines, or leave --sort out")
        asked = self.flags() | {"--protocol lines": protocol == "lines"}
        for flag, is_given in asked.items():
            if is_given and not is_plain:
                raise UsageError(
                    f"{flag} is about the static score at temperature 1",
                    f"leave {flag} out, or --dynamic, --tune and --temperature",
                )


@dataclass(frozen=True, slots=True)
class Scored:
    """A text, its figures, and what is needed to tell more of it."""

    corpus: Corpus
    text: ForeignText
    result: dict[str, Any]
    items: Itemised | None
    """What each character costs; None where nobody asks."""


def scored(
    asked: Details, loaded: Checkpoint, corpus: Corpus, text: ForeignText, how: Static, protocol: str, bar: Any
) -> Scored:
    """Scores a text, and keeps what each character costs where that is asked for."""
    import numpy as np

    from charrnn.evaluation.itemised import itemised
    from charrnn.evaluation.report import NATS_PER_UNKNOWN, static_figures

    losses, model = None, how.model(loaded)
    if protocol == "lines":
        from charrnn.evaluation.by_lines import figures_by_lines

        if getattr(loaded.vocabulary, "end", None) is not None:
            raise TextError("each document stands by itself for this model anyway", "leave --protocol lines out")
        result, losses = figures_by_lines(model, text, corpus.vocabulary, how, bar)
    else:
        if asked.are_asked_for:
            losses = np.zeros(max(0, len(text.ids) - 1), np.float32)
        result = static_figures(model, text, how, bar, losses=losses)
    items = None
    if losses is not None and asked.are_asked_for:
        items = itemised(
            text, losses, corpus.vocabulary, unknown_nats=NATS_PER_UNKNOWN, context=how.context,
            reads_lines=protocol == "lines",
        )  # fmt: skip
    return Scored(corpus, text, result, items)


def add(
    asked: Details, found: Scored, path: Path, loaded: Checkpoint, split: SplitName, unknown: UnknownPolicy
) -> None:
    """Adds to the figures what is asked for beside them, ready for JSON; `path` is the checkpoint's."""
    if (items := found.items) is None:
        return
    if asked.lines:
        from charrnn.cli.lines import listed

        found.result["lines"] = listed(items, asked.sort)
    if not (asked.errors or asked.compressors):
        return
    part = _training_part(found.corpus, split, path, loaded)
    if asked.errors:
        from charrnn.cli.bit_shares import measured

        found.result["errors"] = measured(items, found.text, loaded, part, unknown)
    if asked.compressors:
        from charrnn.cli.compressors import measured as compressed

        found.result["compressors"] = compressed(items, found.result, loaded, part)


def show(result: dict[str, Any]) -> None:
    """Prints what was found beside the figures."""
    if "compressors" in result:
        from charrnn.cli.compressors import show as show_compressors

        show_compressors(result["compressors"])
    if "errors" in result:
        from charrnn.cli.bit_shares import show as show_errors

        show_errors(result["errors"])
    if "lines" in result:
        from charrnn.cli.lines import show as show_lines

        show_lines(result["lines"])


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """The text that a model was trained on."""

    corpus: Corpus
    ids: TextIds


def _training_part(corpus: Corpus, split: SplitName, path: Path, loaded: Checkpoint) -> TrainingPart | None:
    """Returns the text that goes with the model, None where it is not to be had, or is what is scored itself.

    It is the training part of the scored text, where that is cut, or else of the run's own.
    """
    from charrnn.checkpoints.lineage import parts_as
    from charrnn.cli.own_text import own_text_if_there

    if split in ("validation", "test"):
        return TrainingPart(corpus, parts_as(loaded, corpus).part("train"))
    if corpus.sha256 == loaded.corpus["sha256"]:
        return None
    own = own_text_if_there(path, loaded)
    return None if own is None else TrainingPart(own, parts_as(loaded, own).part("train"))
