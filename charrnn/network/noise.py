"""What a step of training draws at random: dropout masks, what cells take in every step, lanes whose state is reset.

Everything is drawn for all lanes of the batch, in one order, and whoever computes some of them takes their part. So the
numbers do not depend on how many processes or pieces a step is split into.

    dropout       m * h, m for each layer, step, lane and unit (Srivastava et al. 2014, JMLR 15), on outputs only
                  (Zaremba et al. 2014, arXiv 1409.2329)
    variational   m * x on what layers and decoder read, m for each lane and unit, the same in all steps of a window
                  (Gal & Ghahramani 2016, arXiv 1512.05287, section 4; without theirs on h in the recurrence)
    weight drop   (m * W_hh) h, m for each weight, the same in all steps and lanes of a window (DropConnect of Wan et
                  al. 2013 on the recurrent matrices: Merity, Keskar & Socher 2018, arXiv 1708.02182, section 2)
    embedding     m * e, m for each character of the vocabulary: its embedding is dropped wherever it occurs in a
                  window (Gal & Ghahramani 2016, section 4.2; Merity et al. 2018, section 4.3)

m is 0, or what keeps the mean.

Shape letters: T window, B lanes, I inputs, H hidden size, G gates, V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.cells.parameters import is_statistic
from charrnn.cells.registry import make_cell
from charrnn.cells.wiring import input_sizes
from charrnn.network.batch_statistics import Measured
from charrnn.settings.config import ModelConfig

_LEVELS = 1 << 16  # sixteen random bits decide on a number


class Noise(NamedTuple):
    """What is drawn for one step, for B lanes."""

    masks: tuple[Tensor, ...] = ()
    """For each layer, which of its outputs (T, B, H) are kept; none where dropout is off."""
    kept: Tensor | None = None
    """(B, 1): 0 for lanes that begin from the zero state, 1 for the others; None where all go on."""
    inside: tuple[tuple[Tensor, ...], ...] = ()
    """For each layer what its cell takes (T, B, H), see `Cell.noise_rates`; none where it takes nothing."""

    inputs: tuple[Tensor | None, ...] = ()
    """For each layer, and last for the decoder, the factors (1, B, I) of what it reads, the same all through the
    window; None where there are none."""
    recurrent: tuple[Tensor, ...] = ()
    """For each layer, the factors (G H, H) of its recurrent matrix."""
    characters: Tensor | None = None
    """(V, 1): the factors of the embedding."""
    measured: tuple[Mapping[str, Measured], ...] = ()
    """For each layer, what stands in the place of its running statistics, by their names: lanes are normalised by those
    they happen to be with. None outside training, and where nothing is normalised so."""

    def of_lanes(self, lanes: slice) -> Noise:
        """Returns the part of some lanes; what holds for all of them stays."""
        return self._replace(
            masks=tuple(mask[:, lanes] for mask in self.masks),
            kept=None if self.kept is None else self.kept[lanes],
            inside=tuple(tuple(mask[:, lanes] for mask in layer) for layer in self.inside),
            inputs=tuple(None if factors is None else factors[:, lanes] for factors in self.inputs),
        )


QUIET = Noise()
"""No noise at all, as outside training."""


def draw_noise(
    generator: torch.Generator,
    model: ModelConfig,
    window: int,
    lanes: int,
    state_reset: float,
    vocabulary_size: int,
) -> Noise:
    """Draws the noise of a step of training: the next numbers of `generator`, on its device."""
    kept = characters = None
    if state_reset:
        kept = torch.empty(lanes, 1, device=generator.device).bernoulli_(1.0 - state_reset, generator=generator)
    cell, H, layers = make_cell(model), model.hidden_size, range(model.num_layers)
    shapes, shape, rates = cell.shapes(H, H), (window, lanes, H), variational_rates(model)
    masks = tuple(draw_mask(generator, model.dropout, shape) for _ in layers if model.dropout)
    inside = tuple(
        tuple(draw_mask(generator, rate, shape) for rate in cell.noise_rates) for _ in layers if cell.noise_rates
    )
    inputs = tuple(
        draw_factors(generator, rate, (1, lanes, size)) if rate else None
        for rate, size in zip(rates, input_sizes(model), strict=True)
        if any(rates)
    )
    drop = model.weight_drop
    recurrent = tuple(draw_factors(generator, drop, shapes["weight_hh"]) for _ in layers if drop)
    if model.embedding_dropout:
        characters = draw_factors(generator, model.embedding_dropout, (vocabulary_size, 1))
    named = [name for name in shapes if is_statistic(name)]
    measured = tuple({name: Measured() for name in named} for _ in layers if named)
    return Noise(masks, kept, inside, inputs, recurrent, characters, measured)


def variational_rates(model: ModelConfig) -> list[float]:
    """Returns the L + 1 rates of what each layer reads, from the first, and last of what the decoder reads."""
    between = model.variational_dropout
    first = between if model.input_dropout is None else model.input_dropout
    last = between if model.output_dropout is None else model.output_dropout
    return [first, *[between] * (model.num_layers - 1), last]


def draw_factors(generator: torch.Generator, rate: float, shape: tuple[int, ...]) -> Tensor:
    """Draws factors: 0 for a share of about `rate`, else what keeps the mean."""
    return draw_mask(generator, rate, shape).float() * mask_scale(rate)


def draw_mask(generator: torch.Generator, rate: float, shape: tuple[int, ...]) -> Tensor:
    """Draws a mask that is true for a share of about 1 - `rate`."""
    # Four numbers at a time: drawing is most of what dropout costs on a CPU.
    count = torch.Size(shape).numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=generator.device).random_(
        -(1 << 63), None, generator=generator
    )
    return bits.view(torch.int16)[:count].view(shape) >= _dropped(rate) - _LEVELS // 2


def mask_scale(rate: float) -> float:
    """Returns what kept numbers are multiplied by, so that the mean stays (inverted dropout)."""
    return _LEVELS / (_LEVELS - _dropped(rate))


def _dropped(rate: float) -> int:
    return min(round(rate * _LEVELS), _LEVELS - 1)  # however near to 1 the rate is, something may be kept
