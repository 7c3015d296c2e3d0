"""The plain loop over a cell's step on a layer's own parameters: the reference for every path that runs one."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.cells.cell import State
from charrnn.network.layers import Layer


def loop(layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """As `layer(x, state)`, a step at a time."""
    p, outputs = layer.arrays(), []
    for x_t in x:  # (B, I)
        state = layer.cell.step(p, x_t, state)
        outputs.append(state[0])
    return torch.stack(outputs), state
