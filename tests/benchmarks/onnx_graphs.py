"""A step of the sampling benchmark's network as an ONNX graph, and ONNX Runtime's session for it.

Inputs: ids (1, B) and each layer's states; outputs: logits (B, V) and the states after. In one way layers are ONNX's
LSTM operator, in the other a product of the input and the state together, and the equations spelled out; there the
first layer's input product is a table by character. State goes from one step to the next in memory that is bound once:
two sets of buffers take turns. Shape letters: B lanes, V vocabulary, I input, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

Arrays = Mapping[str, npt.NDArray[Any]]


class _Graph:
    """Nodes and constants as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _reordered(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows of gates in ONNX's order i o f c, from i f g o."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])


def _by_operator(graph: _Graph, arrays: Arrays, layers: int, hidden: int) -> str:
    x = graph.add("Gather", [graph.constant("embedding", arrays["embedding"]), "ids"], ["embedded"])  # (1, B, I)
    for layer in range(layers):
        weights = [_reordered(arrays[f"layers.{layer + 1}.{name}"]) for name in ("weight_ih", "weight_hh", "bias")]
        weights[2] = np.concatenate([weights[2], np.zeros_like(weights[2])])
        names = [graph.constant(f"{kind}{layer}", array[None]) for kind, array in zip("WRB", weights, strict=True)]
        outputs = [f"y{layer}", f"h{layer}_after", f"c{layer}_after"]
        graph.add("LSTM", [x, *names, "", f"h{layer}", f"c{layer}"], outputs, hidden_size=hidden)
        x = graph.add("Squeeze", [f"y{layer}", graph.constant(f"axis{layer}", np.array([1]))], [f"x{layer}"])
    return graph.add("Squeeze", [x, graph.constant("axis", np.array([0]))], ["last"])


def _by_products(graph: _Graph, arrays: Arrays, layers: int, hidden: int) -> str:
    table = arrays["embedding"] @ arrays["layers.1.weight_ih"].T + arrays["layers.1.bias"]
    flat = graph.add("Squeeze", ["ids", graph.constant("axis", np.array([0]))], ["flat"])
    x = ""
    for layer in range(layers):
        name, state = f"layers.{layer + 1}", f"flat_h{layer}"
        graph.add("Squeeze", [f"h{layer}", "axis"], [state])
        graph.add("Squeeze", [f"c{layer}", "axis"], [f"flat_c{layer}"])
        if layer == 0:
            product = graph.add("MatMul", [state, graph.constant("R0", arrays[f"{name}.weight_hh"].T)], ["mixed0"])
            looked_up = graph.add("Gather", [graph.constant("table", table), flat], ["looked_up"])
            gates = graph.add("Add", [product, looked_up], ["gates0"])
        else:
            both = np.concatenate([arrays[f"{name}.weight_ih"], arrays[f"{name}.weight_hh"]], 1).T
            together = graph.add("Concat", [x, state], [f"both{layer}"], axis=1)
            weights = [graph.constant(f"WR{layer}", both), graph.constant(f"B{layer}", arrays[f"{name}.bias"])]
            gates = graph.add("Gemm", [together, *weights], [f"gates{layer}"])
        parts = [f"{part}{layer}" for part in ("i", "f", "g", "o")]
        graph.add("Split", [gates], [f"before_{part}" for part in parts], axis=1, num_outputs=4)
        for part, operator in zip(parts, ("Sigmoid", "Sigmoid", "Tanh", "Sigmoid"), strict=True):
            graph.add(operator, [f"before_{part}"], [part])
        i, f, g, o = parts
        kept = graph.add("Mul", [f, f"flat_c{layer}"], [f"kept{layer}"])
        new = graph.add("Mul", [i, g], [f"new{layer}"])
        c = graph.add("Add", [kept, new], [f"flat_c{layer}_after"])
        x = graph.add("Mul", [o, graph.add("Tanh", [c], [f"squashed{layer}"])], [f"x{layer}"])
        graph.add("Unsqueeze", [x, "axis"], [f"h{layer}_after"])
        graph.add("Unsqueeze", [c, "axis"], [f"c{layer}_after"])
    return x


def make_model(way: str, arrays: Arrays, layers: int, hidden: int, count: int) -> bytes:
    """Returns the graph, `way` being LSTM or MatMul, for `count` lanes."""
    graph = _Graph()
    last = (_by_operator if way == "LSTM" else _by_products)(graph, arrays, layers, hidden)
    decoder = graph.constant("decoder", arrays["decoder.weight"])
    graph.add("Gemm", [last, decoder, graph.constant("decoder_bias", arrays["decoder.bias"])], ["logits"], transB=1)
    states = [f"{kind}{layer}" for layer in range(layers) for kind in "hc"]
    value = helper.make_tensor_value_info
    inputs = [value("ids", TensorProto.INT64, [1, count])]
    inputs += [value(name, TensorProto.FLOAT, [1, count, hidden]) for name in states]
    outputs = [value("logits", TensorProto.FLOAT, [count, len(arrays["decoder.bias"])])]
    outputs += [value(f"{name}_after", TensorProto.FLOAT, [1, count, hidden]) for name in states]
    made = helper.make_graph(graph.nodes, "step", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class OnnxStep:
    """Ids (B,) -> logits (B, V); the state stays inside. The logits are overwritten by the step after the next."""

    def __init__(
        self, way: str, arrays: Arrays, layers: int, hidden: int, count: int, threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = make_model(way, arrays, layers, hidden, count)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        states = [f"{kind}{layer}" for layer in range(layers) for kind in "hc"]
        self._ids = np.zeros((1, count), np.int64)
        ids = onnxruntime.OrtValue.ortvalue_from_numpy(self._ids)
        values = [
            {
                name: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, count, hidden), np.float32))
                for name in states
            }
            for _ in range(2)
        ]
        self._logits = [np.zeros((count, len(arrays["decoder.bias"])), np.float32) for _ in range(2)]
        self._bound = []
        self._kept = [ids, values]
        for turn in range(2):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("ids", ids)
            logits = onnxruntime.OrtValue.ortvalue_from_numpy(self._logits[turn])
            self._kept.append(logits)
            binding.bind_ortvalue_output("logits", logits)
            for name in states:
                binding.bind_ortvalue_input(name, values[turn][name])
                binding.bind_ortvalue_output(f"{name}_after", values[1 - turn][name])
            self._bound.append(binding)
        # numpy's memory is shared, not copied: what is written into one is read from the other.
        self._turn = 0

    def __call__(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        self._ids[0] = ids
        turn, self._turn = self._turn, 1 - self._turn
        self._session.run_with_iobinding(self._bound[turn])
        return self._logits[turn]
