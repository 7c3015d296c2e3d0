"""What makes a model another than the plain cell of its size, in the words of the command line.

Knows configurations. Refuses to know what they mean.
"""

from __future__ import annotations

from dataclasses import fields

from charrnn.config import OPTIONS, ModelConfig

_SIZES = frozenset({"cell", "num_layers", "hidden_size", "embedding_size", "dropout"})
"""Shown elsewhere."""


def variants(model: ModelConfig) -> str:
    """Every setting beside the sizes that is not the default, as `--tie --skip sum`; empty for a plain model."""
    said = []
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name not in _SIZES and value != field.default:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            said.append(OPTIONS[field.name] + ("" if value is True else f" {shown}"))
    return " ".join(said)
