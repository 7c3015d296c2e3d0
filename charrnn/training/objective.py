"""The loss of a step's window as Hessian-free optimisation needs it: anew with other weights, and its curvature.

The loss is that of all lanes from the state that they came with, with the step's own noise. The curvature is that of
some of the lanes, the next ones in each step.

Shape letters: T window, B lanes, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from charrnn.network.layers import StackState, lanes_of, reset
from charrnn.network.model import CharacterModel
from charrnn.network.noise import Noise
from charrnn.settings.config import TrainingConfig
from charrnn.training.distributed import World
from charrnn.training.lanes import TextWindow
from charrnn.training.optimizers.curvature import GaussNewton, Piece, Softmax
from charrnn.training.penalties import penalty


class WindowObjective:
    """The mean loss of a window, and the penalty that goes with it."""

    def __init__(
        self,
        model: CharacterModel,
        training: TrainingConfig,
        window: TextWindow,
        carry: StackState,
        noise: Noise,
        accumulate: int = 1,
    ) -> None:
        """`carry` is the state before the window; all is computed in so many pieces of the lanes, one by one."""
        self._model, self._training, self._window, self._noise = model, training, window, noise
        self._carry, self._accumulate = carry, accumulate

    @torch.no_grad()
    def loss(self) -> float:
        """Returns the mean nats of the window and the penalty, with the weights as they are."""
        total = 0.0
        for lanes in _parted(slice(0, self._window.inputs.shape[1]), self._accumulate):
            targets = self._window.targets[:, lanes]
            logits = self._logits(lanes, is_stepwise=False)
            total += float(cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
        added = penalty(self._training, self._model.arrays(), None, None)
        return total / self._window.inputs.numel() + (0.0 if added is None else float(added))

    def curvature(self, weights: list[Tensor], turn: int) -> GaussNewton:
        """Returns the curvature by `weights` of the lanes whose turn it is."""
        lanes = curvature_lanes(self._window.inputs.shape[1], self._training.curvature_share, turn)
        unit = 1.0 / (len(self._window.inputs) * (lanes.stop - lanes.start))
        pieces = [partial(self._piece, part, unit) for part in _parted(lanes, self._accumulate)]
        return GaussNewton(pieces, weights, ridge=self._training.l2)

    def _piece(self, lanes: slice, unit: float) -> Piece:
        """Returns a pass over some lanes that can be differentiated twice."""
        states: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _layer, _given, made: states.append(made[0]))
            for layer in self._model.stack.layers
        ]
        try:
            logits = self._logits(lanes, is_stepwise=True)
        finally:
            for hook in hooks:
                hook.remove()
        return Piece(logits, Softmax(logits, unit), [state for state in states if state.requires_grad], unit)

    def _logits(self, lanes: slice, *, is_stepwise: bool) -> Tensor:
        inputs, _, starts = self._window
        logits: Tensor = self._model(
            inputs[:, lanes].contiguous(),
            lanes_of(reset(self._carry, self._noise.kept), lanes),
            self._noise.of_lanes(lanes),
            starts=None if starts is None else starts[:, lanes].contiguous(),
            is_stepwise=is_stepwise,
        )[0]
        return logits


def curvature_lanes(lanes: int, share: float, turn: int) -> slice:
    """Returns which of the lanes the curvature is measured on in the step after `turn` others.

    >>> [curvature_lanes(8, 0.3, turn) for turn in range(4)]
    [slice(0, 3, None), slice(3, 6, None), slice(5, 8, None), slice(0, 3, None)]
    """
    count = max(1, math.ceil(share * lanes))
    begin = min(turn % math.ceil(lanes / count) * count, lanes - count)
    return slice(begin, begin + count)


def _parted(lanes: slice, parts: int) -> list[slice]:
    """Returns the lanes in so many parts, as equal as possible; in fewer, where there are not as many."""
    begin, count = lanes.start, lanes.stop - lanes.start
    found = [World(part, parts).lanes(count) for part in range(parts)]
    return [slice(begin + part.start, begin + part.stop) for part in found if part.stop > part.start]
