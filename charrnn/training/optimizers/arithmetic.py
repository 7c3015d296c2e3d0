"""Arithmetic on lists of tensors with a number that is Python's or, where a step must not ask the host, a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor
Tensors = list[Tensor] | tuple[Tensor, ...]

LARGEST = 1e38
"""torch refuses factors beyond a float32; a run that diverges is told so elsewhere."""
EPSILON = 1e-8


def bounded(number: Number) -> Number:
    """A number that torch takes as a factor; one on the device stays as it is."""
    return number if isinstance(number, Tensor) else min(number, LARGEST)


def add(arrays: Tensors, values: Tensors, times: Number) -> None:
    """Adds to each array its value times `times`."""
    if isinstance(times, Tensor):  # as `alpha`, torch would ask the device for the number
        torch._foreach_add_(arrays, torch._foreach_mul(values, times))
    else:
        torch._foreach_add_(arrays, values, alpha=times)


def add_quotients(arrays: Tensors, numerators: Tensors, denominators: Tensors, times: Number) -> None:
    """Adds to each array the quotient of two others, times `times`."""
    if isinstance(times, Tensor):
        add(arrays, torch._foreach_div(numerators, denominators), times)
    else:
        torch._foreach_addcdiv_(arrays, numerators, denominators, value=times)


def move(averages: Tensors, values: Tensors, share: Number) -> None:
    """Each average moves by `share` of the way to its value."""
    if isinstance(share, Tensor):
        torch._foreach_mul_(averages, 1 - share)
        add(averages, values, share)
    else:
        torch._foreach_lerp_(averages, values, share)


def move_to_squares(averages: Tensors, values: Tensors, share: Number) -> None:
    """Each average moves by `share` of the way to the square of its value."""
    torch._foreach_mul_(averages, 1 - share)
    if isinstance(share, Tensor):
        add(averages, torch._foreach_mul(values, values), share)
    else:
        torch._foreach_addcmul_(averages, values, values, value=share)
