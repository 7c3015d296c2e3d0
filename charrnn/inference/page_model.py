"""A model's arrays as the step in JavaScript reads them (display/page/step.js): one run of bytes and what lies where.

Every matrix lies in fours of rows: of four rows the first weights, then the second ones, and so on, with rows of zeros
at the end where their number is no multiple of four. In int8 the matrices that `--weights int8` rounds are rounded as
there (native/step.h): in whole numbers of 1/127 of the largest weight of a row's group of 64 inputs, which are the
recurrent matrices and, above the first layer, the input matrices. A group's scale has the 1/32767 in it by which the
step in JavaScript, like the compiled one, makes whole numbers of h. All else is float32, as it is in that engine.

Shape letters: R rows and K inputs of a matrix, G groups of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import layer_parameters, written_out
from charrnn.cells.registry import describe, is_plain, make_cell
from charrnn.errors import UsageError
from charrnn.inference.panels import LAYOUTS
from charrnn.native.step import GROUP
from charrnn.settings.choices import PageWeights
from charrnn.settings.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[Any]]

_FOUR, _ALIGNED = 4, 8
_MOST, _FULL = np.float32(127), np.float32(32767)


@dataclass(frozen=True, slots=True)
class PackedModel:
    """What a page holds of a model."""

    described: dict[str, Any]
    """Cell, layers, hidden, vocabulary, and for each array its name, type, shape and place: ready for JSON."""
    content: bytes
    """The arrays, little-endian, each at a multiple of eight bytes."""


def check_can_be_packed(config: ModelConfig) -> None:
    """Raises UsageError for a model whose step outside training is more than a plain cell's."""
    why = ""
    if not is_plain(config):
        why = f"this model's step is that of {describe(config)}"
    elif config.skip != "none":
        why = f"this model's layers are connected by --skip {config.skip}"
    if why:
        raise UsageError(
            f"a page steps the plain lstm, gru and rnn, and {why}",
            "train a model without that, or share the checkpoint itself, which charrnn sample reads",
        )


def pack(config: ModelConfig, parameters: Arrays, weights: PageWeights) -> PackedModel:
    """Returns the model for a page. Raises UsageError where `check_can_be_packed` does."""
    check_can_be_packed(config)
    config, parameters = written_out(config, parameters)
    cell = make_cell(config).core.at_rest()
    late = LAYOUTS[str(cell.compiled)].late
    packing = _Packing()
    packing.matrix("embedding", parameters["embedding"])
    if "decoder.weight" in parameters:
        packing.matrix("decoder.weight", parameters["decoder.weight"])
    packing.add("decoder.bias", parameters["decoder.bias"])
    for layer in range(1, config.num_layers + 1):
        p, name = layer_parameters(parameters, layer), f"layers.{layer}."
        matrices = {"weight_ih": p["weight_ih"], "weight_hh": p["weight_hh"]}
        if late:  # the last blocks
            matrices["weight_hh"], matrices["candidate"] = np.split(p["weight_hh"], [-len(late) * config.hidden_size])
        for which, matrix in matrices.items():
            is_rounded = weights == "int8" and (layer > 1 or which != "weight_ih")
            (packing.rounded_matrix if is_rounded else packing.matrix)(name + which, matrix)
        packing.add(f"{name}bias", p[cell.input_bias])
        if "bias_hh" in p:
            packing.add(f"{name}recurrent_bias", p["bias_hh"])
    described = {
        "cell": config.cell,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "vocabulary": len(parameters["embedding"]),
        "arrays": packing.entries,
    }
    return PackedModel(described, bytes(packing.content))


class _Packing:
    """Arrays one behind the other."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.content = bytearray()

    def add(self, name: str, array: npt.NDArray[Any], shape: tuple[int, ...] | None = None) -> None:
        self.content.extend(bytes(-len(self.content) % _ALIGNED))
        is_rounded = array.dtype == np.int8
        entry = {
            "name": name,
            "type": "int8" if is_rounded else "float32",
            "shape": list(shape or array.shape),
            "offset": len(self.content),
            "length": array.size,
        }
        self.entries.append(entry)
        self.content += np.ascontiguousarray(array, "i1" if is_rounded else "<f4").tobytes()

    def matrix(self, name: str, matrix: npt.NDArray[Any]) -> None:
        self.add(name, _in_fours(np.asarray(matrix, np.float32)), matrix.shape)

    def rounded_matrix(self, name: str, matrix: npt.NDArray[Any]) -> None:
        """Adds a matrix (R, K) in int8, and its scales (R, G)."""
        quantised, scales = rounded(matrix)
        self.add(name, _in_fours(quantised), matrix.shape)
        self.add(f"{name}.scales", _in_fours(scales), scales.shape)


def rounded(matrix: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Returns the matrix (R, K) in whole numbers from -127 to 127, and what each group's are multiplied by (R, G)."""
    R, K = matrix.shape
    padded = np.zeros((R, -(-K // GROUP), GROUP), np.float32)
    padded.reshape(R, -1)[:, :K] = matrix
    largest = np.abs(padded).max(-1)
    inverse = np.divide(_MOST, largest, out=np.zeros_like(largest), where=largest > 0)
    quantised = np.rint(padded * inverse[..., None]).astype(np.int8).reshape(R, -1)[:, :K]
    return quantised, largest / _MOST / _FULL


def _in_fours(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns (R, K) with four rows side by side: (R / 4, K, 4)."""
    R, K = matrix.shape
    padded = np.zeros((-(-R // _FOUR) * _FOUR, K), matrix.dtype)
    padded[:R] = matrix
    return padded.reshape(-1, _FOUR, K).transpose(0, 2, 1)
