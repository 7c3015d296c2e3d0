"""How a model is shown in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.python.pretrained import Pretrained


def as_line(model: Pretrained, place: str) -> str:
    """Returns what a model is, in a line; `place` says where it lies."""
    from charrnn.display.safe import visible

    checkpoint, bpc = model.checkpoint, model.best_bpc
    parts = [
        f"{checkpoint.shape_in_words} on {checkpoint.corpus['name']}",
        "" if bpc is None else f"{bpc:.3f} bpc",
        place,
    ]
    return visible(f"<charrnn {', '.join(filter(None, parts))}>", kept="")


def as_table(model: Pretrained, place: str) -> str:
    """Returns a small table, as HTML; `place` says where the model lies."""
    from charrnn.display.notebook import table

    bpc = model.best_bpc
    progress, corpus = model.checkpoint.progress, model.checkpoint.corpus
    rows = {
        "model": f"{model.checkpoint.shape_in_words}, embedding {model.config.embedding_size}",
        "parameters": f"{model.num_parameters:,}",
        "corpus": f"{corpus['name']}: {corpus['characters']:,} characters, {len(model.vocabulary):,} different",
        "best": "nothing was held out" if bpc is None else f"{bpc:.4f} bpc at step {progress['best_step']:,}",
        "path": place,
    }
    return table({name: value for name, value in rows.items() if value})
