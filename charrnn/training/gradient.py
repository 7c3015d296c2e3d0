"""All gradients of a step side by side: one vector, whose norm is that of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from charrnn.native import vectors
from charrnn.native.window import find_library


class JoinedGradient:
    """Room for the gradients of parameters."""

    def __init__(self, parameters: Sequence[Tensor], device: torch.device, *, by_host: bool) -> None:
        """`by_host` lets the host read the gradients at once, which is free on a CPU: compiled code does the work."""
        self._parameters = parameters
        sizes = [parameter.numel() for parameter in parameters]
        self.vector = torch.zeros(sum(sizes), device=device)
        self.pieces = [piece.view_as(p) for piece, p in zip(torch.split(self.vector, sizes), parameters, strict=True)]
        """Views of the vector, in the order and with the shapes of the parameters."""
        library = find_library() if by_host and device.type == "cpu" else None
        self._library = library.library if library is not None else None
        self._gather = (
            vectors.Gatherer(self._library, sizes, self.vector.data_ptr()) if self._library is not None else None
        )

    def join(self) -> Tensor:
        """Brings the parameters' gradients here, where the parameters have them from now on; returns their norm."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        assert len(gradients) == len(self._parameters)
        if self._gather is not None and all(gradient.dtype == torch.float32 for gradient in gradients):
            whole = [gradient.contiguous() for gradient in gradients]
            square = self._gather([gradient.data_ptr() for gradient in whole])
            # As in float32, where what overflows is noticed.
            norm = torch.tensor(square, dtype=torch.float32).sqrt()
        else:
            torch.cat([gradient.flatten() for gradient in gradients], out=self.vector)
            norm = torch.linalg.vector_norm(self.vector)
        for parameter, gradient in zip(self._parameters, self.pieces, strict=True):
            parameter.grad = gradient
        return norm

    def scale(self, factor: Tensor) -> None:
        """Multiplies all by a factor ()."""
        if self._library is not None:
            vectors.scale(self._library, self.vector.data_ptr(), len(self.vector), float(factor))
        else:
            self.vector.mul_(factor)
