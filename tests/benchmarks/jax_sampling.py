"""A step of the sampling benchmark's network in JAX, and a loop that draws characters inside of one jitted call.

The first layer's input product is a table by character; the others multiply the input and the state together. Matrices
are kept as (K, G) or as (G, K): which is faster depends on the number of lanes. The state stays on the device and its
buffers are donated. Shape letters: B lanes, V vocabulary, K inputs, G gates times hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from tests.benchmarks.sampling_loops import TEMPERATURE

BLOCK = 64

Step = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def make_ways(
    arrays: Mapping[str, npt.NDArray[Any]], layers: int, hidden: int, count: int
) -> dict[str, tuple[Step, Step]]:
    """By how matrices lie: a step (ids (B,) -> logits (B, V)) and a block (uniforms (64, B) -> ids (64, B)), each with
    a state of its own."""
    return {
        "(K, G)": _way(arrays, layers, hidden, count, is_turned=True),
        "(G, K)": _way(arrays, layers, hidden, count, is_turned=False),
    }


def _way(
    arrays: Mapping[str, npt.NDArray[Any]], layers: int, hidden: int, count: int, *, is_turned: bool
) -> tuple[Step, Step]:
    def matrix(array: npt.NDArray[Any]) -> Any:
        return jnp.array(array.T.copy() if is_turned else array)

    def product(x: Any, weights: Any) -> Any:
        return x @ weights if is_turned else lax.dot_general(x, weights, (((1,), (1,)), ((), ())))

    weights = {
        "table": jnp.array(arrays["embedding"] @ arrays["layers.1.weight_ih"].T + arrays["layers.1.bias"]),
        "layers": [matrix(arrays["layers.1.weight_hh"])]
        + [
            matrix(np.concatenate([arrays[f"layers.{n}.weight_ih"], arrays[f"layers.{n}.weight_hh"]], 1))
            for n in range(2, layers + 1)
        ],
        "biases": [jnp.array(arrays[f"layers.{n}.bias"]) for n in range(2, layers + 1)],
        "decoder": matrix(arrays["decoder.weight"]),
        "decoder_bias": jnp.array(arrays["decoder.bias"]),
    }

    def network(weights: Any, ids: Any, states: Any) -> Any:
        after, x = [], None
        for layer, (h, c) in enumerate(states):
            if layer == 0:
                gates = weights["table"][ids] + product(h, weights["layers"][0])
            else:
                both = jnp.concatenate([x, h], -1)
                gates = product(both, weights["layers"][layer]) + weights["biases"][layer - 1]
            i, f, g, o = jnp.split(gates, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            x = jax.nn.sigmoid(o) * jnp.tanh(c)
            after.append((x, c))
        return product(x, weights["decoder"]) + weights["decoder_bias"], after

    def block(weights: Any, ids: Any, states: Any, uniforms: Any) -> Any:
        def one(carry: Any, uniform: Any) -> Any:
            logits, after = network(weights, *carry)
            scaled = logits / TEMPERATURE
            sums = jnp.cumsum(jnp.exp(scaled - scaled.max(1, keepdims=True)), 1)
            drawn = (sums <= uniform[:, None] * sums[:, -1:]).sum(1)
            drawn = jnp.minimum(drawn, logits.shape[1] - 1).astype(jnp.int32)
            return (drawn, after), drawn

        (ids, states), drawn = lax.scan(one, (ids, states), uniforms)
        return ids, states, drawn

    def zeros() -> Any:
        return [(jnp.zeros((count, hidden)), jnp.zeros((count, hidden))) for _ in range(layers)]

    fast_step, fast_block = jax.jit(network, donate_argnums=2), jax.jit(block, donate_argnums=2)
    states, block_states, last = zeros(), zeros(), jnp.zeros(count, jnp.int32)

    def take_step(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
        nonlocal states
        logits, states = fast_step(weights, ids.astype(np.int32), states)
        return np.array(logits)  # a copy: JAX's own cannot be written to

    def take_block(uniforms: npt.NDArray[Any]) -> npt.NDArray[Any]:
        nonlocal block_states, last
        last, block_states, drawn = fast_block(weights, last, block_states, uniforms)
        return np.asarray(drawn)

    return take_step, take_block
