"""A plain cell along a window on a CPU, with its gradient written by hand.

What need not go step by step is one large product over the window: the input's part before it, and the gradients of
the weights after it. The rest, the recurrent product and the gates, is the compiled loop of `native/window.py`. A first
layer that reads characters needs no product at all: each character's input part is a row of a small table.

    forward    a_t = W_ih x_t + b + W_hh h_{t-1}        for all t at once, then step by step
    backward   dh_t = dout_t + W_hh^T da_{t+1}          step by step, da_t from dh_t by the cell's equations
               dW_hh = sum_t da_t h_{t-1}^T,  dW_ih = sum_t da_t x_t^T,  dx_t = W_ih^T da_t      at once

Where a gru's reset gate acts before the product, the candidate's block of W_hh reads r h_{t-1} in the place of h_{t-1},
forward and in dW_hh, and a step is two products.

The equations stand in `cells/`; the tests compare with a plain loop over them.

Shape letters: T window, B lanes, I input size, H hidden size, P hidden size padded to whole cache lines, V vocabulary,
N rows of input (T B, or V).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from charrnn.native.crew import most_threads
from charrnn.native.window import LAYOUTS, Library, Window, find_library
from charrnn.network.products import multiply

State = tuple[Tensor, ...]
_LINE = 16
_UNITS = 32  # of a panel of the backward pass where vectors are widest: more threads would only be waited for


@dataclass(slots=True)
class Buffers:
    """Large memory that is used again from window to window: fresh pages cost as much as the work on them."""

    free: dict[tuple[Any, ...], list[Tensor]] = field(default_factory=dict)

    def take(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Returns an uninitialised tensor that nobody else has."""
        kept = self.free.get((shape, dtype))
        return kept.pop() if kept else torch.empty(shape, dtype=dtype)

    def give(self, tensor: Tensor) -> None:
        """Takes back a tensor that is no longer needed."""
        self.free.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor)


def is_available(*tensors: Tensor) -> bool:
    """Whether the compiled recurrence can compute with these."""
    kinds = (torch.float32, torch.float64)
    return find_library() is not None and all(t.device.type == "cpu" and t.dtype in kinds for t in tensors)


def run_window(
    cell: str,
    p: Mapping[str, Tensor],
    x: Tensor,
    ids: Tensor | None,
    state: State,
    buffers: Buffers,
    *,
    starts: Tensor | None = None,
    is_narrow: bool = False,
) -> tuple[Tensor, State]:
    """Runs a cell over `x` (T, B, I) from `state` on: returns outputs (T, B, H) and the state after.

    With `ids` (T, B), `x` is the embedding (V, I) and its rows are the input. `p` holds the parameters of the cell that
    compiled code knows as `cell`. Differentiable once in everything but ids. `starts` (T, B) is true where a lane
    begins anew before the step, from zeros. With `is_narrow` the factors of every product are rounded to bfloat16 and
    the sums are not (Kalamkar et al. 2019, arXiv 1905.12322); state and gates stay as they are.
    """
    bias, second = (p["bias_ih"], p["bias_hh"]) if "bias_hh" in p else (p["bias"], None)
    (h, *c), kept = state, buffers if torch.is_grad_enabled() else None
    begun = starts.contiguous() if starts is not None and bool(starts.any()) else None
    output, *after = _Recurrence.apply(  # type: ignore[no-untyped-call]
        cell, is_narrow, kept, ids, begun, x, p["weight_ih"], bias, p["weight_hh"], second, h, c[0] if c else None
    )
    return output, tuple(after)


def _spread(blocks: Tensor, cell: str, P: int) -> Tensor:
    """Brings blocks of rows into the order and width of a row of gates: (blocks H, ...) -> (blocks P, ...)."""
    n, first = LAYOUTS[cell].blocks, LAYOUTS[cell].first
    H = len(blocks) // n
    if first:  # such as r z n -> n r z
        blocks = torch.cat((blocks[first * H :], blocks[: first * H]))
    if H == P:
        return blocks
    spread = blocks.new_zeros(n, P, *blocks.shape[1:])
    spread[:, :H] = blocks.view(n, H, *blocks.shape[1:])
    return spread.flatten(0, 1)


def _gather(spread: Tensor, cell: str, H: int, *, is_input: bool) -> Tensor:
    """Undoes `_spread`: (blocks P, ...) -> (blocks H, ...)."""
    n, first = LAYOUTS[cell].blocks, LAYOUTS[cell].first
    P = len(spread) // n
    if H != P:
        spread = spread.view(n, P, *spread.shape[1:])[:, :H].flatten(0, 1)
    if is_input and first:
        spread = torch.cat((spread[(n - first) * H :], spread[: (n - first) * H]))
    return spread


def _padded(rows: Tensor | None, like: Tensor, P: int) -> Tensor:
    """Copies rows (B, H) into new memory (B, P), which is zero where there is nothing."""
    if rows is not None and rows.shape[-1] == P:
        return rows.clone(memory_format=torch.contiguous_format)
    padded = like.new_zeros(len(like), P)
    if rows is not None:
        padded[:, : rows.shape[-1]] = rows
    return padded


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        is_narrow: bool,
        buffers: Buffers | None,
        ids: Tensor | None,
        starts: Tensor | None,
        x: Tensor,
        weight_ih: Tensor,
        bias: Tensor,
        weight_hh: Tensor,
        second_bias: Tensor | None,
        h: Tensor,
        c: Tensor | None,
    ) -> tuple[Tensor, ...]:
        library = find_library()
        assert library is not None
        is_backward_to_come, is_kept = buffers is not None and any(ctx.needs_input_grad), buffers is not None
        buffers = buffers or Buffers()
        T, B = (ids if ids is not None else x).shape[:2]
        H = weight_hh.shape[1]
        P = -(-H // _LINE) * _LINE
        n, kept = LAYOUTS[cell].blocks, LAYOUTS[cell].kept
        rows = x.flatten(0, -2)
        spread = _spread(weight_ih, cell, P)
        gates = buffers.take(T * B, kept * P, dtype=x.dtype)
        width = n * P
        spread_bias = _spread(bias, cell, P)
        if ids is not None:
            ids = ids.contiguous()
            products = multiply(rows, spread.t(), bias=spread_bias)
        elif is_narrow:
            products = buffers.take(T * B, width, dtype=torch.bfloat16)
            multiply(rows, spread.t(), bias=spread_bias, out=products, is_narrow=True)
        else:
            width = kept * P
            products = multiply(rows, spread.t(), bias=spread_bias, out=gates[:, : n * P])
        trace = [_trace(state, T, P) for state in (h, c) if state is not None]
        padded_bias = None
        if second_bias is not None:
            padded_bias = second_bias.new_zeros(n, P)
            padded_bias[:, :H] = second_bias.view(n, H)
        window = _window(library, cell, T, B, H, P, weight_hh, gates, trace, buffers)
        window.input, window.input_width = products.data_ptr(), width
        window.ids = None if ids is None else ids.data_ptr()
        factors, window.is_narrow = trace[0], is_narrow
        if is_narrow or starts is not None:
            factors = buffers.take(T + 1, B, P, dtype=torch.bfloat16 if is_narrow else x.dtype)
        window.factors, window.starts = factors.data_ptr(), None if starts is None else starts.data_ptr()
        window.bias = None if padded_bias is None else padded_bias.data_ptr()
        reset = buffers.take(T, B, P, dtype=factors.dtype) if LAYOUTS[cell].reset else None
        window.reset = None if reset is None else reset.data_ptr()
        library.forward(window)
        if is_narrow and ids is None:
            buffers.give(products)
        if is_backward_to_come:
            ctx.cell, ctx.buffers, ctx.ids, ctx.starts, ctx.sizes = cell, buffers, ids, starts, (T, B, H, P)
            ctx.gates, ctx.trace, ctx.factors, ctx.reset = gates, trace, factors, reset
            ctx.has_second_bias = second_bias is not None
            ctx.save_for_backward(rows, spread, weight_hh)
        elif is_kept:  # where nothing learns
            buffers.give(gates)
            if factors is not trace[0]:
                buffers.give(factors)
            if reset is not None:
                buffers.give(reset)
        return (trace[0][1:, :, :H], *(states[T, :, :H].clone() for states in trace))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_output: Tensor, *d_after: Tensor) -> tuple[Any, ...]:
        library = find_library()
        assert library is not None
        if ctx.gates is None:
            raise RuntimeError("the gates of this window have been used up by a backward pass before")
        rows, spread, weight_hh = ctx.saved_tensors
        cell, buffers, ids, gates, trace, factors = ctx.cell, ctx.buffers, ctx.ids, ctx.gates, ctx.trace, ctx.factors
        ctx.gates = None
        if gates.dtype == torch.float64:  # for checking gradients, which goes back several times
            ctx.gates, gates = gates, gates.clone()
        T, B, H, P = ctx.sizes
        n, kept = LAYOUTS[cell].blocks, LAYOUTS[cell].kept
        d_state = [_padded(d, states[0], P) for d, states in zip(d_after, trace, strict=True)]
        if H != P:
            d_output = torch.nn.functional.pad(d_output, (0, P - H))
        d_output = d_output.contiguous()
        d_bias = gates.new_empty(kept, P)
        window = _window(library, cell, T, B, H, P, weight_hh, gates, trace, buffers)
        window.output_gradient, window.bias_gradient = d_output.data_ptr(), d_bias.data_ptr()
        window.h_gradient = d_state[0].data_ptr()
        window.c_gradient = d_state[1].data_ptr() if len(d_state) > 1 else None
        window.wants_state_gradient = any(ctx.needs_input_grad[10:])
        window.starts = None if ctx.starts is None else ctx.starts.data_ptr()
        d_gates = gates
        if factors.dtype != gates.dtype:
            d_gates = buffers.take(T * B, kept * P, dtype=factors.dtype)
            window.is_narrow, window.narrow_gradients = True, d_gates.data_ptr()
        d_products = d_gates[:, : n * P]
        if ids is not None:
            d_products = gates.new_empty(len(rows), n * P)
            window.ids, window.vocabulary = ids.data_ptr(), len(rows)
            window.table_gradient = d_products.data_ptr()
        library.backward(window)

        def product(a: Tensor, b: Tensor) -> Tensor:
            is_narrow = a.dtype == torch.bfloat16
            return multiply(a, b, out=gates.new_empty(a.shape[0], b.shape[1]), is_narrow=is_narrow)

        d_x = None
        if ctx.needs_input_grad[5]:
            d_x = product(d_products, spread)
            d_x = d_x if ids is not None else d_x.view(T, B, -1)
        d_weight_ih = d_weight_hh = None
        if ctx.needs_input_grad[6]:
            d_weight_ih = _gather(product(d_products.t(), rows), cell, H, is_input=True)
        if ctx.needs_input_grad[8]:
            late, read = (kept - LAYOUTS[cell].reset) * P, factors[:-1].view(T * B, P)
            d_recurrent = product(d_gates[:, (kept - n) * P : late].t(), read)
            if ctx.reset is not None:
                d_recurrent = torch.cat((d_recurrent, product(d_gates[:, late:].t(), ctx.reset.view(T * B, P))))
            d_weight_hh = _gather(d_recurrent, cell, H, is_input=False)[:, :H]
        d_bias_ih = _gather(d_bias[:n].flatten(), cell, H, is_input=True)
        d_bias_hh = _gather(d_bias[kept - n :].flatten(), cell, H, is_input=False) if ctx.has_second_bias else None
        buffers.give(gates)
        if d_gates is not gates:
            buffers.give(d_gates)
        if factors is not trace[0] and ctx.gates is None:
            buffers.give(factors)
        if ctx.reset is not None and ctx.gates is None:
            buffers.give(ctx.reset)
        d_h, d_c = d_state[0][:, :H], d_state[1][:, :H] if len(d_state) > 1 else None
        return None, None, None, None, None, d_x, d_weight_ih, d_bias_ih, d_weight_hh, d_bias_hh, d_h, d_c


def _trace(state: Tensor, T: int, P: int) -> Tensor:
    """Makes room for a state before the window and after each step, (T + 1, B, P), with the first filled in."""
    B, H = state.shape
    trace = state.new_empty(T + 1, B, P)
    if H != P:
        trace[0].zero_()
    trace[0, :, :H] = state
    return trace


def _window(
    library: Library, cell: str, T: int, B: int, H: int, P: int, weight_hh: Tensor, gates: Tensor, trace: list[Tensor],
    buffers: Buffers,
) -> Window:  # fmt: skip
    panels = buffers.take(LAYOUTS[cell].blocks * P * P, dtype=gates.dtype)
    buffers.give(panels)  # needed while this window runs, and one runs at a time
    weight_hh = weight_hh.detach()
    assert weight_hh.is_contiguous()
    return Window(
        cell=LAYOUTS[cell].number, most_threads=min(most_threads(), -(-P // _UNITS)),
        steps=T, lanes=B, hidden=H, padded=P, is_double=gates.dtype == torch.float64,
        set=library.best_set, way=library.best_way, recurrent=weight_hh.data_ptr(), panels=panels.data_ptr(),
        gates=gates.data_ptr(), h=trace[0].data_ptr(), c=trace[1].data_ptr() if len(trace) > 1 else None,
    )  # fmt: skip
