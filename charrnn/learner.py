"""All that one update of the weights reads and changes, and nothing else.

Model, optimizer, carried state and random generator, with one method that makes a step. What it holds can be taken
out as named arrays and put back: after that, the next step is the one that would have been made. Knows windows of
ids. Refuses to know time, files and text.

Williams & Peng 1990 (Neural Computation 2(4)) for truncated backpropagation; clipping by the global norm is Pascanu,
Mikolov & Bengio 2013 (arXiv 1211.5063, algorithm 1).

Shape letters: T window, B lanes, H hidden size.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.device import choose_precision, require_memory
from charrnn.model import CharacterModel
from charrnn.optim import (
    load_optimizer_arrays,
    make_optimizer,
    optimizer_arrays,
    set_learning_rate,
    skips_bad_gradients,
)
from charrnn.recurrent import detach, reset

_CARRY, _RANDOM, _AVERAGE = "carry.", "random.training", "average."


class NotFinite(Exception):
    """Loss or gradient is not a finite number; the weights have not been touched."""

    def __init__(self, loss: float, gradient_norm: float) -> None:
        super().__init__(loss, gradient_norm)
        self.loss = loss
        self.gradient_norm = gradient_norm


class Outcome(NamedTuple):
    """What a step has to report, as tensors on the device; reading them waits for it."""

    loss: torch.Tensor
    """Mean nats per character of the window."""
    gradient_norm: torch.Tensor
    """Global norm before clipping."""
    is_clipped: torch.Tensor


def training_memory(model: ModelConfig, training: TrainingConfig, vocabulary_size: int) -> int:
    """Bytes that training holds at the least: weights, gradients and moments, and a window's activations.

    An activation is kept for each state and gate of each unit, and twice for each logit (itself and its gradient).
    """
    parameters = sum(math.prod(shape) for shape in parameter_shapes(model, vocabulary_size).values())
    copies = {"muon": 4, "adamw": 4, "sgd": 3, "rmsprop": 4}[training.optimizer]
    cell = make_cell(model)
    kept = len(cell.state_names) + len(cell.gate_names)
    activations = model.num_layers * model.hidden_size * kept + 2 * vocabulary_size
    return 4 * (parameters * copies + activations * training.batch_size * training.bptt)


class Learner:
    """A model in training."""

    def __init__(
        self, model: ModelConfig, training: TrainingConfig, vocabulary_size: int, device: torch.device
    ) -> None:
        self.device = device
        self.precision = choose_precision(training.precision, device)
        require_memory(training_memory(model, training, vocabulary_size), device, "training this model")
        self.model = CharacterModel(model, vocabulary_size)
        # Drawn on the CPU, so that a seed gives the same weights on every device.
        self.model.initialise(torch.Generator().manual_seed(training.seed))
        self.model.to(device)
        self._arrays = self.model.arrays()
        self._parameters = list(self._arrays.values())
        self._optimizer = make_optimizer(training, self._arrays, is_narrow=self.precision == "bf16")
        self._average = [array.detach().clone() for array in self._parameters] if training.average else []
        self._clip_norm = training.clip_norm or math.inf
        self._state_reset = training.state_reset
        self._random = torch.Generator(device).manual_seed(training.seed)
        self._carry = self.model.zero_state(training.batch_size)
        # On a CPU the check for finite numbers is free, and a bad update is not begun. On a GPU reading it would wait
        # for the device at every step; there most optimizers skip a bad update themselves, and the caller finds
        # it in the next sum it reads.
        self._checks_at_once = device.type != "cuda" or not skips_bad_gradients(self._optimizer)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        rate: float = self._optimizer.param_groups[0]["lr"]
        return rate

    def step(self, inputs: torch.Tensor, targets: torch.Tensor, learning_rate: float) -> Outcome:
        """One update from a window of ids (T, B) and their successors: forward, backward, clip, check, update.

        Raises NotFinite, with the weights as they were, where the device allows to know at once.
        """
        set_learning_rate(self._optimizer, learning_rate)
        inputs, targets = (ids.to(self.device, non_blocking=True) for ids in (inputs, targets))
        self._optimizer.zero_grad(set_to_none=True)
        state = reset(self._carry, self._state_reset, self._random)
        logits, carry = self.model(inputs, state, self._random, is_narrow=self.precision == "bf16")
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        is_bad = ~torch.isfinite(loss + norm)
        if not self._checks_at_once:
            self._optimizer.found_inf = is_bad.float()  # type: ignore[attr-defined]
        elif bool(is_bad):
            raise NotFinite(float(loss), float(norm))
        torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip_norm, norm)
        self._optimizer.step()
        self._carry = detach(carry)
        return Outcome(loss, norm, norm > self._clip_norm)

    def average(self, share: float) -> None:
        """Moves the averaged weights by `share` (0 to 1) of the way to the weights as they are."""
        if self._average and share:
            torch._foreach_lerp_(self._average, [array.detach() for array in self._parameters], share)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has its averaged weights; as they are, where none are kept."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        # By value: a GPU's kernels want a layer's weights to stay side by side in memory.
        for array, average in zip(self._parameters, self._average, strict=False):
            kept = array.clone()
            array.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Every array beyond the weights that the next step depends on, by name."""
        carry = {
            f"{_CARRY}{number}.{name}": array.detach().cpu().numpy()
            for number, layer in enumerate(self._carry, start=1)
            for name, array in zip(self.model.cell.state_names, layer, strict=True)
        }
        return {
            **optimizer_arrays(self._optimizer, self._arrays),
            **carry,
            **{
                f"{_AVERAGE}{name}": average.cpu().numpy()
                for name, average in zip(self._arrays, self._average, strict=False)
            },
            _RANDOM: self._random.get_state().numpy(),
        }

    def load(self, parameters: Mapping[str, npt.NDArray[Any]], state: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of `model.numpy_arrays` and `state`. Raises KeyError or ValueError where arrays do not fit."""
        self.model.load_arrays(parameters)
        load_optimizer_arrays(self._optimizer, self._arrays, state)
        self._carry = tuple(
            tuple(
                self._like(state[f"{_CARRY}{number}.{name}"], array)
                for name, array in zip(self.model.cell.state_names, layer, strict=True)
            )
            for number, layer in enumerate(self._carry, start=1)
        )
        for name, average in zip(self._arrays, self._average, strict=False):
            average.copy_(self._like(state[f"{_AVERAGE}{name}"], average))
        # A generator's state is handed over on the CPU, whatever its device.
        self._random.set_state(torch.from_numpy(np.array(state[_RANDOM])))

    def _like(self, array: npt.NDArray[Any], like: torch.Tensor) -> torch.Tensor:
        if array.shape != tuple(like.shape):
            raise ValueError(f"an array has the shape {array.shape}, not {tuple(like.shape)}")
        return torch.from_numpy(np.array(array)).to(self.device)
