"""From a configuration to its cell."""

from __future__ import annotations

from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN
from charrnn.config import ModelConfig

_CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in (LSTM, GRU, RNN)}


def make_cell(config: ModelConfig) -> Cell:
    """The cell that every layer of `config` steps with."""
    return _CELLS[config.cell]()
