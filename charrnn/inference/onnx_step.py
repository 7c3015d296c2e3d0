"""One step of a model as an ONNX graph, for runtimes outside of Python: the cells' own equations, followed once.

    inputs     ids (B,) int64; h and, of an lstm, c: (L, B, H), zeros before the first character
    outputs    logits (B, V) of the next character; h_after and c_after

The graph has basic operators alone (Gemm, Add, Mul, Sigmoid, Tanh, Split and so on), which every runtime has. A cell's
step runs here on values of the graph instead of arrays, so that each of them notes the operation it comes from; all
cells of real numbers can be written so. Torch is not needed, the package onnx is.

Shape letters: B lanes, L layers, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import decoder_weight, layer_parameters, written_out
from charrnn.cells.registry import describe, make_cell
from charrnn.cells.wiring import decoder_input, layer_input
from charrnn.errors import UsageError
from charrnn.settings.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[Any]]

_OPSET, _IR = 18, 9
_MOST_BYTES = (1 << 31) - (1 << 20)
"""A file of protocol buffers holds less than 2 GiB."""


def step_model(config: ModelConfig, parameters: Arrays, metadata: Mapping[str, str]) -> bytes:
    """Returns the content of an ONNX file: the graph of one step, and `metadata`, texts by name.

    The constants are the checkpoint's arrays under their names. Raises UsageError where the package onnx is missing,
    the cell computes with complex numbers, or the arrays are too large for such a file.
    """
    try:
        onnx, helper = import_module("onnx"), import_module("onnx.helper")
    except ImportError as error:
        raise UsageError("the package onnx is not installed", "pip install 'charrnn[onnx]'") from error
    config, parameters = written_out(config, parameters)
    graph = _Graph(parameters)
    states = _follow(graph, config, parameters)
    size = sum(array.nbytes for array in graph.constants.values())
    if size > _MOST_BYTES:
        raise UsageError(
            f"the model's arrays take {size / 2**30:.1f} GiB, and an ONNX file holds less than 2",
            "charrnn help layout says how to use the checkpoint itself",
        )
    number, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    shape, V = [config.num_layers, "batch", config.hidden_size], len(parameters["embedding"])
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node(operator, inputs, outputs, **more) for operator, inputs, outputs, more in graph.nodes],
        "step",
        [value("ids", number, ["batch"]), *(value(name, real, shape) for name in states)],
        [value("logits", real, ["batch", V]), *(value(f"{name}_after", real, shape) for name in states)],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _follow(graph: _Graph, config: ModelConfig, parameters: Arrays) -> tuple[str, ...]:
    """Notes all operations of a step in the graph, from "ids" to "logits"; returns the names of the states."""
    cell = make_cell(config).core.at_rest()
    if cell.is_unitary:
        raise UsageError(
            f"ONNX has no complex numbers, with which this cell computes: {describe(config)}",
            "charrnn help layout says where its equations stand",
        )
    L, E, H = config.num_layers, config.embedding_size, config.hidden_size
    below = [graph.add("Gather", [graph.constant(parameters["embedding"]), "ids"], E, axis=0)]
    after: list[tuple[_Value, ...]] = []
    for layer in range(L):
        p = layer_parameters(parameters, layer + 1)
        place = graph.constant(np.array(layer, np.int64))
        state = tuple(graph.add("Gather", [name, place], H, axis=0) for name in cell.state_names)
        new, _ = cell.advance(p, cell.prepare(p, layer_input(config.skip, below)), state)
        after.append(new)
        below.append(new[0])
    axis = graph.constant(np.array([0], np.int64))
    for name, layers in zip(cell.state_names, zip(*after, strict=True), strict=True):
        graph.nodes.append(("Concat", [graph.add("Unsqueeze", [value, axis], H).name for value in layers],
                            [f"{name}_after"], {"axis": 0}))  # fmt: skip
    reading = [decoder_input(config.skip, below).name, graph.constant(decoder_weight(parameters))]
    graph.nodes.append(("Gemm", [*reading, graph.constant(parameters["decoder.bias"])], ["logits"], {"transB": 1}))
    return cell.state_names


class _Graph:
    """Operations in the order in which they were made, and the constants that they read."""

    def __init__(self, parameters: Arrays) -> None:
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self._known = {_key(array): name for name, array in parameters.items()}
        self._kept = list(parameters.values())  # so that no other array takes the place of one in memory

    def constant(self, value: Any) -> str:
        """Returns the name of a constant, which is one of the layout where the array is one of the model's."""
        array = np.asarray(value, None if getattr(value, "dtype", None) == np.int64 else np.float32)
        name = self._known.get(_key(array)) or f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array) if array.ndim else array
        return name

    def add(self, operator: str, inputs: list[Any], width: int, **attributes: Any) -> _Value:
        """Notes an operation, and returns its result (B, width)."""
        return self.split(operator, inputs, [width], **attributes)[0]

    def split(self, operator: str, inputs: list[Any], widths: list[int], **attributes: Any) -> list[_Value]:
        """Notes an operation with several results."""
        names = [each.name if isinstance(each, _Value) else each for each in inputs]
        results = [f"{operator.lower()}_{len(self.nodes)}_{place}" for place in range(len(widths))]
        self.nodes.append((operator, names, results, attributes))
        return [_Value(self, name, width) for name, width in zip(results, widths, strict=True)]

    def cat(self, values: tuple[_Value, ...], axis: int) -> _Value:
        """Returns values side by side."""
        return self.add("Concat", list(values), sum(value.width for value in values), axis=axis)

    def layer_norm(self, x: _Value, _shape: Any, gain: Any, _bias: None, epsilon: float) -> _Value:
        """Returns x normalised over its last axis, times the gain."""
        inputs = [x, self.constant(gain)]
        return self.add("LayerNormalization", inputs, x.width, axis=-1, epsilon=epsilon)


def _key(array: npt.NDArray[Any]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return array.__array_interface__["data"][0], array.shape, array.strides


class _Value:
    """A result (B, width) of the graph, which has the methods and operators of an array that cells use."""

    __array_ufunc__ = None  # numpy leaves its operators with one to this class
    dtype = np.float32

    def __init__(self, graph: _Graph, name: str, width: int) -> None:
        self.library, self.name, self.width = graph, name, width

    @property
    def shape(self) -> tuple[str, int]:
        return "batch", self.width

    def _with(self, operator: str, other: Any, *, is_right: bool = False) -> _Value:
        other = other if isinstance(other, _Value) else self.library.constant(other)
        return self.library.add(operator, [other, self] if is_right else [self, other], self.width)

    def _alone(self, operator: str) -> _Value:
        return self.library.add(operator, [self], self.width)

    def __add__(self, other: Any) -> _Value:
        return self._with("Add", other)

    def __sub__(self, other: Any) -> _Value:
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> _Value:
        return self._with("Sub", other, is_right=True)

    def __mul__(self, other: Any) -> _Value:
        return self._with("Mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, matrix: npt.NDArray[Any]) -> _Value:
        """Returns the product with a matrix (width, outputs), such as the transpose of one of the layout."""
        constant = self.library.constant(matrix.T)
        return self.library.add("Gemm", [self, constant], matrix.shape[1], transB=1)

    def __getitem__(self, place: tuple[Any, slice]) -> _Value:
        """Returns the columns x[..., begin:end]."""
        begin, end, _ = place[1].indices(self.width)
        ends = [self.library.constant(np.array([each], np.int64)) for each in (begin, end, 1)]
        return self.library.add("Slice", [self, *ends], end - begin)

    def __abs__(self) -> _Value:
        return self._alone("Abs")

    def chunk(self, parts: int, axis: int) -> list[_Value]:
        return self.library.split("Split", [self], [self.width // parts] * parts, axis=axis, num_outputs=parts)

    def sigmoid(self) -> _Value:
        return self._alone("Sigmoid")

    def tanh(self) -> _Value:
        return self._alone("Tanh")

    def relu(self) -> _Value:
        return self._alone("Relu")

    def sign(self) -> _Value:
        return self._alone("Sign")

    def minimum(self, other: _Value) -> _Value:
        return self._with("Min", other)

    def lerp(self, after: _Value, share: float) -> _Value:
        return self + share * (after - self)

    def to(self, _dtype: Any) -> Self:
        return self
