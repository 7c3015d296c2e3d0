"""The losses of the long-memory tasks as Hessian-free optimisation needs them: anew, and their curvature.

Shape letters: N places of a sequence, B lanes, I inputs, O answers, H hidden size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from charrnn.network.model import CharacterModel
from charrnn.training.optimizers.curvature import GaussNewton, Piece, Softmax
from tests.benchmarks.memory_tasks import Task


class LastSquare:
    """The mean square of what is answered at the last place, of one answer (N, B, 1): H = 2 / B there."""

    def __init__(self, answers: Tensor) -> None:
        self._scale = torch.zeros(len(answers), 1, 1)
        self._scale[-1] = 2.0 / answers.shape[1]

    def hessian(self, change: Tensor) -> Tensor:
        """The product with a change of the answers (N, B, 1)."""
        return self._scale * change

    def root(self, signs: Tensor) -> Tensor:
        """The product of its square root with signs (N, B, 1)."""
        return self._scale.sqrt() * signs


class TaskObjective:
    """The loss of one batch of a task, of which the first lanes give the curvature."""

    def __init__(self, task: Task, model: CharacterModel, x: Tensor, targets: Tensor, share: float) -> None:
        """What is read is `x` (N, B, I), from the zero state."""
        self._task, self._model, self._x, self._targets, self._share = task, model, x, targets, share

    @torch.no_grad()
    def loss(self) -> float:
        """The mean loss of all lanes with the weights as they are."""
        return float(self._task.loss(self._answers(self._x, is_stepwise=False)[0], self._targets))

    def curvature(self, weights: list[Tensor], _turn: int) -> GaussNewton:
        """Every batch is new, so that its first lanes are as good as others."""
        lanes = math.ceil(self._share * self._x.shape[1])
        return GaussNewton([lambda: self._piece(self._x[:, :lanes])], weights)

    def _piece(self, x: Tensor) -> Piece:
        answers, states = self._answers(x, is_stepwise=True)
        N, B = answers.shape[:2]
        # As the loss is a sum over places or one of them, so is what damps the states a sum over places beside it.
        if self._task.outputs > 1:
            return Piece(answers, Softmax(answers, 1.0 / (N * B)), [states], 1.0 / (N * B))
        return Piece(answers, LastSquare(answers.detach()), [states], 1.0 / B)

    def _answers(self, x: Tensor, *, is_stepwise: bool) -> tuple[Tensor, Tensor]:
        read, states, _ = self._model.stack(x, self._model.zero_state(x.shape[1]), is_stepwise=is_stepwise)
        return self._model.decoder(read), states
