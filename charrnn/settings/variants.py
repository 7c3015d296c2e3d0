"""Settings in the words of the command line; and what makes a model another than the plain cell of its size.

Knows configurations. Refuses to know what they mean.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from charrnn.settings.config import ModelConfig

VARIANTS = {
    "activation": "--activation",
    "forget_gate": "--forget-gate",
    "peephole": "--peephole",
    "coupled": "--coupled",
    "orthogonal": "--orthogonal",
    "layer_norm": "--layer-norm",
    "batch_norm": "--batch-norm",
    "zoneout": "--zoneout",
    "zoneout_cell": "--zoneout-cell",
    "recurrent_dropout": "--recurrent-dropout",
    "multiplicative": "--multiplicative",
    "mogrifier": "--mogrifier",
    "mogrifier_rank": "--mogrifier-rank",
}
"""Settings that make the cell another one: field -> option."""
OPTIONS = {
    "cell": "--cell",
    "num_layers": "--layers",
    "hidden_size": "--hidden",
    "embedding_size": "--embedding",
    "dropout": "--dropout",
    "forget_bias": "--forget-bias",
    **VARIANTS,
    "encoding": "--encoding",
    "encoding_errors": "--encoding-errors",
    "as_bytes": "--bytes",
    "newlines": "--newlines",
    "validation_fraction": "--validation-fraction",
    "test_fraction": "--test-fraction",
    "batch_size": "--batch",
    "bptt": "--bptt",
    "random_bptt": "--random-bptt",
    "state_reset": "--state-reset",
    "optimizer": "--optimizer",
    "learning_rate": "--lr",
    "muon_ratio": "--muon-ratio",
    "cautious": "--cautious",
    "momentum": "--momentum",
    "beta1": "--beta1",
    "beta2": "--beta2",
    "weight_decay": "--weight-decay",
    "clip_norm": "--clip",
    "clip_loss": "--clip-loss",
    "warmup": "--warmup",
    "decay": "--decay",
    "final_learning_rate": "--final-lr",
    "average": "--average",
    "average_after": "--average-after",
    "average_from": "--average-from",
    "precision": "--precision",
    "seed": "--seed",
    "init": "--init",
    "init_gain": "--init-gain",
    "chrono_range": "--chrono-range",
    "gate_bias": "--gate-bias",
    "spectral_radius": "--spectral-radius",
    "tie": "--tie",
    "skip": "--skip",
    "variational_dropout": "--variational-dropout",
    "input_dropout": "--input-dropout",
    "output_dropout": "--output-dropout",
    "weight_drop": "--weight-drop",
    "embedding_dropout": "--embedding-dropout",
    "activation_penalty": "--activation-penalty",
    "temporal_penalty": "--temporal-penalty",
    "orthogonal_penalty": "--orthogonal-penalty",
    "l2": "--l2",
    "freeze": "--freeze",
    "jacobian_penalty": "--jacobian-penalty",
}
"""The command line's name for each field whose value decides what a run learns."""

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
