"""The weights a model begins with, by whichever generator draws them.

    uniform      every weight U(-1/sqrt(H), 1/sqrt(H)), as torch's recurrent layers; biases of the layers 0
    orthogonal   each gate's recurrent matrix is g Q, with Q drawn uniformly from the orthogonal matrices: the norm of
                 what passes through is kept (Saxe, McClelland & Ganguli 2014, arXiv 1312.6120, section 3; Q by the QR
                 decomposition with the signs of Mezzadri 2007, arXiv math-ph/0609050, section 5); the rest uniform
    identity     the rnn's recurrent matrix is g I, all other matrices N(0, 0.001^2), biases 0 (Le, Jaitly & Hinton
                 2015, arXiv 1504.00941, section 3, there with relu)
    xavier       each gate's matrices, and the decoder, U(-b, b) with b = sqrt(6 / (inputs + outputs)); biases 0
                 (Glorot & Bengio 2010, AISTATS 9, eq. 16)
    chrono       uniform, and gate biases that spread the time constants evenly in the logarithm up to T: log u with
                 u ~ U(1, T - 1) (Tallec & Ollivier 2018, arXiv 1804.11188, eq. 15 and 16; each cell's file says where)

    radius R     each gate's recurrent matrix W -> R W / max |eigenvalue of W|, whichever way it was drawn: below 1 an
                 echo dies away, near it slowly (Jaeger 2001, GMD report 148)

What a cell or a wrapper has of its own (gate biases, gains, angles) begins as its file says. The embedding is N(0, 1);
one that is the decoder's matrix too is U(-0.1, 0.1), so that logits begin small (the code of Merity et al. 2018).

Shape letters: V vocabulary, I inputs, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.cells.cell import Cell, Numbers, RandomSource, Shape
from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.settings.config import ModelConfig

CHRONO_RANGE = 256
"""T where nobody says."""
_SMALL = 0.001
_TIED = 0.1


def initial_arrays(config: ModelConfig, vocabulary_size: int, source: RandomSource) -> Iterator[tuple[str, Numbers]]:
    """Yields every parameter's name and first value, drawn one after the other in the order of the layout."""
    cell = make_cell(config)
    for name, shape in parameter_shapes(config, vocabulary_size).items():
        if name.startswith("layers."):
            array = _first_in_layer(config, cell, name.rpartition(".")[2], shape, source)
        elif name == "embedding":
            array = source.uniform(shape, -_TIED, _TIED) if config.tie else source.normal(shape)
        else:
            array = _matrix_or_bias(config, shape, shape[0], source)
        yield name, array.astype(np.float32)


def _first_in_layer(config: ModelConfig, cell: Cell, name: str, shape: Shape, source: RandomSource) -> Numbers:
    array = cell.initial(name, shape, config, source)
    if array is not None:
        return array
    if "bias" in name:
        array = np.zeros(shape, np.float32)
        if name == cell.input_bias:
            _set_gates(config, cell, array, source)
        return array
    is_recurrent = name == "weight_hh"
    if is_recurrent and config.init in ("orthogonal", "identity"):
        array = _recurrent(config, shape, source)
    else:
        array = _matrix_or_bias(config, shape, config.hidden_size, source)
    if is_recurrent and config.spectral_radius is not None:
        array = with_radius(array, config.spectral_radius)
    return array


def _recurrent(config: ModelConfig, shape: Shape, source: RandomSource) -> Numbers:
    """Draws an orthogonal or identity matrix (gates H, H), a block of H rows for each gate."""
    rows, hidden = shape
    if config.init == "identity":
        return config.init_gain * np.eye(hidden)
    return np.concatenate([config.init_gain * orthogonal(hidden, source) for _ in range(rows // hidden)])


def orthogonal(size: int, source: RandomSource) -> Numbers:
    """Draws an orthogonal matrix (size, size), each as likely as any other, in float64."""
    q, r = np.linalg.qr(source.normal((size, size)).astype(np.float64))
    signs: Numbers = np.where(np.diag(r) < 0, -1.0, 1.0)
    return q * signs


def with_radius(matrix: Numbers, radius: float) -> Numbers:
    """Scales each gate's block of `matrix` (gates H, H) to a spectral radius; a block of radius 0 stays as it is."""
    blocks = matrix.reshape(-1, matrix.shape[1], matrix.shape[1]).astype(np.float64)
    largest = np.abs(np.linalg.eigvals(blocks)).max(-1)
    factors: Numbers = radius / np.where(largest > 0, largest, radius)
    scaled: Numbers = blocks * factors[:, None, None]
    return scaled.reshape(matrix.shape)


def _matrix_or_bias(config: ModelConfig, shape: Shape, outputs: int, source: RandomSource) -> Numbers:
    """Draws a matrix, or the decoder's bias; `outputs` are those of a gate or of the decoder."""
    if len(shape) == 1 and config.init in ("identity", "xavier"):
        return np.zeros(shape)
    if config.init == "identity":
        return _SMALL * source.normal(shape)
    bound: float = config.hidden_size**-0.5
    if config.init == "xavier":
        bound = (6.0 / (shape[1] + outputs)) ** 0.5
    return source.uniform(shape, -bound, bound)


def _set_gates(config: ModelConfig, cell: Cell, bias: Numbers, source: RandomSource) -> None:
    """Writes the gates' first biases into the blocks of a layer's `bias`, which is zero."""

    def log_times() -> Numbers:
        times = source.uniform((config.hidden_size,), 1.0, (config.chrono_range or CHRONO_RANGE) - 1.0)
        logarithms: Numbers = np.log(times)
        return logarithms

    for block, value in cell.first_biases(config, log_times).items():
        if block in cell.blocks:  # a coupled lstm, or one without a forget gate, has fewer
            bias[cell.rows(block, config.hidden_size)] = value
