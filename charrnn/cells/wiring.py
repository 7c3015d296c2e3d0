"""What each layer and the decoder read: skip connections between layers.

With e the embedded character and h_l the output of layer l (L layers; in training what dropout leaves of it):

    none       layer l reads h_{l-1} (layer 1: e), the decoder h_L
    residual   layer l reads e + h_1 + ... + h_{l-1}, the decoder e + h_1 + ... + h_L: each layer adds to what it read
               (He et al. 2016, arXiv 1512.03385, eq. 1; between recurrent layers Wu et al. 2016, arXiv 1609.08144,
               eq. 6). Where e is not as wide as h, layer 1 alone reads it and it is not added
    dense      layer l reads (e; h_1; ...; h_{l-1}), the decoder (e; h_1; ...; h_L), side by side
               (Huang et al. 2017, arXiv 1608.06993, eq. 2; all hidden layers to the output: Graves 2013,
               arXiv 1308.0850, section 2)
    sum        layer l reads h_{l-1} (layer 1: e), the decoder h_1 + ... + h_L
               (Melis, Kocisky & Blunsom 2020, arXiv 1909.01792: "the sum of all layers' outputs")

Pure functions for numpy arrays and torch tensors alike.

Shape letters: E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.cells.arrays import Array, joined
from charrnn.settings.choices import SkipName
from charrnn.settings.config import ModelConfig


def input_sizes(config: ModelConfig) -> list[int]:
    """Returns the width of what each layer reads, from the first, and last of what the decoder reads."""
    E, H, L = config.embedding_size, config.hidden_size, config.num_layers
    if config.skip == "dense":
        return [E + layer * H for layer in range(L + 1)]
    return [E, *[H] * L]


def needs_embedding(config: ModelConfig) -> bool:
    """Whether anything but the first layer reads the embedded character."""
    return config.skip == "dense" or (config.skip == "residual" and config.embedding_size == config.hidden_size)


def layer_input(skip: SkipName, below: Sequence[Array]) -> Array:
    """Returns what the next layer reads, from (e, h_1, ...) of all layers below it."""
    if skip == "dense" and len(below) > 1:
        return joined(*below)
    return _sum_of_like(below) if skip == "residual" else below[-1]


def decoder_input(skip: SkipName, below: Sequence[Array]) -> Array:
    """Returns what the decoder reads, from (e, h_1, ..., h_L)."""
    return _sum_of_like(below[1:]) if skip == "sum" else layer_input(skip, below)


def _sum_of_like(below: Sequence[Array]) -> Array:
    """Returns the sum of those arrays that are as wide as the last."""
    total = None
    for array in below:
        if array is not None and array.shape[-1] == below[-1].shape[-1]:
            total = array if total is None else total + array
    return total
