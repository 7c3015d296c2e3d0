"""The weights a model begins with, by whichever generator draws them.

    uniform      every weight U(-1/sqrt(H), 1/sqrt(H)), as torch's recurrent layers; biases of the layers 0
    orthogonal   each gate's recurrent matrix is g Q, with Q drawn uniformly from the orthogonal matrices: the norm of
                 what passes through is kept (Saxe, McClelland & Ganguli 2014, arXiv 1312.6120, section 3; Q by the QR
                 decomposition with the signs of Mezzadri 2007, arXiv math-ph/0609050, section 5); the rest uniform
    identity     the rnn's recurrent matrix is g I, all other matrices N(0, 0.001^2), biases 0 (Le, Jaitly & Hinton
                 2015, arXiv 1504.00941, section 3, there with relu)
    xavier       each gate's matrices, and the decoder, U(-b, b) with b = sqrt(6 / (inputs + outputs)); biases 0
                 (Glorot & Bengio 2010, AISTATS 9, eq. 16)
    chrono       uniform, and gate biases that spread the time constants evenly in the logarithm up to T:
                 lstm b_f = log u, b_i = -b_f; gru b_z = log u (z keeps); u ~ U(1, T - 1)
                 (Tallec & Ollivier 2018, arXiv 1804.11188, eq. 15 and 16)
    gate bias a  lstm b_i = -a, b_f = a, b_o = -a: blocks come into play one by one, and forget only once it is learned
                 (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000); gru b_z = a

    radius R     each gate's recurrent matrix W -> R W / max |eigenvalue of W|, whichever way it was drawn: below 1 an
                 echo dies away, near it slowly (Jaeger 2001, GMD report 148)

Gains of a layer normalisation are 1, those of a batch normalisation 0.1, so that tanh is not saturated from the start
(Cooijmans et al. 2016, arXiv 1603.09025, section 4); its running statistics mean 0 and variance 1.

What orthogonal recurrence makes its matrices of, and all of a urnn but its V, begin as `cells/orthogonal.py` and
`cells/unitary.py` say; V as under xavier.

Otherwise an lstm's b_f is `forget_bias` (Gers et al. 2000; Jozefowicz et al. 2015). The embedding is
N(0, 1); one that is the decoder's matrix too U(-0.1, 0.1), so that
logits begin small (the code of Merity et al. 2018).

Knows shapes and equations. Refuses to know where random numbers come from.

Shape letters: V vocabulary, I inputs, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.cells.cell import Cell
from charrnn.cells.parameters import is_statistic, parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.settings.config import ModelConfig

Numbers = npt.NDArray[Any]
Shape = tuple[int, ...]

CHRONO_RANGE = 256
"""T where nobody says."""
_BATCH_GAIN = 0.1
_SMALL = 0.001
_TIED = 0.1


class Source(Protocol):
    """A generator of random numbers."""

    def normal(self, shape: Shape) -> Numbers:
        """N(0, 1)."""

    def uniform(self, shape: Shape, low: float, high: float) -> Numbers:
        """U(low, high)."""


def initial_arrays(config: ModelConfig, vocabulary_size: int, source: Source) -> Iterator[tuple[str, Numbers]]:
    """Every parameter's name and first value, drawn one after the other in the order of the layout."""
    cell = make_cell(config)
    for name, shape in parameter_shapes(config, vocabulary_size).items():
        if name == "embedding":
            array = source.uniform(shape, -_TIED, _TIED) if config.tie else source.normal(shape)
        elif name.startswith("layers.") and "bias" in name:
            array = np.zeros(shape, np.float32)
            if name.endswith((".bias", ".bias_ih")):
                _set_gates(config, cell, array, source)
        elif name.startswith("layers.") and "gain" in name:  # of a normalisation
            array = np.full(shape, _BATCH_GAIN if config.batch_norm else 1.0, np.float32)
        elif is_statistic(name):
            array = np.stack((np.zeros(shape[1:]), np.ones(shape[1:])))
        elif name.endswith("skew_hh"):
            array = _turns(shape, source)
        elif config.cell == "urnn" and ".angle_" in name:
            array = source.uniform(shape, -np.pi, np.pi)
        elif config.cell == "urnn" and ".mirror_" in name:
            array = source.uniform(shape, -1.0, 1.0)
        elif name.endswith("weight_hh") and config.init in ("orthogonal", "identity"):
            array = _recurrent(config, shape, source)
        else:
            array = _matrix_or_bias(config, name, shape, source)
        if config.spectral_radius is not None and name.endswith("weight_hh"):
            array = with_radius(array, config.spectral_radius)
        yield name, array.astype(np.float32)


def _recurrent(config: ModelConfig, shape: Shape, source: Source) -> Numbers:
    """(gates H, H), a block of H rows for each gate."""
    rows, hidden = shape
    if config.init == "identity":
        return config.init_gain * np.eye(hidden)
    return np.concatenate([config.init_gain * orthogonal(hidden, source) for _ in range(rows // hidden)])


def _turns(shape: Shape, source: Source) -> Numbers:
    """(gates H, H): in each gate's block angles beside the diagonal, one for every two units, zero elsewhere."""
    rows, hidden = shape
    blocks = np.zeros((rows // hidden, hidden, hidden))
    for block in blocks:
        first = np.arange(0, hidden - 1, 2)
        block[first, first + 1] = source.uniform((len(first),), -np.pi, np.pi)
    return blocks.reshape(shape)


def orthogonal(size: int, source: Source) -> Numbers:
    """An orthogonal matrix (size, size), each as likely as any other, in float64."""
    q, r = np.linalg.qr(source.normal((size, size)).astype(np.float64))
    signs: Numbers = np.where(np.diag(r) < 0, -1.0, 1.0)
    return q * signs


def with_radius(matrix: Numbers, radius: float) -> Numbers:
    """`matrix` (gates H, H) with each gate's block scaled to a spectral radius; one that has none stays as it is."""
    blocks = matrix.reshape(-1, matrix.shape[1], matrix.shape[1]).astype(np.float64)
    largest = np.abs(np.linalg.eigvals(blocks)).max(-1)
    factors: Numbers = radius / np.where(largest > 0, largest, radius)
    scaled: Numbers = blocks * factors[:, None, None]
    return scaled.reshape(matrix.shape)


def _matrix_or_bias(config: ModelConfig, name: str, shape: Shape, source: Source) -> Numbers:
    """A matrix, or the decoder's bias."""
    if len(shape) == 1 and config.init in ("identity", "xavier"):
        return np.zeros(shape)
    if config.init == "identity":
        return _SMALL * source.normal(shape)
    bound: float = config.hidden_size**-0.5
    is_complex = config.cell == "urnn" and name.startswith("layers.")
    if config.init == "xavier" or is_complex:
        outputs = config.hidden_size if name.startswith("layers.") else shape[0]
        bound = (6.0 / (shape[1] + outputs)) ** 0.5
    return source.uniform(shape, -bound, bound)


def _set_gates(config: ModelConfig, cell: Cell, bias: Numbers, source: Source) -> None:
    """Writes the gates' first biases into the blocks of a layer's `bias`, which is zero."""
    H = config.hidden_size

    def gate(name: str) -> Numbers:
        return bias[cell.rows(name, H)]

    keeping = {"lstm": "f", "gru": "z"}.get(config.cell)
    if keeping is None:
        return
    if config.init == "chrono":
        times = source.uniform((H,), 1.0, (config.chrono_range or CHRONO_RANGE) - 1.0)
        gate(keeping)[:] = np.log(times)
        if "i" in cell.blocks:  # a coupled one has none of its own
            gate("i")[:] = -gate("f")
    elif config.gate_bias is not None:
        if keeping in cell.blocks:  # not without a forget gate
            gate(keeping)[:] = config.gate_bias
        for block in ("i", "o"):
            if block in cell.blocks:
                gate(block)[:] = -config.gate_bias
    elif config.cell == "lstm" and keeping in cell.blocks:
        gate("f")[:] = config.forget_bias
