"""How a model is shown in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.cells.registry import describe

if TYPE_CHECKING:
    from charrnn.python.pretrained import Pretrained


def as_table(model: Pretrained, place: str) -> str:
    """Returns a small table, as HTML; `place` says where the model lies."""
    from charrnn.display.notebook import table

    config, bpc = model.config, model.best_bpc
    progress, corpus = model.checkpoint.progress, model.checkpoint.corpus
    rows = {
        "model": f"{describe(config)}, {config.num_layers} x {config.hidden_size}, embedding {config.embedding_size}",
        "parameters": f"{model.num_parameters:,}",
        "corpus": f"{corpus['name']}: {corpus['characters']:,} characters, {len(model.vocabulary):,} different",
        "best": "nothing was held out" if bpc is None else f"{bpc:.4f} bpc at step {progress['best_step']:,}",
        "path": place,
    }
    return table({name: value for name, value in rows.items() if value})
