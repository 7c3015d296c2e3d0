"""A model's arrays as the compiled step reads them: in panels, as float32, float16 or int8.

See native/step.h for the layout. In float16 each weight is rounded to the nearest; in int8, groups of 64 weights along
a row share a scale. Embedding, biases and decoder stay float32.

Shape letters: V vocabulary, E embedding size, H hidden size, P hidden size padded, K inputs of a product, L layers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import forget, layer_parameters
from charrnn.inference.engine import Floats, is_small_table
from charrnn.native.step import AVX512, GROUP, LINE, SCRATCH, LayerPanels, Matrix, StepModel, aligned
from charrnn.settings.choices import WeightsName
from charrnn.settings.config import ModelConfig

NEVER = np.finfo(np.float32).min
"""Logit of a character that does not exist: no finite one of a character that does is lower, and the first of equal
ones is drawn."""
_DECODER_ROWS = 64
_APART = 16
"""Units more than whole cache lines of all products need: so the rows of lanes do not lie a power of two apart, where
they would drive each other out of the first cache."""


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """How a cell's blocks of rows lie in a panel."""

    number: int
    units: int
    """How many units a panel holds where one pass through it multiplies all their rows: up to 128, in AVX-512."""
    narrow_units: int
    """How many it holds where a pass multiplies 64 rows or less, in AVX2 and without: passes through parts of each
    input's weights run out of order in memory, which makes float32 and float16 up to 1.4 times slower. (Not int8, of
    which a cache line holds more.)"""
    input_order: tuple[int, ...]
    recurrent_order: tuple[int, ...]
    late: tuple[int, ...] = ()
    """The blocks of the recurrent matrix whose product waits for a gate, so that both their biases are only added."""

    def bias(self, p: Mapping[str, Any]) -> list[Floats]:
        """Returns what the sums of each block start from, block by block (H,)."""
        if "bias" in p:
            return list(np.split(p["bias"], len(self.input_order)))
        x_r, x_z, x_n = np.split(p["bias_ih"], 3)
        h_r, h_z, h_n = np.split(p["bias_hh"], 3)
        with np.errstate(over="ignore"):  # what is too large to compute with shows in the logits
            if self.late:
                return [x_r + h_r, x_z + h_z, x_n + h_n]
            return [x_n, x_r + h_r, x_z + h_z, h_n]


LAYOUTS = {
    "rnn": PanelLayout(0, 64, 64, (0,), (0,)),
    "lstm": PanelLayout(1, 32, 16, (0, 1, 2, 3), (0, 1, 2, 3)),
    "gru": PanelLayout(2, 32, 16, (2, 0, 1), (0, 1, 2)),
    "gru, reset before": PanelLayout(3, 32, 32, (0, 1, 2), (0, 1), late=(2,)),
}


class Panels:
    """The structure `model` for the library, and the memory that it points to."""

    def __init__(
        self,
        library: ctypes.CDLL,
        instruction_set: int,
        config: ModelConfig,
        cell: str,
        parameters: Mapping[str, npt.NDArray[Any]],
        weights: WeightsName,
        end: int | None = None,
    ) -> None:
        self._library, self._set, self._config = library, instruction_set, config
        self._kept: list[Any] = []
        self._layout = layout = LAYOUTS[cell]
        is_wide = instruction_set == AVX512 or weights == "int8"
        self._units = units = layout.units if is_wide else layout.narrow_units
        self.num_bytes = 0
        """What one step of a single lane reads."""
        V, H, L = len(parameters["embedding"]), config.hidden_size, config.num_layers
        self.model = model = StepModel(
            cell=layout.number, num_layers=L, hidden=H, padded=_up(H, LINE) + _APART, panels=-(-H // units),
            units=units, vocabulary=V, vocabulary_padded=_up(V, 16), end=-1 if end is None else end,
        )  # fmt: skip
        layers = (LayerPanels * L)()
        self._kept.append(layers)
        model.layers = ctypes.addressof(layers)
        for layer in range(L):
            name = f"layers.{layer + 1}."
            layers[layer].bias = self._keep(self._bias(layout.bias(layer_parameters(parameters, layer + 1))))
            layers[layer].recurrent = self._matrix(parameters, f"{name}weight_hh", layout.recurrent_order, weights)
            if layout.late:
                layers[layer].candidate = self._matrix(parameters, f"{name}weight_hh", layout.late, weights)
            if layer > 0:
                layers[layer].input = self._matrix(parameters, f"{name}weight_ih", layout.input_order, weights)
        self._first_input(parameters, layers)
        bias = aligned((model.vocabulary_padded,), np.float32)
        bias[:V], bias[V:] = parameters["decoder.bias"], NEVER
        model.decoder_bias = self._keep(bias)
        decoder = "decoder.weight" if "decoder.weight" in parameters else "embedding"
        model.decoder = self._pack(parameters, decoder, (0,), V, _DECODER_ROWS, model.vocabulary_padded, "float32")

    def _keep(self, array: npt.NDArray[Any]) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _bias(self, blocks: list[Floats]) -> Floats:
        """Lays the blocks (H,) out in panels: (panels, SCRATCH)."""
        units, panels = self._units, self.model.panels
        bias = aligned((panels, SCRATCH), np.float32)
        bias[:] = 0
        H = self._config.hidden_size
        for place, block in enumerate(blocks):
            padded = np.zeros(panels * units, np.float32)
            padded[:H] = block
            bias[:, place * units : (place + 1) * units] = padded.reshape(panels, units)
        return bias

    def _matrix(
        self, parameters: Mapping[str, npt.NDArray[Any]], name: str, order: tuple[int, ...], weights: WeightsName
    ) -> Matrix:
        units = self._units
        return self._pack(parameters, name, order, self._config.hidden_size, units, self.model.panels * units, weights)

    def _pack(
        self,
        parameters: Mapping[str, npt.NDArray[Any]],
        name: str,
        order: tuple[int, ...],
        size: int,
        units: int,
        padded: int,
        weights: WeightsName,
    ) -> Matrix:
        """Brings the matrix called `name` (blocks of `size` rows, K) into panels (see native/step.h)."""
        matrix = np.ascontiguousarray(parameters[name], np.float32)
        blocks, K = len(order), matrix.shape[1]
        packed = Matrix(inputs=K, rows=blocks * units)
        if weights == "float32":
            out = aligned((padded * blocks * K,), np.float32)
            packed.weights = self._keep(out)
            self.num_bytes += out.nbytes
        elif weights == "float16":
            half = aligned((padded * blocks * K,), np.uint16)
            packed.half = self._keep(half)
            self.num_bytes += half.nbytes
        else:
            groups = _up(K, GROUP) // GROUP
            quantised = aligned((padded * blocks * groups * GROUP,), np.int8)
            scales = aligned((padded * blocks * groups,), np.float32)
            packed.quantised, packed.scales = self._keep(quantised), self._keep(scales)
            self.num_bytes += quantised.nbytes + scales.nbytes
        self._library.charrnn_pack(
            ctypes.c_void_p(matrix.ctypes.data), blocks, size, K, (ctypes.c_int32 * blocks)(*order), units, padded,
            ctypes.c_void_p(packed.weights), ctypes.c_void_p(packed.half), ctypes.c_void_p(packed.quantised),
            ctypes.c_void_p(packed.scales),
        )  # fmt: skip
        forget(parameters, name)  # so that not all matrices are held twice
        return packed

    def _first_input(self, parameters: Mapping[str, npt.NDArray[Any]], layers: Any) -> None:
        """Makes the first layer's input product for every character, where it takes little room beside the rest."""
        model, embedding = self.model, parameters["embedding"]
        V, E = embedding.shape
        padded = aligned((V, _up(E, 16)), np.float32)
        padded[:, :E], padded[:, E:] = embedding, 0
        model.embedding, model.embedding_size = self._keep(padded), padded.shape[1]
        kept, counted = len(self._kept), self.num_bytes
        layers[0].input = self._matrix(parameters, "layers.1.weight_ih", self._layout.input_order, "float32")
        size = 4 * V * model.panels * layers[0].input.rows
        if is_small_table(size, self.num_bytes):
            table = aligned((V, model.panels, layers[0].input.rows), np.float32)
            self._library.charrnn_tabulate(ctypes.byref(model), ctypes.c_void_p(table.ctypes.data), self._set)
            del self._kept[kept:]
            self.num_bytes = counted
            model.table = self._keep(table)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
