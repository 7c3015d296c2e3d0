"""From a configuration to its cell, and whether it is one that can be had."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib import import_module

from charrnn.cells.cell import Cell
from charrnn.cells.mogrifier import Mogrifier
from charrnn.cells.multiplicative import Multiplicative
from charrnn.cells.names import CELLS, NAMES, enumerated, with_article
from charrnn.cells.noisy import RecurrentDropout, Zoneout
from charrnn.cells.normalised import BatchNorm, LayerNorm
from charrnn.cells.orthogonal import Orthogonal
from charrnn.cells.wrapper import Need, Wrapper, has_matrix, no_matrix
from charrnn.errors import UsageError
from charrnn.settings.checks import require
from charrnn.settings.config import ModelConfig, TrainingConfig

WRAPPERS: tuple[type[Wrapper], ...] = (
    LayerNorm, BatchNorm, Multiplicative, Mogrifier, RecurrentDropout, Zoneout, Orthogonal
)  # fmt: skip
"""In the order in which they stand around a cell, the innermost first."""


@functools.cache
def _kind(name: str) -> type[Cell]:
    """Returns the class of the cell called `name`."""
    kind: type[Cell] = getattr(import_module(CELLS[name].module), CELLS[name].kind)
    return kind


def plain_cells() -> Iterator[Cell]:
    """Yields every cell as it is by default."""
    return (_kind(name)() for name in NAMES)


def _has_setting(cell: Cell, setting: str) -> bool:
    return setting in dict(cell.own_settings)


@functools.cache
def _needs() -> tuple[Need, ...]:
    """Returns what the settings that are not for every cell need."""
    own = [
        Need(setting, functools.partial(_has_setting, setting=setting), reason)
        for cell in plain_cells()
        for setting, reason in cell.own_settings
    ]
    others = [need for wrapper in WRAPPERS for need in wrapper.needs]
    return (*own, *others, Need("weight_drop", has_matrix, "it has no recurrent matrix of weights"))


@functools.lru_cache
def make_cell(config: ModelConfig) -> Cell:
    """Returns the cell that every layer of `config` steps with, in training.

    Raises UsageError where there is no such cell, or it does not go with the configuration's other settings.
    """
    require(config.cell in NAMES, "--cell", config.cell, "one of " + ", ".join(NAMES))
    kind = _kind(config.cell)
    plain = kind()
    _check_initial(config, plain)
    for need in _needs():
        off = ModelConfig.__dataclass_fields__[need.setting].default
        if getattr(config, need.setting) != off and not need.suits(plain):
            option = f"--{'no-' if off is True else ''}{need.setting.replace('_', '-')}"
            use = " or ".join(f"--cell {cell.name}" for cell in plain_cells() if need.suits(cell))
            raise UsageError(
                f"{option} does not go with --cell {config.cell}: {need.why_not(plain)}", f"use {use}, or leave it out"
            )
    kind.check(config)
    cell = kind.configured(config)
    for wrapper in WRAPPERS:
        if wrapper.is_asked(config):
            wrapper.check(config)
            cell = wrapper.around(cell, config)
    return cell


def _check_initial(config: ModelConfig, cell: Cell) -> None:
    """Raises UsageError where initial weights are asked for that the cell cannot have."""
    if config.init == "identity" and not cell.is_elman:
        raise UsageError(
            f"--init identity is for the rnn: {with_article(config.cell)}'s gates would all read the same",
            "--init orthogonal is its like for gated cells",
        )
    if config.init == "orthogonal" and not cell.has_matrix:
        raise UsageError(
            f"--init orthogonal does not go with --cell {config.cell}: {no_matrix(cell)}", "leave one of them out"
        )
    is_biased = config.gate_bias is not None
    if (is_biased or config.init == "chrono") and not cell.gate_names:
        said = "--gate-bias" if is_biased else "--init chrono"
        which = with_article(config.cell)
        gated = enumerated([cell.name for cell in plain_cells() if cell.gate_names])
        raise UsageError(f"{said} sets the biases of gates, and {which} has none", f"choose --cell {gated}")
    if config.spectral_radius is not None and not cell.has_matrix:
        raise UsageError(
            f"--spectral-radius scales matrices, and does not go with --cell {config.cell}: {no_matrix(cell)}",
            "give one of the two settings",
        )


def check(model: ModelConfig, training: TrainingConfig | None = None) -> None:
    """Raises UsageError where the cell is unknown, or does not go with the other settings of model and training."""
    make_cell(model)
    if training is None:
        return
    cell = _kind(model.cell)()
    if training.orthogonal_penalty and not cell.has_matrix:
        raise UsageError(
            f"--orthogonal-penalty does not go with --cell {model.cell}: {no_matrix(cell)}", "leave one of them out"
        )
    if training.jacobian_penalty and not cell.is_elman:
        reason = "has its gates for that" if cell.gate_names else "steps back in time in another way"
        raise UsageError(
            f"--jacobian-penalty is for the rnn, whose gradients vanish and explode: --cell {model.cell} {reason}",
            "choose --cell rnn, or leave it out",
        )


def is_plain(config: ModelConfig) -> bool:
    """Whether the cell outside training is one that charrnn's compiled code knows."""
    return make_cell(config).core.at_rest().compiled is not None


def is_plain_in_training(config: ModelConfig) -> bool:
    """Whether the cell in training is one that charrnn's compiled code knows."""
    return make_cell(config).core.compiled is not None


def has_kernel(config: ModelConfig) -> bool:
    """Whether torch has a function of its own for the cell in training."""
    return make_cell(config).core.kernel is not None


def describe(config: ModelConfig) -> str:
    """Returns the cell in words: `lstm`, or `lstm with layer norm and zoneout 0.05/0.5` (of h and of c)."""
    cell, *wrappers = reversed([*_from_outside(make_cell(config))])
    # What only makes the matrix is outermost, and named first.
    ordered = [cell, *sorted(wrappers, key=lambda wrapper: wrapper.core is wrapper)]
    words = [word for each in ordered for word in each.words]
    return config.cell + (f" with {enumerated(words, 'and')}" if words else "")


def _from_outside(cell: Cell) -> Iterator[Cell]:
    yield cell
    if isinstance(cell, Wrapper):
        yield from _from_outside(cell.inner)
