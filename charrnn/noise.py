"""What a step of training draws at random: dropout masks, what cells take in every step, lanes whose state is reset.

Everything is drawn for all lanes of the batch, in one order, and whoever computes some of them takes their part. So the
numbers do not depend on how many processes or pieces a step is split into. Knows generators. Refuses to know what the
noise is for.

Srivastava et al. 2014 (JMLR 15) for dropout, on outputs only as in Zaremba et al. 2014 (arXiv 1409.2329).

Shape letters: T window, B lanes, H hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.cells.registry import make_cell
from charrnn.config import ModelConfig

_LEVELS = 1 << 16  # sixteen random bits decide on a number


class Noise(NamedTuple):
    """Of one step, for B lanes."""

    masks: tuple[Tensor, ...] = ()
    """For each layer, which of its outputs (T, B, H) are kept; none where dropout is off."""
    kept: Tensor | None = None
    """(B, 1): 0 for lanes that begin from the zero state, 1 for the others; None where all go on."""
    inside: tuple[tuple[Tensor, ...], ...] = ()
    """For each layer what its cell takes (T, B, H), see `Cell.noise_rates`; none where it takes nothing."""

    def of_lanes(self, lanes: slice) -> Noise:
        """The part of some lanes."""
        kept = None if self.kept is None else self.kept[lanes]
        inside = tuple(tuple(mask[:, lanes] for mask in layer) for layer in self.inside)
        return Noise(tuple(mask[:, lanes] for mask in self.masks), kept, inside)


def draw_noise(generator: torch.Generator, model: ModelConfig, window: int, lanes: int, state_reset: float) -> Noise:
    """The next numbers of `generator`, on its device."""
    kept = None
    if state_reset:
        kept = torch.empty(lanes, 1, device=generator.device).bernoulli_(1.0 - state_reset, generator=generator)
    masks: tuple[Tensor, ...] = ()
    if model.dropout:
        shape = (window, lanes, model.hidden_size)
        masks = tuple(draw_mask(generator, model.dropout, shape) for _ in range(model.num_layers))
    inside: tuple[tuple[Tensor, ...], ...] = ()
    if rates := make_cell(model).noise_rates:
        shape = (window, lanes, model.hidden_size)
        inside = tuple(tuple(draw_mask(generator, rate, shape) for rate in rates) for _ in range(model.num_layers))
    return Noise(masks, kept, inside)


def draw_mask(generator: torch.Generator, rate: float, shape: tuple[int, ...]) -> Tensor:
    """True for a share of about 1 - `rate`."""
    # Four numbers at a time: drawing is most of what dropout costs on a CPU.
    count = torch.Size(shape).numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=generator.device).random_(
        -(1 << 63), None, generator=generator
    )
    return bits.view(torch.int16)[:count].view(shape) >= _dropped(rate) - _LEVELS // 2


def mask_scale(rate: float) -> float:
    """What kept numbers are multiplied by, so that the mean stays (inverted dropout)."""
    return _LEVELS / (_LEVELS - _dropped(rate))


def _dropped(rate: float) -> int:
    return round(rate * _LEVELS)
