"""Estimates the memory that training a model needs, before anything is built."""

from __future__ import annotations

import math

from charrnn.cells.parameters import is_trained, parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.settings.choices import SEARCHING
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.kept_steps import kept_steps
from charrnn.training.schedule import longest_window

_LOOPED = 3
# What a pass keeps to be differentiated twice: measured as resident memory, for an rnn, a gru and an lstm.
_TWICE_A_UNIT, _TWICE_AN_ACTIVATION, _TWICE_A_LOGIT = 10, 5, 5
_VECTORS = 8  # of a search by conjugate gradients, beside the iterates it keeps


def training_memory(
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary_size: int,
    *,
    kept: int,
    precision: str = "fp32",
    parts: int = 1,
    is_taught: bool = False,
    is_looped: bool = False,
) -> int:
    """Returns the bytes that training holds at the least: weights, gradients and moments, and a window's activations.

    An activation is kept for each state and gate of each unit, and twice for each logit (itself and its gradient), or
    four times where it `is_taught` (with what the teacher says, and what is to be learned). Where torch runs the cell
    step by step (`is_looped`), it keeps what comes between them, too.
    `kept` is how many arrays of a weight's size the optimizer keeps for each; `parts` is in how many the
    lanes are computed one after the other, or by processes of their own.
    """
    sizes = {name: math.prod(shape) for name, shape in parameter_shapes(model, vocabulary_size).items()}
    moved = sum(size for name, size in sizes.items() if is_trained(name, training.freeze))
    cell = make_cell(model)
    activated = len(cell.state_names) + len(cell.gate_names)
    if is_looped:
        activated *= _LOOPED
    if training.freeze == "echo":
        activated = 1  # what the decoder reads
    units = (2 if precision == "fp16" else 4) * model.num_layers * model.hidden_size * activated
    lanes = -(-training.batch_size // parts)
    activations = (units + 4 * (4 if is_taught else 2) * vocabulary_size) * lanes * longest_window(training)
    if training.optimizer in SEARCHING:
        kept += _VECTORS + len(kept_steps(training.cg_steps))
        activations = max(activations, _curvature_memory(model, training, vocabulary_size, parts))
    return 4 * (sum(sizes.values()) + moved * (1 + kept)) + activations


def _curvature_memory(model: ModelConfig, training: TrainingConfig, vocabulary_size: int, parts: int) -> int:
    """Returns the bytes of a pass that can be differentiated twice, over some of the lanes."""
    cell = make_cell(model)
    unit = _TWICE_A_UNIT + _TWICE_AN_ACTIVATION * (len(cell.state_names) + len(cell.gate_names))
    if training.freeze == "echo":
        unit = 1
    lanes = -(-math.ceil(training.curvature_share * training.batch_size) // parts)
    places = lanes * longest_window(training)
    return 4 * (unit * model.num_layers * model.hidden_size + _TWICE_A_LOGIT * vocabulary_size) * places
