"""The way back through torch's graph of a GPU's tensors, on one thread.

torch's own engine asks the driver for the device. The nodes are torch's, and each does what it does on a GPU; what is
here is the order in which they are called, and the checks between them. `fakecuda.py` puts it in the engine's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge


@torch.no_grad()
def go_back(root: Tensor, wanted: dict[Any, Any]) -> None:
    """torch/csrc/autograd/engine.cpp, from a number. Under `wanted`, (node, place) -> None, gradients are kept, else
    they are accumulated in the leaves."""
    order = _last_first(root.grad_fn)
    into: dict[Any, list[Any]] = {node: [None] * len(node._input_metadata) for node in order}
    into[root.grad_fn][root.output_nr] = torch.ones_like(root)
    for node in order:
        for place, gradient in enumerate(into[node]):
            if (node, place) in wanted:
                wanted[node, place] = gradient
        if all(gradient is None for gradient in into[node]):
            continue
        if node.name() == "torch::autograd::AccumulateGrad":
            if not wanted:
                _accumulate(node.variable, into[node][0])
            continue
        gradients = _called(node, into[node])
        for gradient, (after, place) in zip(gradients, node.next_functions, strict=True):
            if after is not None and gradient is not None:
                given, before = _validated(gradient, after._input_metadata[place]), into[after][place]
                into[after][place] = given if before is None else before + given


def gradients_of(
    output: Tensor, inputs: Sequence[Tensor], *, allow_unused: bool = False, materialize_grads: bool = False
) -> tuple[Tensor | None, ...]:
    """torch.autograd.grad of a number."""
    edges = [get_gradient_edge(tensor) for tensor in inputs]
    wanted: dict[Any, Any] = {(edge.node, edge.output_nr): None for edge in edges}
    go_back(output, wanted)
    found = [wanted[edge.node, edge.output_nr] for edge in edges]
    if materialize_grads:
        found = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
    elif not allow_unused and any(gradient is None for gradient in found):
        raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph.")
    return tuple(found)


def _last_first(root: Any) -> list[Any]:
    """The nodes of a graph, each before those it hands its results to."""
    order: list[Any] = []
    seen, waiting = {root}, [(root, iter(root.next_functions))]
    while waiting:
        node, rest = waiting[-1]
        after = next((after for after, _ in rest if after is not None and after not in seen), None)
        if after is None:
            waiting.pop()
            order.append(node)
        else:
            seen.add(after)
            waiting.append((after, iter(after.next_functions)))
    return order[::-1]


def _called(node: Any, gradients: list[Any]) -> tuple[Any, ...]:
    """A node's results, one for each of its next functions."""
    if not isinstance(node, BackwardCFunction):
        results = node(*gradients)
        return results if isinstance(results, tuple) else (results,)
    # A function in Python gets zeros for what is missing and answers for all its arguments (python_function.cpp).
    whole = [
        torch.zeros(tuple(about.shape), dtype=about.dtype, device=about.device) if gradient is None else gradient
        for gradient, about in zip(gradients, node._input_metadata, strict=True)
    ]
    results = node.apply(*whole)
    results = results if isinstance(results, tuple) else (results,)
    learned = iter([result for result, needs in zip(results, node.needs_input_grad, strict=True) if needs])
    return tuple(None if after is None else next(learned) for after, _ in node.next_functions)


def _validated(gradient: Tensor, about: Any) -> Tensor:
    """engine.cpp, validate_outputs: of the device, the shape and the type of what it is the gradient of."""
    if gradient.device != about.device:
        raise RuntimeError(f"expected a gradient on {about.device} but got one on {gradient.device}")
    if tuple(gradient.shape) != tuple(about.shape):
        gradient = gradient.sum_to_size(tuple(about.shape))
    return gradient.to(about.dtype)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    """torch/csrc/autograd/functions/accumulate_grad.h."""
    if leaf.grad is None:
        leaf.grad = gradient.detach()
    else:
        leaf.grad.add_(gradient)
