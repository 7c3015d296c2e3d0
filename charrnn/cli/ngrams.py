"""`charrnn eval --ngrams 9`: beside the model, what counting achieves on the same text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from charrnn.errors import UsageError
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.settings.choices import UnknownPolicy
    from charrnn.text.corpus import Corpus


def check(*, longest: int | None, split: str, is_streamed: bool) -> None:
    """Raises UsageError where there is no training part to count, or another protocol than theirs."""
    if longest is None:
        return
    if split not in ("validation", "test"):
        raise UsageError("--ngrams are counted on the training part of the text", "add --split validation or test")
    if not is_streamed:
        raise UsageError("--ngrams are scored in one stream", "leave --protocol out")


def score(corpus: Corpus, loaded: Checkpoint, split: Any, unknown: UnknownPolicy, longest: int) -> list[dict[str, Any]]:
    """Returns for each length of the context what a character of the split costs.

    Characters the model does not know are left out of the training part and of the split.
    """
    from charrnn.display.progress import WorkDisplay
    from charrnn.evaluation.ngram import ngram_nats
    from charrnn.evaluation.report import ForeignText

    training, text = (ForeignText.of(corpus, loaded, part, unknown).ids for part in ("train", split))
    with WorkDisplay() as work:
        found = ngram_nats(
            training, text, len(loaded.vocabulary), longest, lambda done, total: work("counting", done, total)
        )
    return [
        {"context": context, "nats_per_character": nats, "bits_per_character": nats / math.log(2)}
        for context, nats in enumerate(found)
    ]


def show(result: dict[str, Any]) -> None:
    """Prints the best of the n-gram models that were scored."""
    best = min(result["ngrams"], key=lambda one: float(one["nats_per_character"]))
    length = count(best["context"], "character")
    which = f"{length} of context, the best of 0 to {result['ngrams'][-1]['context']}"
    print(f"n-grams: {figures(best)} with {which}")


def figures(found: dict[str, Any]) -> str:
    """Returns what a character costs in words: bits, and the nats they are computed from."""
    return f"{found['bits_per_character']:.4f} bits per character ({found['nats_per_character']:.4f} nats)"
