"""The names and types of the settings that Python functions take, for type checkers and editors.

Written by `python -m tests.kit.typed_settings` from the fields that declare the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from charrnn.settings import choices
from charrnn.settings.run import DivergencePolicy
from charrnn.settings.sampling import SeedWord, UnitName


class SamplingSettings(TypedDict, total=False):
    """The settings of sampling; each has a default."""

    length: int
    stop: str | Sequence[str] | None
    stop_at: UnitName | None
    repeat_until_stop: bool
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    repetition_window: int
    repetition_stretch: int
    logit_bias: Mapping[str, float] | Sequence[str] | None
    num_beams: int | None
    length_penalty: float
    seed: int | SeedWord


class ListSettings(SamplingSettings, total=False):
    """The settings of writing several samples; each has a default."""

    unique: bool
    novel: bool
    filter: str | None
    tries: int


class TrainingSettings(TypedDict, total=False):
    """The settings of training; each has a default, or one that the program chooses where it is None or absent."""

    cell: str
    num_layers: int | None
    hidden_size: int | None
    embedding_size: int | None
    dropout: float | None
    forget_bias: float
    init: choices.InitName
    init_gain: float
    chrono_range: int | None
    gate_bias: float | None
    spectral_radius: float | None
    tie: bool
    skip: choices.SkipName
    variational_dropout: float
    input_dropout: float | None
    output_dropout: float | None
    weight_drop: float
    embedding_dropout: float
    activation: choices.ActivationName
    forget_gate: bool
    peephole: bool
    coupled: choices.CouplingName
    reset_gate: choices.ResetGateName
    orthogonal: bool
    layer_norm: bool
    batch_norm: bool
    zoneout: float
    zoneout_cell: float
    recurrent_dropout: float
    multiplicative: bool
    mogrifier: int
    mogrifier_rank: int
    validation_fraction: float | None
    test_fraction: float
    held_out: choices.HeldOutName | None
    encoding: str
    encoding_errors: choices.DecodeErrors
    as_bytes: bool
    newlines: choices.Newlines
    normalize: choices.NormalForm
    lowercase: bool
    min_count: int
    documents: str
    column: str | None
    split_seed: int
    batch_size: int | None
    bptt: int | None
    random_bptt: bool
    state_reset: float
    learning_rate: float | None
    optimizer: choices.OptimizerName
    muon_ratio: float
    cautious: bool
    momentum: float
    beta1: float
    beta2: float
    cg_steps: int
    curvature_share: float
    damping: float
    structural_damping: float
    weight_decay: float | None
    clip_norm: float
    clip_loss: choices.ClipLossName
    warmup: int
    decay: choices.DecayName | None
    final_learning_rate: float
    average: float
    average_after: int | None
    average_from: float | None
    precision: choices.PrecisionName
    seed: int
    ensemble: int | None
    distill: float | None
    label_smoothing: float
    distill_weight: float
    activation_penalty: float
    temporal_penalty: float
    orthogonal_penalty: float
    l2: float
    freeze: choices.FreezeName
    jacobian_penalty: float
    epochs: float | None
    steps: int | None
    minutes: float | None
    validate_every: int | None
    sample_every: int | None
    sample_length: int
    sample_temperature: float
    prime: str
    log_every: int
    save_every: float
    keep_every: int | None
    patience: int | None
    accumulate: int
    on_divergence: DivergencePolicy
