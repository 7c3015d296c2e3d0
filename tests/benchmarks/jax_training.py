"""A whole training step in JAX, as its experts write one: from the weights and the text of the plain one in `steps.py`.

One jitted function does all of it (loss, gradient, clipping by the global norm, Adam, the carried state) with its
buffers donated. The input product of a layer is one product for the whole window; `jax.lax.scan` goes over the window
for what is left. Three ways are tried, each with some unrolling, and the fastest is kept:

    autodiff by layer   a scan for each layer, differentiated by JAX, which adds up the recurrent weights' gradient in
                        every step
    autodiff by time    one scan of all layers
    own gradient        a scan for each layer with a backward pass written by hand, which leaves the gradient of the
                        recurrent weights to one product for the whole window

Shape letters: T time, B lanes, I input, H hidden, G gates times H. Knows JAX. Refuses to know clocks but its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import lax

from tests.benchmarks.steps import CPU, Shape, plain_model, windows_of

TRIED = (("own gradient", 1), ("own gradient", 4), ("autodiff by layer", 1), ("autodiff by time", 1))
"""Ways and unrolling; more unrolling was never faster, nor was any of the differentiated ones."""
LEARNING_RATE, BETA1, BETA2, EPSILON, CLIP = 1e-3, 0.9, 0.999, 1e-8, 1.0  # the plain step's

Tree = Any
Loop = Callable[[int], object]


def parameters_of(shape: Shape) -> Tree:
    """The plain step's first weights, matrices transposed: (I, G), (H, G)."""
    weights = {name: jnp.array(array.detach().numpy()) for name, array in plain_model(shape).named_parameters()}
    layers = [
        {
            "input": weights[f"recurrent.weight_ih_l{layer}"].T,
            "recurrent": weights[f"recurrent.weight_hh_l{layer}"].T,
            "input_bias": weights[f"recurrent.bias_ih_l{layer}"],
            "recurrent_bias": weights[f"recurrent.bias_hh_l{layer}"],
        }
        for layer in range(shape.layers)
    ]
    return {
        "embedding": weights["embedding.weight"],
        "layers": layers,
        "decoder": weights["decoder.weight"].T,
        "decoder_bias": weights["decoder.bias"],
    }


def _lstm_gates(products: Any, c: Any) -> tuple[Any, ...]:
    i, f, g, o = jnp.split(products, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * c + i * g
    return i, f, g, o, c, jnp.tanh(c)


def _lstm(products: Any, recurrent: Any, bias: Any, state: Any) -> Any:
    """Equations of a step after the input's product (B, G); the bias is in there."""
    h, c = state
    _, _, _, o, c, squashed = _lstm_gates(products + h @ recurrent, c)
    return o * squashed, c


def _gru(products: Any, recurrent: Any, bias: Any, state: Any) -> Any:
    (h,) = state
    H = h.shape[-1]
    mixed = h @ recurrent + bias
    gates = jax.nn.sigmoid(products[..., : 2 * H] + mixed[..., : 2 * H])
    r, z = gates[..., :H], gates[..., H:]
    n = jnp.tanh(products[..., 2 * H :] + r * mixed[..., 2 * H :])
    return ((1 - z) * n + z * h,)


def _input_product(cell: str, x: Any, layer: Tree) -> Any:
    product = x @ layer["input"] + layer["input_bias"]
    return product + layer["recurrent_bias"] if cell == "lstm" else product


def _own_lstm(unroll: int) -> Callable[..., Any]:
    """A layer (products (T, B, G), recurrent, bias, state) -> (outputs (T, B, H), state), with its gradient."""

    def forward(products: Any, recurrent: Any, bias: Any, state: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            i, f, g, o, after, squashed = _lstm_gates(x + h @ recurrent, c)
            new = o * squashed
            return (new, after), (new, (h, c, i, f, g, o, squashed))

        last, (outputs, kept) = lax.scan(step, state, products, unroll=unroll)
        return (outputs, last), (recurrent, bias, kept)

    def backward(saved: Any, gradients: Any) -> Any:
        recurrent, bias, kept = saved
        d_outputs, (d_h, d_c) = gradients
        back = recurrent.T

        def step(carry: Any, x: Any) -> Any:
            d_h, d_c = carry
            d_output, (_, c, i, f, g, o, squashed) = x
            d_h = d_h + d_output
            d_c = d_c + d_h * o * (1 - squashed * squashed)
            d_gates = jnp.concatenate(
                [d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_c * i * (1 - g * g), d_h * squashed * o * (1 - o)], -1
            )
            return (d_gates @ back, d_c * f), d_gates

        (d_h, d_c), d_products = lax.scan(step, (d_h, d_c), (d_outputs, kept), reverse=True, unroll=unroll)
        return d_products, _over_window(kept[0], d_products), jnp.zeros_like(bias), (d_h, d_c)

    return _with_gradient(forward, backward)


def _own_gru(unroll: int) -> Callable[..., Any]:
    """The same for a GRU, whose bias is inside the reset gate."""

    def forward(products: Any, recurrent: Any, bias: Any, state: Any) -> Any:
        H = recurrent.shape[0]

        def step(carry: Any, x: Any) -> Any:
            (h,) = carry
            mixed = h @ recurrent + bias
            gates = jax.nn.sigmoid(x[..., : 2 * H] + mixed[..., : 2 * H])
            r, z, m = gates[..., :H], gates[..., H:], mixed[..., 2 * H :]
            n = jnp.tanh(x[..., 2 * H :] + r * m)
            new = (1 - z) * n + z * h
            return (new,), (new, (h, r, z, n, m))

        last, (outputs, kept) = lax.scan(step, state, products, unroll=unroll)
        return (outputs, last), (recurrent, bias, kept)

    def backward(saved: Any, gradients: Any) -> Any:
        recurrent, _, kept = saved
        d_outputs, (d_h,) = gradients
        back = recurrent.T

        def step(carry: Any, x: Any) -> Any:
            d_output, (h, r, z, n, m) = x
            d_h = carry[0] + d_output
            d_n = d_h * (1 - z) * (1 - n * n)
            d_r, d_z = d_n * m * r * (1 - r), d_h * (h - n) * z * (1 - z)
            d_mixed = jnp.concatenate([d_r, d_z, d_n * r], -1)
            return (d_mixed @ back + d_h * z,), (jnp.concatenate([d_r, d_z, d_n], -1), d_mixed)

        first, (d_products, d_mixed) = lax.scan(step, (d_h,), (d_outputs, kept), reverse=True, unroll=unroll)
        return d_products, _over_window(kept[0], d_mixed), d_mixed.sum((0, 1)), first

    return _with_gradient(forward, backward)


def _over_window(before: Any, d_mixed: Any) -> Any:
    """The recurrent weights' gradient (H, G), of states and gradients (T, B, ...), as one product."""
    return before.reshape(-1, before.shape[-1]).T @ d_mixed.reshape(-1, d_mixed.shape[-1])


def _with_gradient(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    layer = jax.custom_vjp(lambda *given: forward(*given)[0])
    layer.defvjp(forward, backward)
    return layer


def _network(cell: str, way: str, unroll: int) -> Callable[..., Any]:
    """(layers, x (T, B, I), states) -> outputs (T, B, H), states."""
    step = _lstm if cell == "lstm" else _gru
    own = (_own_lstm if cell == "lstm" else _own_gru)(unroll)

    def by_layer(layers: Tree, x: Any, states: Any) -> Any:
        after = []
        for layer, state in zip(layers, states, strict=True):
            products, recurrent, bias = _input_product(cell, x, layer), layer["recurrent"], layer["recurrent_bias"]
            if way == "own gradient":
                x, last = own(products, recurrent, bias, state)
            else:

                def one(carry: Any, product: Any, recurrent: Any = recurrent, bias: Any = bias) -> Any:
                    carry = step(product, recurrent, bias, carry)
                    return carry, carry[0]

                last, x = lax.scan(one, state, products, unroll=unroll)
            after.append(last)
        return x, after

    def by_time(layers: Tree, x: Any, states: Any) -> Any:
        def one(carry: Any, product: Any) -> Any:
            after = [step(product, layers[0]["recurrent"], layers[0]["recurrent_bias"], carry[0])]
            for layer, state in zip(layers[1:], carry[1:], strict=True):
                product = _input_product(cell, after[-1][0], layer)
                after.append(step(product, layer["recurrent"], layer["recurrent_bias"], state))
            return after, after[-1][0]

        last, outputs = lax.scan(one, list(states), _input_product(cell, x, layers[0]), unroll=unroll)
        return outputs, last

    return by_time if way == "autodiff by time" else by_layer


def make_step(shape: Shape, way: str, unroll: int) -> tuple[Callable[..., Any], Tree]:
    """The jitted step (what is carried, inputs (T, B), targets) -> (what is carried, loss), and its beginning."""
    network = _network(shape.cell, way, unroll)

    def loss_of(parameters: Tree, states: Any, inputs: Any, targets: Any) -> Any:
        outputs, after = network(parameters["layers"], parameters["embedding"][inputs], states)
        logits = outputs.reshape(-1, shape.hidden) @ parameters["decoder"] + parameters["decoder_bias"]
        likely = jnp.take_along_axis(jax.nn.log_softmax(logits), targets.reshape(-1, 1), axis=1)
        return -likely.mean(), after

    def step(carried: Tree, inputs: Any, targets: Any) -> Any:
        parameters, first, second, states, count = carried
        (loss, states), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, states, inputs, targets)
        norm = jnp.sqrt(sum((gradient * gradient).sum() for gradient in jax.tree.leaves(gradients)))
        scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
        count = count + 1
        small, large = 1 - BETA1**count, jnp.sqrt(1 - BETA2**count)
        gradients = jax.tree.map(lambda gradient: gradient * scale, gradients)
        first = jax.tree.map(lambda mean, gradient: BETA1 * mean + (1 - BETA1) * gradient, first, gradients)
        second = jax.tree.map(lambda mean, gradient: BETA2 * mean + (1 - BETA2) * gradient**2, second, gradients)
        parameters = jax.tree.map(
            lambda weight, m, v: weight - LEARNING_RATE / small * m / (jnp.sqrt(v) / large + EPSILON),
            parameters,
            first,
            second,
        )
        return (parameters, first, second, states, count), loss

    parameters = parameters_of(shape)
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)  # noqa: E731  (each buffer is donated once)
    states = [
        tuple(jnp.zeros((shape.lanes, shape.hidden)) for _ in range(2 if shape.cell == "lstm" else 1))
        for _ in range(shape.layers)
    ]
    return jax.jit(step, donate_argnums=0), (parameters, zeros(), zeros(), states, jnp.zeros((), jnp.float32))


def stepper(shape: Shape, way: str, unroll: int) -> Callable[[], Any]:
    """A step over the next window of the text, which gives its loss on the device."""
    step, carried = make_step(shape, way, unroll)
    windows = windows_of(shape, CPU)

    def one() -> Any:
        nonlocal carried
        inputs, targets = (ids.to(torch.int32).numpy() for ids in next(windows))
        carried, loss = step(carried, inputs, targets)
        return loss

    return one


def training(
    threads: int | None, *, shape: list[Any], tried: Sequence[Sequence[Any]] = TRIED, only: str = ""
) -> tuple[Loop, dict[str, Any]]:
    """The fastest of the ways whose names begin with `only`; tells which, and the milliseconds a step of each. Its
    threads are set by the worker's environment, before JAX is loaded."""
    steps, seconds = {}, {}
    for way, unroll in (each for each in tried if each[0].startswith(only)):
        name = f"{way}, unroll {unroll}"
        steps[name] = stepper(Shape(*shape), way, unroll)
        seconds[name] = _best_of(steps[name])
        best = min(seconds, key=seconds.__getitem__)
        steps = {best: steps[best]}
    one = steps[best]

    def loop(length: int) -> None:
        loss = None
        for _ in range(length):
            loss = one()
        jax.block_until_ready(loss)

    return loop, {"way": best, "ms": {name: 1e3 * value for name, value in seconds.items()}}


def _best_of(step: Callable[[], Any], rounds: int = 5) -> float:
    jax.block_until_ready(step())
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(step())
        taken.append(time.perf_counter() - began)
    return min(taken)
