"""From a configuration to its cell."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.cells.batchnorm import BatchNormGRU, BatchNormLSTM, BatchNormRNN
from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.layernorm import LayerNormGRU, LayerNormLSTM, LayerNormRNN
from charrnn.cells.lstm import (
    LSTM,
    CappedLSTM,
    CappedPeepholeLSTM,
    CoupledLSTM,
    CoupledPeepholeLSTM,
    LastingLSTM,
    LastingPeepholeLSTM,
    PeepholeLSTM,
)
from charrnn.cells.mogrifier import Mogrifier
from charrnn.cells.multiplicative import Multiplicative
from charrnn.cells.noisy import RecurrentDropout, Zoneout
from charrnn.cells.orthogonal import Orthogonal
from charrnn.cells.rnn import RNN, ModReluRNN, ReluRNN
from charrnn.cells.unitary import URNN
from charrnn.settings.config import ModelConfig

PLAIN_CELLS: tuple[type[Cell], ...] = (LSTM, GRU, RNN)
"""Those that the fast paths know."""

_LSTMS: dict[tuple[str, bool], type[LSTM]] = {
    ("off", False): LSTM,
    ("off", True): PeepholeLSTM,
    ("tied", False): CoupledLSTM,
    ("tied", True): CoupledPeepholeLSTM,
    ("min", False): CappedLSTM,
    ("min", True): CappedPeepholeLSTM,
}
_RNNS: dict[str, type[RNN]] = {"tanh": RNN, "relu": ReluRNN, "modrelu": ModReluRNN}
_NORMALISED = {"lstm": LayerNormLSTM, "gru": LayerNormGRU, "rnn": LayerNormRNN}
_BATCH_NORMALISED = {"lstm": BatchNormLSTM, "gru": BatchNormGRU, "rnn": BatchNormRNN}


def make_cell(config: ModelConfig) -> Cell:
    """The cell that every layer of `config` steps with, in training."""
    cell: Cell
    if config.cell == "lstm":
        if config.forget_gate:
            cell = _LSTMS[config.coupled, config.peephole]()
        else:
            cell = LastingPeepholeLSTM() if config.peephole else LastingLSTM()
    elif config.cell == "gru":
        cell = GRU()
    elif config.cell == "urnn":
        cell = URNN()
    else:
        cell = _RNNS[config.activation]()
    if config.layer_norm:
        cell = _NORMALISED[config.cell](cell)
    if config.batch_norm:
        cell = _BATCH_NORMALISED[config.cell](cell)
    if config.multiplicative:
        cell = Multiplicative(cell)
    if config.mogrifier:
        cell = Mogrifier(cell, config.mogrifier, config.mogrifier_rank)
    if config.recurrent_dropout:
        cell = RecurrentDropout(cell, config.recurrent_dropout)
    if config.zoneout or config.zoneout_cell:
        rates = (config.zoneout, config.zoneout_cell)
        cell = Zoneout(cell, rates[: len(cell.state_names)])
    return Orthogonal(cell) if config.orthogonal else cell


def is_plain(config: ModelConfig) -> bool:
    """Whether the cell outside training is one that the fast paths know."""
    return type(make_cell(config).core.at_rest()) in PLAIN_CELLS


def is_plain_in_training(config: ModelConfig) -> bool:
    """Whether the cell in training is one that the fast paths know."""
    return type(make_cell(config).core) in PLAIN_CELLS


def has_kernel(config: ModelConfig) -> bool:
    """Whether torch has a module of its own for the cell in training."""
    return type(make_cell(config).core) in (*PLAIN_CELLS, ReluRNN)


def keeps_all(config: ModelConfig) -> bool:
    """Whether nothing of the state is ever lost, nor bounds it: as long as it is carried on it grows."""
    keeps_lengths = config.orthogonal and config.activation == "modrelu"
    return config.cell == "urnn" or (keeps_lengths and not (config.layer_norm or config.batch_norm))


def describe(config: ModelConfig) -> str:
    """The cell in words: `lstm`, or `lstm with layer norm and zoneout 0.05/0.5` (of h and of c)."""
    variants = list(_variants(config))
    joined = " and ".join([*([", ".join(variants[:-1])] if variants[1:] else []), *variants[-1:]])
    return config.cell + (f" with {joined}" if variants else "")


def _variants(config: ModelConfig) -> Iterator[str]:
    if config.activation != "tanh":
        yield config.activation
    if not config.forget_gate:
        yield "no forget gate"
    if config.peephole:
        yield "peepholes"
    if config.coupled != "off":
        yield {"tied": "coupled gates", "min": "capped input gates"}[config.coupled]
    if config.orthogonal:
        yield "orthogonal recurrence"
    if config.layer_norm:
        yield "layer norm"
    if config.batch_norm:
        yield "batch norm"
    if config.multiplicative:
        yield "multiplicative states"
    if config.mogrifier:
        rank = f" of rank {config.mogrifier_rank}" if config.mogrifier_rank else ""
        yield f"{config.mogrifier} mogrifier round{'s' if config.mogrifier > 1 else ''}{rank}"
    if config.recurrent_dropout:
        yield f"recurrent dropout {config.recurrent_dropout:g}"
    if config.zoneout or config.zoneout_cell:
        of_c = f"/{config.zoneout_cell:g}" if config.cell == "lstm" else ""
        yield f"zoneout {config.zoneout:g}{of_c}"
