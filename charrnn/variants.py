"""Settings in the words of the command line; and what makes a model another than the plain cell of its size.

Knows configurations. Refuses to know what they mean.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from charrnn.cell_variants import VARIANTS
from charrnn.config import OPTIONS, ModelConfig

_SIZES = frozenset({"cell", "num_layers", "hidden_size", "embedding_size", "dropout", *VARIANTS})
"""Shown elsewhere: sizes, and what makes the cell (`cells.registry.describe`)."""


def variants(model: ModelConfig) -> str:
    """Every setting beside the sizes that is not the default, as `--tie --skip sum`; empty for a plain model."""
    said = []
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name not in _SIZES and value != field.default:
            said.append(spelled(field.name, value))
    return " ".join(said)


def spelled(name: str, value: Any) -> str:
    """Field `name` as its option, such as `--lr 0.002` or `--no-cautious`."""
    if isinstance(value, bool):
        return OPTIONS[name] if value else OPTIONS[name].replace("--", "--no-", 1)
    return f"{OPTIONS[name]} {f'{value:g}' if isinstance(value, float) else value}"
