"""`charrnn eval --compressors`: what general compressors need for the same characters, with a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.details import TrainingPart
    from charrnn.evaluation.itemised import Itemised


def measured(
    items: Itemised, figures: Mapping[str, Any], loaded: Checkpoint, part: TrainingPart | None
) -> dict[str, Any]:
    """Returns the bits per character of each compressor on the text that `figures` are about, and a verdict, ready for
    JSON."""
    from charrnn.display.progress import WorkDisplay
    from charrnn.evaluation.compressors import MOST_TRAINING, compressed
    from charrnn.evaluation.itemised import text_of

    first = 0 if items.is_scored[:1].all() else 1
    raw = _bytes(items.text[first:], items.kind)
    training = None if part is None else _bytes(text_of(part.ids[-MOST_TRAINING:], part.corpus.vocabulary), items.kind)
    with WorkDisplay() as bar:
        found = compressed(raw, training, lambda name: bar(f"compressing ({name})", 0, 1))
    characters = len(items.text) - first

    def bits(size: int | None) -> float | None:
        return None if size is None else 8 * size / characters

    listed = [
        {
            "name": one.name,
            "bytes": one.alone,
            "bits_per_character": bits(one.alone),
            "after_training_bytes": one.after_training,
            "after_training_bits_per_character": bits(one.after_training),
        }
        for one in found
    ]
    return {
        "compressors": listed,
        "characters": characters,
        "model_bytes": sum(array.nbytes for array in loaded.parameters.values()),
        "verdict": _verdict(figures["bits_per_character"], listed),
    }


def _bytes(text: str, kind: str) -> bytes:
    return text.encode("latin-1") if kind == "bytes" else text.encode("utf-8", "surrogatepass")


def _verdict(model: float, listed: list[dict[str, Any]]) -> str:
    """Returns in a sentence how the model compares with the best of the compressors."""
    rows = [(one["bits_per_character"], one["name"]) for one in listed]
    rows += [
        (bits, f"{one['name']} after the training text")
        for one in listed
        if (bits := one["after_training_bits_per_character"]) is not None
    ]
    bits, name = min(rows)
    less = "less" if model < bits else "more"
    verdict = (
        f"The model needs {abs(bits - model):.4f} bits per character {less} than the best of them, {name} "
        f"({model:.4f} and {bits:.4f})."
    )
    if model < bits:
        return verdict
    if model < min(one["bits_per_character"] for one in listed):
        return f"{verdict} It has learned less from the training text than a general compressor finds in it."
    return f"{verdict} It knows less of such text than a general compressor finds out by itself."


def show(result: Mapping[str, Any]) -> None:
    """Prints a table of the compressors, the verdict, and what is compared with what."""
    from charrnn.cli.output import print_pieces
    from charrnn.display.table import Columns, Row

    def cell(bits: float | None) -> str:
        return "" if bits is None else f"{bits:.4f}"

    rows = [
        Row((one["name"], cell(one["bits_per_character"]), cell(one["after_training_bits_per_character"])))
        for one in result["compressors"]
    ]
    print()
    print_pieces([Columns(("compressor", "bpc alone", "after the training text"), rows, (0,))])
    print(result["verdict"])
    print(
        f"A compressor carries no model: the model's {result['model_bytes']:,} bytes of weights are not counted in its "
        "score."
    )
