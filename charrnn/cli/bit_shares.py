"""`charrnn eval --errors`: where the bits go, and what might have prevented the model's errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.wording import count, shortened

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.details import TrainingPart
    from charrnn.evaluation.breakdown import Group
    from charrnn.evaluation.itemised import Itemised
    from charrnn.evaluation.report import ForeignText
    from charrnn.settings.choices import UnknownPolicy

_TITLES = {
    "by_class": "kind of character",
    "by_place_in_word": "letter of the word",
    "by_occurrence": "times the word has occurred",
    "by_context": "characters read before",
}
_SHOWN = 90
"""Characters of a line that are shown."""


def measured(
    items: Itemised, text: ForeignText, loaded: Checkpoint, part: TrainingPart | None, unknown: UnknownPolicy
) -> dict[str, Any]:
    """Returns the shares of the bits, the errors and the dearest lines, ready for JSON."""
    from charrnn.cli.lines import as_numbers
    from charrnn.display.progress import WorkDisplay
    from charrnn.evaluation.breakdown import by_class, by_context, by_occurrence, by_place_in_word, dearest
    from charrnn.evaluation.error_pie import Training, error_pie
    from charrnn.evaluation.itemised import text_of
    from charrnn.evaluation.ngram import MOST_TRAINING
    from charrnn.evaluation.report import ForeignText
    from charrnn.evaluation.words import spans

    words = spans(items.text)
    groups = {
        "by_class": by_class(items),
        "by_place_in_word": by_place_in_word(items, words),
        "by_occurrence": by_occurrence(items, words),
        "by_context": by_context(items),
    }
    training = None
    if part is not None:
        known = ForeignText.of(part.corpus, loaded, "train", unknown)
        training = Training(known.ids, text_of(part.ids[-MOST_TRAINING:], part.corpus.vocabulary))
    with WorkDisplay() as bar:
        pie = error_pie(
            items, words, text.ids, len(loaded.vocabulary), training,
            lambda done, total: bar("counting n-grams", done, total),
        )  # fmt: skip
    total, errors = items.total, sum(slice_.characters for slice_ in pie)
    return {
        **{name: [_numbers(group, total) for group in found] for name, found in groups.items()},
        "pie": {
            "errors": errors,
            "characters": items.characters,
            "has_training_text": training is not None,
            "slices": [
                {"name": group.name, "errors": group.characters, "share": group.characters / errors, "nats": group.nats}
                for group in pie
            ],
        },
        "dearest_lines": as_numbers(dearest(items)),
    }


def _numbers(group: Group, total: float) -> dict[str, Any]:
    return {
        "name": group.name,
        "characters": group.characters,
        "nats": group.nats,
        "bits_per_character": group.bits_per_character,
        "share": group.nats / total if total else 0.0,
    }


def show(result: Mapping[str, Any]) -> None:
    """Prints a table for each breakdown, the errors and the dearest lines."""
    from charrnn.cli.output import print_pieces
    from charrnn.display.safe import visible
    from charrnn.display.table import Columns, Row

    for name, title in _TITLES.items():
        groups: Sequence[Mapping[str, Any]] = result[name]
        # In one stream few characters have little before them.
        if name == "by_context" and groups[0]["characters"] == 1:
            continue
        rows = [
            Row(
                (
                    group["name"],
                    f"{group['characters']:,}",
                    f"{group['bits_per_character']:.4f}",
                    f"{100 * group['share']:.1f} %",
                )
            )
            for group in groups
        ]
        print_pieces(["", Columns((title, "characters", "bpc", "share of the bits"), rows, (0,))])
    pie = result["pie"]
    if pie["errors"]:
        share = 100 * pie["errors"] / pie["characters"]
        print(f"\n{count(pie['errors'], 'error')}, characters with a probability below 1/2: {share:.1f} % of all.")
        rows = [
            Row((one["name"], f"{one['errors']:,}", f"{100 * one['share']:.1f} %", f"{one['nats'] / math.log(2):,.0f}"))
            for one in pie["slices"]
        ]
        print_pieces([Columns(("prevented by", "errors", "share", "bits"), rows, (0,))])
        if not pie["has_training_text"]:
            print("Without the training text n-grams and rare words are not told apart: --split validation has both.")
    if result["dearest_lines"]:
        print("\nThe dearest lines, in bits per character:")
        for line in result["dearest_lines"]:
            text = visible(shortened(line["text"], _SHOWN), kept="")
            print(f"{line['bits_per_character']:7.4f}  line {line['line']:,}: {text}")
