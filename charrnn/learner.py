"""All that one update of the weights reads and changes, and nothing else.

Model, optimizer, carried state and random generator, with one method that makes a step. What it holds can be taken
out as named arrays and put back: after that, the next step is the one that would have been made. Knows windows of
ids. Refuses to know time, files and text.

A step is a program over tensors that stay where they are. On a GPU it is recorded once as a CUDA graph and replayed;
elsewhere the same program runs as it stands. It can be split into parts of the lanes that are computed one after the
other (`accumulate`), or by processes side by side (`world`), without changing its result.

Williams & Peng 1990 (Neural Computation 2(4)) for truncated backpropagation; clipping by the global norm is Pascanu,
Mikolov & Bengio 2013 (arXiv 1211.5063, algorithm 1).

Shape letters: T window, B lanes (of this process), H hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from charrnn.cells.parameters import is_trained
from charrnn.combinations import check_together
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.device import require_memory
from charrnn.distributed import ALONE, World
from charrnn.graphs import record
from charrnn.jacobians import make_keeper
from charrnn.measured import Running
from charrnn.memory import training_memory
from charrnn.model import CharacterModel
from charrnn.noise import Noise, draw_noise
from charrnn.optim import (
    Rules,
    load_optimizer_arrays,
    make_optimizer,
    optimizer_arrays,
    optimizer_averages,
    optimizer_tensors,
    set_learning_rate,
)
from charrnn.outcome import NotFinite, Outcome
from charrnn.penalties import penalty, watches_outputs
from charrnn.precision import LossScale, choose_precision, products
from charrnn.recurrent import StackState, lanes_of, reset
from charrnn.ways import Way, choose_way

_CARRY, _RANDOM, _AVERAGE, _SCALE, _STEPS = "carry.", "random.training", "average.", "loss_scale", "steps"
_TINY = 1e-6  # keeps the clipping factor of a zero gradient finite, as in torch's clip_grad_norm_


class Learner:
    """A model in training."""

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        vocabulary_size: int,
        device: torch.device,
        *,
        accumulate: int = 1,
        world: World = ALONE,
        way: Way | None = None,
    ) -> None:
        self.device, self.world = device, world
        self.precision = choose_precision(training.precision, device)
        self.way: Way = way or choose_way(training, device, world)
        self._is_narrow = self.precision == "bf16"
        parts = accumulate * world.size
        check_together(model, training, parts=parts)
        needed = training_memory(model, training, vocabulary_size, precision=self.precision, parts=parts)
        require_memory(needed, device, "training this model")
        self._config, self._training = model, training
        self.model = CharacterModel(model, vocabulary_size)
        # Drawn on the CPU, so that a seed gives the same weights on every device.
        self.model.initialise(torch.Generator().manual_seed(training.seed))
        self.model.to(device)
        self._arrays = self.model.arrays()
        for name, array in self._arrays.items():
            array.requires_grad_(is_trained(name, training.freeze))
        # Those that gradients move; the others have neither gradient nor moments, and no layer is gone back through for
        # them alone.
        self._trained = {name: array for name, array in self._arrays.items() if array.requires_grad}
        self._parameters = list(self._trained.values())
        # bfloat16 has the range that an iteration on gradients of unknown size wants; fp16 does not.
        is_narrow = self._is_narrow or self.precision == "fp16"
        self._optimizer = make_optimizer(training, self._trained, is_narrow=is_narrow, is_capturable=self.way != "host")
        self._running = Running(self._arrays, device)
        # Statistics are averaged as the weights are that they were measured of.
        self._averaged = {**self._trained, **self._running.arrays}
        is_averaged = training.average or training.average_after is not None or training.average_from is not None
        self._average = [array.detach().clone() for array in self._averaged.values()] if is_averaged else []
        self._validated = self._average or optimizer_averages(self._optimizer, self._parameters)
        self._random = torch.Generator(device).manual_seed(training.seed)
        self._scale = LossScale(device) if self.precision == "fp16" else None
        self._lanes = world.lanes(training.batch_size)
        count = self._lanes.stop - self._lanes.start
        self._parts = [World(part, accumulate).lanes(count) for part in range(accumulate)]
        self._carry = self.model.zero_state(count)
        self._report = torch.zeros(4, device=device)
        # All gradients side by side, as one vector and as views of it.
        sizes = [parameter.numel() for parameter in self._parameters]
        self._gradient = torch.zeros(sum(sizes), device=device)
        pieces = torch.split(self._gradient, sizes)
        self._gradients = [piece.view_as(p) for piece, p in zip(pieces, self._parameters, strict=True)]
        self._window = torch.zeros(2, training.bptt, count, dtype=torch.int64, device=device)
        self._steps = 0
        self._learning_rate = 0.0
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._network: torch.nn.Module = self.model
        if not world.is_alone:
            here = [device] if device.type == "cuda" else None
            self._network = DistributedDataParallel(self.model, device_ids=here)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self._learning_rate

    def step(self, inputs: Tensor, targets: Tensor, learning_rate: float) -> Outcome:
        """One update from a window of ids (T, B) and their successors: forward, backward, clip, check, update.

        Raises NotFinite, with the weights as they were, where the device allows to know at once.
        """
        self._learning_rate = learning_rate
        set_learning_rate(self._optimizer, learning_rate)
        if isinstance(self._optimizer, Rules):
            self._optimizer.turn = self._steps
        if self.way == "graph":
            self._window[0].copy_(inputs, non_blocking=True)
            self._window[1].copy_(targets, non_blocking=True)
            self._replay()
        else:
            self._update(*(ids.to(self.device, non_blocking=True) for ids in (inputs, targets)))
        self._steps += 1
        return Outcome(self._report.clone())

    def _replay(self) -> None:
        """The step as a graph; each kind of step is recorded when it first comes."""
        assert isinstance(self._optimizer, Rules)
        phase, turn = self._optimizer.phase, self._steps

        def work() -> None:
            assert isinstance(self._optimizer, Rules)
            self._optimizer.turn = turn
            self._update(*self._window)

        if phase not in self._graphs:
            shared = next((graph.pool() for graph in self._graphs.values()), None)
            self._graphs[phase] = record(work, self._changed(), [self._random], pool=shared)
        self._graphs[phase].replay()

    def _changed(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        scale = self._scale.tensors() if self._scale else []
        carry = [array for layer in self._carry for array in layer]
        return [
            *self._parameters,
            *optimizer_tensors(self._optimizer),
            *scale,
            *carry,
            *self._running.tensors(),
            self._report,
        ]

    def _update(self, inputs: Tensor, targets: Tensor) -> None:
        """A step: gradients, their norm, the update, and the report of it."""
        loss, carry, noise = self._backward(inputs, targets)
        scale = self._scale.scale if self._scale else 1.0
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        assert len(gradients) == len(self._parameters)
        torch.cat([gradient.flatten() for gradient in gradients], out=self._gradient)
        norm = torch.linalg.vector_norm(self._gradient) / scale
        # Of several processes each knows its own loss, but the norm is the same for all, and it is bad where a loss is.
        is_bad = ~torch.isfinite(norm if not self.world.is_alone else loss + norm)
        is_overflow = is_bad & torch.isfinite(loss) & (scale > 1.0) if self._scale else torch.zeros_like(is_bad)
        skips = self.way == "host" and bool(is_bad)
        if skips and not bool(is_overflow):
            raise NotFinite(float(loss), float(norm))
        threshold = self._training.clip_norm or math.inf
        if self._training.clip_loss == "sum":  # the norm of the sum is that of the mean, times the window
            threshold /= len(inputs)
        if not skips:
            if self._scale or self.way != "host" or bool(norm > threshold):
                self._gradient.mul_((threshold / (norm + _TINY)).clamp(max=1.0) / scale)
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.grad = gradient
            if self.way != "host":
                self._optimizer.found_inf = is_bad.float()  # type: ignore[attr-defined]
            self._optimizer.step()
            self._running.update(noise.measured, is_bad)
        if self._scale:
            self._scale.update(is_bad.float())  # in place: nothing above may come after it
        for ours, new in zip(self._carry, carry, strict=True):
            for to, value in zip(ours, new, strict=True):
                to.copy_(value)
        reported = torch.where(is_overflow, torch.zeros_like(norm), norm)
        self._report.copy_(torch.stack((loss, reported, (reported > threshold).float(), is_overflow.float())))

    def _backward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, StackState, Noise]:
        """Gradients of the mean loss over all lanes, scaled; this process's part of the loss, the state after, and the
        noise there was."""
        config, training = self._config, self._training
        all_lanes = training.batch_size
        noise = draw_noise(
            self._random, config, len(inputs), all_lanes, training.state_reset, self.model.vocabulary_size
        )
        noise = noise.of_lanes(self._lanes) if not self.world.is_alone else noise
        state = reset(self._carry, noise.kept)
        for parameter in self._parameters:
            parameter.grad = None
        losses, after = [], []
        for part in self._parts:
            is_last = part is self._parts[-1]
            with contextlib.nullcontext() if is_last else self._without_talk():
                loss, added, carry = self._part(inputs, targets, state, noise, part)
                share = loss / (len(inputs) * all_lanes)
                wanted = share if added is None else share + added * ((part.stop - part.start) / all_lanes)
                # Of several processes' gradients DistributedDataParallel takes the mean; what is wanted is the sum.
                scaled = wanted * self.world.size
                (scaled * self._scale.scale if self._scale else scaled).backward()
            losses.append(share.detach())
            after.append(carry)
        if len(after) == 1:
            return losses[0], after[0], noise
        joined = tuple(
            tuple(torch.cat(arrays) for arrays in zip(*layers, strict=True)) for layers in zip(*after, strict=True)
        )
        return torch.stack(losses).sum(), joined, noise

    def _part(
        self, inputs: Tensor, targets: Tensor, state: StackState, noise: Noise, part: slice
    ) -> tuple[Tensor, Tensor | None, StackState]:
        """The summed loss of some of the lanes, penalties of their mean loss, and their state after the window."""
        is_watched, read, last = watches_outputs(self._training), None, None
        if len(self._parts) > 1:
            inputs, targets = inputs[:, part].contiguous(), targets[:, part].contiguous()
            state, noise = lanes_of(state, part), noise.of_lanes(part)
        unit, scale = self.world.size / (len(inputs) * self._training.batch_size), self._scale
        keeper = make_keeper(self._training, self._config.activation, unit, scale.scale if scale else None)
        with products(self.precision, self.device):
            logits, after, *watched = self._network(
                inputs, state, noise, is_narrow=self._is_narrow, is_watched=is_watched, keeper=keeper
            )
            loss = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        if is_watched:
            read, last = watched
        added = penalty(self._training, self._arrays, read, last)
        return loss, added, tuple(tuple(array.detach() for array in layer) for layer in after)

    def _without_talk(self) -> contextlib.AbstractContextManager[None]:
        """Gradients of all but the last part stay in this process until the last one's are there too."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()

    def average(self, share: float) -> None:
        """Moves the averaged weights by `share` (0 to 1) of the way to the weights as they are."""
        if self._average and share:
            torch._foreach_lerp_(self._average, [array.detach() for array in self._averaged.values()], share)

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
        for array, average in zip(self._averaged.values(), self._validated, strict=False):
            kept = array.clone()
            array.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Every array beyond the weights that the next step depends on, by name; every process has to come here.

        It is the same however many processes there are: the carried state is that of all lanes.
        """
        lanes = self._training.batch_size
        carry = {
            f"{_CARRY}{number}.{name}": self.world.gather_lanes(array, lanes).cpu().numpy()
            for number, layer in enumerate(self._carry, start=1)
            for name, array in zip(self.model.cell.state_names, layer, strict=True)
        }
        return {
            **optimizer_arrays(self._optimizer, self._trained),
            **carry,
            **{
                f"{_AVERAGE}{name}": average.cpu().numpy()
                for name, average in zip(self._averaged, self._average, strict=False)
            },
            **self._running.state(),
            **({_SCALE: self._scale.to_numpy()} if self._scale else {}),
            _STEPS: np.array([self._steps], np.int64),
            _RANDOM: self._random.get_state().numpy(),
        }

    def load(self, parameters: Mapping[str, npt.NDArray[Any]], state: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of `model.numpy_arrays` and `state`. Raises KeyError or ValueError where arrays do not fit."""
        self.model.load_arrays(parameters)
        load_optimizer_arrays(self._optimizer, self._trained, state)
        for number, layer in enumerate(self._carry, start=1):
            for name, array in zip(self.model.cell.state_names, layer, strict=True):
                saved = state[f"{_CARRY}{number}.{name}"]
                whole = (self._training.batch_size, *array.shape[1:])
                array.copy_(_like(saved, whole)[self._lanes])
        for name, average in zip(self._averaged, self._average, strict=False):
            average.copy_(_like(state[f"{_AVERAGE}{name}"], average.shape))
        self._running.load(state)
        if self._scale:
            self._scale.load(state[_SCALE])
        if _STEPS in state:
            self._steps = int(state[_STEPS][0])
        elif isinstance(self._optimizer, Rules):  # a checkpoint from before they were counted
            self._steps = self._optimizer.turn
        # A generator's state is handed over on the CPU, whatever its device.
        self._random.set_state(torch.from_numpy(np.array(state[_RANDOM])))


def _like(array: npt.NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    if array.shape != tuple(shape):
        raise ValueError(f"an array has the shape {array.shape}, not {tuple(shape)}")
    return torch.from_numpy(np.array(array))
