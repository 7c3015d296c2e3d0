"""The network of some units alone: all others are held at their means, and cut away.

A unit is a place in a layer with all that it holds: gates, memory and output h. Others read its h: the layer itself at
the next character, the layers above and the decoder. A mask a of 0 to 1 for each unit says what they read of it:

    a h + (1 - a) m,   m the mean of h over a text

With 1 a unit is itself, with 0 it is held at its mean. Either way it is a model with other weights: column i of each
matrix that reads h is scaled by a_i, and (1 - a_i) m_i times the column is added to the bias, as in `clamping.py`.

Nothing reads a unit that is held, so its rows and columns can be left out: k units that are not held are a network of
hidden size k, which computes the same logits as the masked one, and faster the smaller k is. Layers that keep fewer
units than the fullest are filled up with units that are always 0 and are not read.

By the chain rule the gradient of a loss with regard to the masks follows from the one with regard to the weights of
the masked network, W' = W diag(a) and b' = b + W ((1 - a) m), for all units at once:

    dL/da_i = sum of W_ri (dL/dW'_ri - m_i dL/db'_r) over the rows r of all matrices W that read the unit

Shape letters: T characters, L layers, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.inference.engine import RecordingEngine
from charrnn.neurons.clamping import check_can_hold
from charrnn.neurons.columns import readers, with_own_columns
from charrnn.neurons.record import check_finite
from charrnn.neurons.statistics import Doubles
from charrnn.settings.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[Any]]
Mask = npt.NDArray[np.bool_]
_BLOCK = 256


def mean_outputs(engine: RecordingEngine, ids: npt.NDArray[Any]) -> Doubles:
    """Returns the mean of each unit's h after each of `ids` (T,), read from the zero state, (L, H).

    Raises WeightsTooLarge where a value is not finite.
    """
    config, state = engine.config, engine.zero_state(1)
    sums = np.zeros((config.num_layers, config.hidden_size))
    for start in range(0, len(ids), _BLOCK):
        taken, state = engine.record(ids[start : start + _BLOCK], state)
        sums += taken["h"].sum(0, dtype=np.float64)
    means: Doubles = sums / len(ids)
    check_finite("a unit is", means)
    return means


class Maskable:
    """A model of which units can be held at their means."""

    def __init__(self, config: ModelConfig, arrays: Arrays, means: Doubles) -> None:
        """`means` (L, H) are those of h. Raises UsageError for a cell whose units no other weights can hold."""
        check_can_hold(config, "h")
        self.config, arrays = with_own_columns(config, arrays)
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.means = means

    def network(self, masks: npt.NDArray[Any], kept: Mask | None = None) -> tuple[ModelConfig, Arrays]:
        """Returns configuration and arrays of the network in which each unit is read as its mask (L, H) says.

        It has the units of `kept` (L, H) alone, by default all whose mask is not 0; those left out must have 0.
        """
        kept = masks != 0 if kept is None else kept
        assert not masks[~kept].any(), "what is left out is not read"
        return self._cut({**self._arrays, **self._masked(np.asarray(masks, np.float64))}, kept)

    def _masked(self, masks: Doubles) -> dict[str, npt.NDArray[Any]]:
        """Returns those arrays that differ: the matrices that read units, and their biases."""
        changed: dict[str, npt.NDArray[Any]] = {}
        H = self.config.hidden_size
        for layer, (mask, mean) in enumerate(zip(masks, self.means, strict=True), 1):
            for matrix, bias, first in readers(self.config, layer):
                columns = self._arrays[matrix][:, first : first + H]
                scaled = changed.setdefault(matrix, self._arrays[matrix].copy())
                scaled[:, first : first + H] = columns * mask
                changed[bias] = changed.get(bias, self._arrays[bias].astype(np.float64)) + columns @ ((1 - mask) * mean)
        return {name: array.astype(self._arrays[name].dtype) for name, array in changed.items()}

    def _cut(self, arrays: Arrays, kept: Mask) -> tuple[ModelConfig, Arrays]:
        """Returns the network of the units of `kept` alone."""
        if kept.all():
            return self.config, arrays
        H, size = self.config.hidden_size, max(1, int(kept.sum(1).max()))
        cut = {"embedding": arrays["embedding"], "decoder.bias": arrays["decoder.bias"]}
        places = [np.flatnonzero(layer) for layer in kept]
        for layer, own in enumerate(places, 1):
            prefix = f"layers.{layer}."
            for name in (name for name in arrays if name.startswith(prefix)):
                array = _rows(arrays[name], own, H, size)
                if name == f"{prefix}weight_hh":
                    array = _filled(array[:, own], size)
                elif name == f"{prefix}weight_ih" and (layer > 1 or self.config.skip == "dense"):
                    array = self._inputs(array, places[: layer - 1], size)
                cut[name] = array
        cut["decoder.weight"] = self._inputs(arrays["decoder.weight"], places, size)
        return replace(self.config, hidden_size=size), {name: cut[name] for name in arrays}

    def _inputs(self, matrix: npt.NDArray[Any], below: list[npt.NDArray[np.intp]], size: int) -> npt.NDArray[Any]:
        """Returns the columns of `matrix` that read the units at the places `below`, a group of `size` a layer."""
        H = self.config.hidden_size
        if self.config.skip != "dense":
            return _filled(matrix[:, below[-1]], size)
        E = self.config.embedding_size
        groups = [_filled(matrix[:, E + layer * H + own], size) for layer, own in enumerate(below)]
        return np.concatenate([matrix[:, :E], *groups], axis=1)

    def mask_gradient(self, gradients: Arrays, kept: Mask) -> Doubles:
        """Returns the gradient of a loss with regard to the masks of the units of `kept`, (L, H); 0 for the others.

        `gradients` are those with regard to the arrays of a `network` that has the units of `kept`.
        """
        found = np.zeros(self.means.shape)
        config, arrays = self._cut(self._arrays, kept)
        for layer, own in enumerate(kept, 1):
            count, means = int(own.sum()), self.means[layer - 1, own]
            for matrix, bias, first in readers(config, layer):
                columns = slice(first, first + count)
                weights = arrays[matrix][:, columns].astype(np.float64)
                found[layer - 1, own] += (weights * gradients[matrix][:, columns]).sum(0)
                found[layer - 1, own] -= means * (gradients[bias] @ weights)
        return found


def _rows(array: npt.NDArray[Any], own: npt.NDArray[np.intp], H: int, size: int) -> npt.NDArray[Any]:
    """Returns the rows of `own` in every block of H rows, each block filled up to `size` rows with zeros."""
    blocks = array.reshape(len(array) // H, H, *array.shape[1:])
    taken = np.zeros((len(blocks), size, *array.shape[1:]), array.dtype)
    taken[:, : len(own)] = blocks[:, own]
    return taken.reshape(len(blocks) * size, *array.shape[1:])


def _filled(columns: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Returns `columns`, filled up to `size` with zeros on the right."""
    return np.pad(columns, ((0, 0), (0, size - columns.shape[1])))
