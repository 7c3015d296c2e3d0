"""Every setting that changes what a step of training computes, with a value that turns it on.

What can be said of each step (that it can be recorded, that it runs on a GPU) is tested for each of these. A setting
that is in neither of the tables fails a test: `tests/network/test_recorded.py`.
"""

from __future__ import annotations

from typing import Any, get_args

from charrnn.settings.choices import SEARCHING, OptimizerName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.recipe import completed_training

T, B, V = 6, 4, 11
"""Window, lanes and characters of the steps that tests make."""

CELLS = ("lstm", "gru", "rnn", "urnn")
OPTIMIZERS = tuple(name for name in get_args(OptimizerName) if name not in SEARCHING)
"""Those whose steps can be made without the host; the others are tested in `training/test_hessian_free.py`."""

OPTIONS: tuple[dict[str, Any], ...] = (
    {"optimizer": "adamw", "cautious": False},
    {"optimizer": "muon", "cautious": False},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "rmsprop", "momentum": 0.0},
    {"clip_norm": 0.0},
    {"clip_loss": "sum"},
    {"average": 0.0},
    {"average": 0.0, "average_after": 3},
    {"average": 0.0, "average_from": 0.5},
    {"dropout": 0.3},
    {"state_reset": 0.3},
    {"variational_dropout": 0.3},
    {"input_dropout": 0.3},
    {"output_dropout": 0.3},
    {"weight_drop": 0.4},
    {"embedding_dropout": 0.3},
    {"tie": True, "embedding_size": 10},
    {"skip": "residual"},
    {"skip": "dense"},
    {"skip": "sum"},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "rnn", "activation": "modrelu"},
    {"forget_gate": False},
    {"peephole": True},
    {"coupled": "tied"},
    {"coupled": "min"},
    {"cell": "gru", "reset_gate": "before"},
    {"orthogonal": True},
    {"cell": "gru", "orthogonal": True},
    {"cell": "rnn", "orthogonal": True, "activation": "modrelu"},
    {"layer_norm": True},
    {"cell": "gru", "layer_norm": True},
    {"cell": "rnn", "layer_norm": True},
    {"batch_norm": True},
    {"cell": "gru", "batch_norm": True},
    {"cell": "rnn", "batch_norm": True},
    {"zoneout": 0.2},
    {"zoneout_cell": 0.3},
    {"cell": "gru", "zoneout": 0.2},
    {"recurrent_dropout": 0.3},
    {"cell": "gru", "recurrent_dropout": 0.3},
    {"multiplicative": True},
    {"mogrifier": 3},
    {"mogrifier": 3, "mogrifier_rank": 2},
    {"activation_penalty": 2.0},
    {"temporal_penalty": 1.0},
    {"orthogonal_penalty": 0.01},
    {"l2": 0.01},
    {"label_smoothing": 0.1},
    {"cell": "rnn", "jacobian_penalty": 0.5},
    {"cell": "rnn", "jacobian_penalty": 0.5, "activation": "relu", "weight_drop": 0.4},
    {"freeze": "recurrent"},
    {"freeze": "echo"},
    {"freeze": "recurrent", "batch_norm": True},
)

ELSEWHERE = {
    "cell": "each of `CELLS` is tested with each of `OPTIMIZERS`",
    "optimizer": "each of `OPTIMIZERS` is tested with each of `CELLS`",
    "num_layers": "two in every test",
    "hidden_size": "a size",
    "batch_size": "a size",
    "bptt": "a size",
    "random_bptt": "its steps are not recorded, since a graph has one shape",
    "forget_bias": "decides on initial values alone",
    "init": "decides on initial values alone",
    "init_gain": "decides on initial values alone",
    "chrono_range": "decides on initial values alone",
    "gate_bias": "decides on initial values alone",
    "spectral_radius": "decides on initial values alone",
    "seed": "decides on initial values and on the generator's state",
    "learning_rate": "a number that a step is given",
    "warmup": "decides on the number that a step is given",
    "decay": "decides on the number that a step is given",
    "final_learning_rate": "decides on the number that a step is given",
    "muon_ratio": "a number in a product",
    "beta1": "a number in a product",
    "beta2": "a number in a product",
    "weight_decay": "a number in a product",
    "ensemble": "one model after the other, each with steps of its own",
    "distill": "a model of its own, with a teacher: `test_a_step_with_a_teacher_is_recorded`",
    "distill_weight": "a number in a product, of what a teacher says: `test_a_step_with_a_teacher_is_recorded`",
    "cg_steps": "of steps that the host searches for",
    "curvature_share": "of steps that the host searches for",
    "damping": "of steps that the host searches for",
    "structural_damping": "of steps that the host searches for",
    "precision": "kernels of other number formats, in the same order",
}
"""Settings that are in no line of `OPTIONS`, and why."""


def configured(settings: dict[str, Any], *, lanes: int = B) -> tuple[ModelConfig, TrainingConfig]:
    """Small configurations with these settings: two layers of 10 units, on an embedding of 7 unless it is said."""
    own = ModelConfig.__dataclass_fields__
    model = {"num_layers": 2, "hidden_size": 10, "embedding_size": 7}
    model |= {name: value for name, value in settings.items() if name in own}
    rest = {name: value for name, value in settings.items() if name not in own}
    training = completed_training({"batch_size": lanes, "bptt": T, "precision": "fp32", "state_reset": 0.0, **rest})
    return ModelConfig(**model), TrainingConfig(**training)  # type: ignore[arg-type]
