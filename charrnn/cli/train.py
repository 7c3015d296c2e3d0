"""`charrnn train`: its options, and the request they make.

Imports nothing heavy: this is read for `--help` too. What becomes of a request is `training`'s business.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import DEVICE, THREADS, setting, switch
from charrnn.settings.choices import (
    ActivationName,
    CellName,
    ClipLossName,
    CouplingName,
    DecayName,
    DecodeErrors,
    DeviceName,
    FreezeName,
    InitName,
    Newlines,
    OptimizerName,
    PrecisionName,
    SkipName,
)
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.presets import PresetName
from charrnn.settings.run import DivergencePolicy, RunConfig

if TYPE_CHECKING:
    from charrnn.training.plan import RunRequest

_MODEL, _OPTIMISATION, _BUDGET, _DATA, _RUN = "Model", "Optimisation", "Budget (one of)", "Data", "Run"
_CELL = "The cell in other ways"
_CHOSEN = "chosen by corpus, machine and budget"


def train(
    corpus: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, - for standard input, or a corpus known by name: stdlib (the source of your Python's "
            "standard library), tinyshakespeare, warandpeace, enwik8, text8.",
            metavar="CORPUS...",
            show_default=False,
        ),
    ],
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset",
            help="A published recipe, as far as there are options for it, or best: our own. Options that are given "
            "win. --dry-run shows its settings, and how it departs from the paper.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    cell: Annotated[CellName | None, setting(ModelConfig, "cell", "--cell", panel=_MODEL)] = None,
    layers: Annotated[int | None, setting(ModelConfig, "num_layers", "--layers", panel=_MODEL, shown=_CHOSEN)] = None,
    hidden: Annotated[int | None, setting(ModelConfig, "hidden_size", "--hidden", panel=_MODEL, shown=_CHOSEN)] = None,
    embedding: Annotated[
        int | None, setting(ModelConfig, "embedding_size", "--embedding", panel=_MODEL, shown=_CHOSEN)
    ] = None,
    dropout: Annotated[float | None, setting(ModelConfig, "dropout", "--dropout", panel=_MODEL, shown=_CHOSEN)] = None,
    forget_bias: Annotated[float | None, setting(ModelConfig, "forget_bias", "--forget-bias", panel=_MODEL)] = None,
    init: Annotated[InitName | None, setting(ModelConfig, "init", "--init", panel=_MODEL)] = None,
    init_gain: Annotated[float | None, setting(ModelConfig, "init_gain", "--init-gain", panel=_MODEL)] = None,
    chrono_range: Annotated[
        int | None, setting(ModelConfig, "chrono_range", "--chrono-range", panel=_MODEL, metavar="CHARACTERS")
    ] = None,
    gate_bias: Annotated[
        float | None, setting(ModelConfig, "gate_bias", "--gate-bias", panel=_MODEL, metavar="A")
    ] = None,
    spectral_radius: Annotated[
        float | None, setting(ModelConfig, "spectral_radius", "--spectral-radius", panel=_MODEL, metavar="R")
    ] = None,
    tie: Annotated[bool | None, switch(ModelConfig, "tie", "--tie", panel=_MODEL)] = None,
    skip: Annotated[SkipName | None, setting(ModelConfig, "skip", "--skip", panel=_MODEL)] = None,
    variational_dropout: Annotated[
        float | None, setting(ModelConfig, "variational_dropout", "--variational-dropout", panel=_MODEL)
    ] = None,
    input_dropout: Annotated[
        float | None, setting(ModelConfig, "input_dropout", "--input-dropout", panel=_MODEL)
    ] = None,
    output_dropout: Annotated[
        float | None, setting(ModelConfig, "output_dropout", "--output-dropout", panel=_MODEL)
    ] = None,
    weight_drop: Annotated[float | None, setting(ModelConfig, "weight_drop", "--weight-drop", panel=_MODEL)] = None,
    embedding_dropout: Annotated[
        float | None, setting(ModelConfig, "embedding_dropout", "--embedding-dropout", panel=_MODEL)
    ] = None,
    activation: Annotated[
        ActivationName | None, setting(ModelConfig, "activation", "--activation", panel=_CELL)
    ] = None,
    forget_gate: Annotated[bool | None, switch(ModelConfig, "forget_gate", "--forget-gate", panel=_CELL)] = None,
    peephole: Annotated[bool | None, switch(ModelConfig, "peephole", "--peephole", panel=_CELL)] = None,
    coupled: Annotated[CouplingName | None, setting(ModelConfig, "coupled", "--coupled", panel=_CELL)] = None,
    orthogonal: Annotated[bool | None, switch(ModelConfig, "orthogonal", "--orthogonal", panel=_CELL)] = None,
    layer_norm: Annotated[bool | None, switch(ModelConfig, "layer_norm", "--layer-norm", panel=_CELL)] = None,
    batch_norm: Annotated[bool | None, switch(ModelConfig, "batch_norm", "--batch-norm", panel=_CELL)] = None,
    zoneout: Annotated[float | None, setting(ModelConfig, "zoneout", "--zoneout", panel=_CELL)] = None,
    zoneout_cell: Annotated[float | None, setting(ModelConfig, "zoneout_cell", "--zoneout-cell", panel=_CELL)] = None,
    recurrent_dropout: Annotated[
        float | None, setting(ModelConfig, "recurrent_dropout", "--recurrent-dropout", panel=_CELL)
    ] = None,
    multiplicative: Annotated[
        bool | None, switch(ModelConfig, "multiplicative", "--multiplicative", panel=_CELL)
    ] = None,
    mogrifier: Annotated[
        int | None, setting(ModelConfig, "mogrifier", "--mogrifier", panel=_CELL, metavar="ROUNDS")
    ] = None,
    mogrifier_rank: Annotated[
        int | None, setting(ModelConfig, "mogrifier_rank", "--mogrifier-rank", panel=_CELL, metavar="RANK")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the training part.", rich_help_panel=_BUDGET)
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Updates of the weights.", rich_help_panel=_BUDGET)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Minutes of training, validation and saving included.",
            show_default="10; on a GPU 6 epochs, where that is less",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    batch: Annotated[
        int | None, setting(TrainingConfig, "batch_size", "--batch", panel=_OPTIMISATION, shown=_CHOSEN)
    ] = None,
    bptt: Annotated[int | None, setting(TrainingConfig, "bptt", "--bptt", panel=_OPTIMISATION, shown=_CHOSEN)] = None,
    random_bptt: Annotated[
        bool | None, switch(TrainingConfig, "random_bptt", "--random-bptt", panel=_OPTIMISATION)
    ] = None,
    state_reset: Annotated[
        float | None, setting(TrainingConfig, "state_reset", "--state-reset", panel=_OPTIMISATION)
    ] = None,
    lr: Annotated[
        float | None, setting(TrainingConfig, "learning_rate", "--lr", panel=_OPTIMISATION, shown=_CHOSEN)
    ] = None,
    optimizer: Annotated[
        OptimizerName | None, setting(TrainingConfig, "optimizer", "--optimizer", panel=_OPTIMISATION)
    ] = None,
    muon_ratio: Annotated[
        float | None, setting(TrainingConfig, "muon_ratio", "--muon-ratio", panel=_OPTIMISATION)
    ] = None,
    cautious: Annotated[bool | None, switch(TrainingConfig, "cautious", "--cautious", panel=_OPTIMISATION)] = None,
    momentum: Annotated[float | None, setting(TrainingConfig, "momentum", "--momentum", panel=_OPTIMISATION)] = None,
    beta1: Annotated[float | None, setting(TrainingConfig, "beta1", "--beta1", panel=_OPTIMISATION)] = None,
    beta2: Annotated[float | None, setting(TrainingConfig, "beta2", "--beta2", panel=_OPTIMISATION)] = None,
    weight_decay: Annotated[
        float | None, setting(TrainingConfig, "weight_decay", "--weight-decay", panel=_OPTIMISATION)
    ] = None,
    clip: Annotated[float | None, setting(TrainingConfig, "clip_norm", "--clip", panel=_OPTIMISATION)] = None,
    clip_loss: Annotated[
        ClipLossName | None, setting(TrainingConfig, "clip_loss", "--clip-loss", panel=_OPTIMISATION)
    ] = None,
    warmup: Annotated[int | None, setting(TrainingConfig, "warmup", "--warmup", panel=_OPTIMISATION)] = None,
    decay: Annotated[DecayName | None, setting(TrainingConfig, "decay", "--decay", panel=_OPTIMISATION)] = None,
    final_lr: Annotated[
        float | None, setting(TrainingConfig, "final_learning_rate", "--final-lr", panel=_OPTIMISATION)
    ] = None,
    average: Annotated[float | None, setting(TrainingConfig, "average", "--average", panel=_OPTIMISATION)] = None,
    average_after: Annotated[
        int | None,
        setting(TrainingConfig, "average_after", "--average-after", panel=_OPTIMISATION, metavar="VALIDATIONS"),
    ] = None,
    average_from: Annotated[
        float | None, setting(TrainingConfig, "average_from", "--average-from", panel=_OPTIMISATION, metavar="SHARE")
    ] = None,
    precision: Annotated[
        PrecisionName | None, setting(TrainingConfig, "precision", "--precision", panel=_OPTIMISATION)
    ] = None,
    seed: Annotated[int | None, setting(TrainingConfig, "seed", "--seed", panel=_OPTIMISATION)] = None,
    activation_penalty: Annotated[
        float | None, setting(TrainingConfig, "activation_penalty", "--activation-penalty", panel=_OPTIMISATION)
    ] = None,
    temporal_penalty: Annotated[
        float | None, setting(TrainingConfig, "temporal_penalty", "--temporal-penalty", panel=_OPTIMISATION)
    ] = None,
    orthogonal_penalty: Annotated[
        float | None, setting(TrainingConfig, "orthogonal_penalty", "--orthogonal-penalty", panel=_OPTIMISATION)
    ] = None,
    l2: Annotated[float | None, setting(TrainingConfig, "l2", "--l2", panel=_OPTIMISATION)] = None,
    freeze: Annotated[FreezeName | None, setting(TrainingConfig, "freeze", "--freeze", panel=_OPTIMISATION)] = None,
    jacobian_penalty: Annotated[
        float | None, setting(TrainingConfig, "jacobian_penalty", "--jacobian-penalty", panel=_OPTIMISATION)
    ] = None,
    validation_fraction: Annotated[
        float | None,
        setting(
            DataConfig,
            "validation_fraction",
            "--validation-fraction",
            panel=_DATA,
            shown="0.1, at most 250,000 characters",
        ),
    ] = None,
    test_fraction: Annotated[float | None, setting(DataConfig, "test_fraction", "--test-fraction", panel=_DATA)] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            help="A file or folder to validate on, instead of a part of the corpus.",
            metavar="FILE",
            rich_help_panel=_DATA,
        ),
    ] = None,
    glob: Annotated[
        str | None,
        typer.Option(
            "--glob",
            help="Which files of a folder to read, by name, such as '*.py'.",
            metavar="PATTERN",
            rich_help_panel=_DATA,
        ),
    ] = None,
    encoding: Annotated[str | None, setting(DataConfig, "encoding", "--encoding", panel=_DATA)] = None,
    encoding_errors: Annotated[
        DecodeErrors | None, setting(DataConfig, "encoding_errors", "--encoding-errors", panel=_DATA)
    ] = None,
    as_bytes: Annotated[bool | None, switch(DataConfig, "as_bytes", "--bytes", panel=_DATA)] = None,
    newlines: Annotated[Newlines | None, setting(DataConfig, "newlines", "--newlines", panel=_DATA)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The run's folder.",
            show_default="checkpoints/<corpus>",
            metavar="DIR",
            rich_help_panel=_RUN,
        ),
    ] = None,
    validate_every: Annotated[
        int | None, setting(RunConfig, "validate_every", "--validate-every", panel=_RUN, metavar="STEPS")
    ] = None,
    sample_every: Annotated[
        int | None, setting(RunConfig, "sample_every", "--sample-every", panel=_RUN, metavar="STEPS")
    ] = None,
    sample_length: Annotated[int | None, setting(RunConfig, "sample_length", "--sample-length", panel=_RUN)] = None,
    sample_temperature: Annotated[
        float | None, setting(RunConfig, "sample_temperature", "--sample-temperature", panel=_RUN)
    ] = None,
    prime: Annotated[str | None, setting(RunConfig, "prime", "--prime", panel=_RUN)] = None,
    log_every: Annotated[
        int | None, setting(RunConfig, "log_every", "--log-every", panel=_RUN, metavar="STEPS")
    ] = None,
    save_every: Annotated[
        float | None, setting(RunConfig, "save_every", "--save-every", panel=_RUN, metavar="SECONDS")
    ] = None,
    patience: Annotated[int | None, setting(RunConfig, "patience", "--patience", panel=_RUN)] = None,
    accumulate: Annotated[
        int | None, setting(RunConfig, "accumulate", "--accumulate", panel=_RUN, metavar="PARTS")
    ] = None,
    on_divergence: Annotated[
        DivergencePolicy | None, setting(RunConfig, "on_divergence", "--on-divergence", panel=_RUN)
    ] = None,
    device: Annotated[DeviceName, DEVICE] = "auto",
    threads: Annotated[int | None, THREADS] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done, and with which settings, and stop.", rich_help_panel=_RUN
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Start over. A run in the folder is kept aside until the new one has its first validated checkpoint.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Train a model on a text. The same command again resumes where the run stopped.

    \b
    charrnn train corpus.txt
    charrnn train stdlib --minutes 2
    charrnn train books/ --cell gru --layers 3 --hidden 512 --dropout 0.2 --epochs 20
    zcat corpus.gz | charrnn train - --out checkpoints/mine
    """
    from charrnn.cli.training import carry_out
    from charrnn.training.plan import RunRequest, with_preset

    given = {name: value for name, value in locals().items() if value is not None}
    request = RunRequest(
        model=_said(given, ModelConfig),
        data=_said(given, DataConfig),
        training=_said(given, TrainingConfig),
        run=_said(given, RunConfig),
        budget=_budget(epochs, steps, minutes),
    )
    if preset is not None:
        request = with_preset(request, preset)
    _check(request)
    signal = carry_out(
        request, corpus, validation, glob, out, device, threads, fresh=fresh, quiet=quiet, dry_run=dry_run
    )
    if signal is not None:
        raise typer.Exit(128 + signal)


_SHORT = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "embedding_size": "embedding",
    "batch_size": "batch",
    "learning_rate": "lr",
    "final_learning_rate": "final_lr",
    "clip_norm": "clip",
}
"""Fields whose option has another name."""


def _said(given: dict[str, Any], configuration: type) -> dict[str, Any]:
    """Field -> value for the options of `configuration` that were given."""
    names = {field.name: _SHORT.get(field.name, field.name) for field in fields(configuration)}
    return {field: given[option] for field, option in names.items() if option in given}


def _budget(epochs: float | None, steps: int | None, minutes: float | None) -> Budget | None:
    if epochs is None and steps is None and minutes is None:
        return None
    return Budget(epochs=epochs, steps=steps, minutes=minutes)


def _check(request: RunRequest) -> None:
    """Bad values are found before any text is read."""
    from charrnn.settings.conflicts import check_together
    from charrnn.training.recipe import completed, completed_training

    DataConfig(**request.data)
    model, training = ModelConfig(**completed(request.model)), TrainingConfig(**completed_training(request.training))
    check_together(model, training, parts=RunConfig(**request.run).accumulate)
