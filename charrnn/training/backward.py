"""The gradient of a window: forward and backward pass, whole or in parts of the lanes, by one process or several.

The gradient is that of the mean loss over all lanes and steps plus the penalties; the noise of a step is drawn here.
The parts are computed one after the other (`accumulate`), or in parallel by several processes (`world`); their sum does
not depend on how the lanes were split.

Williams & Peng 1990 (Neural Computation 2(4)) for truncated backpropagation.

Shape letters: T window, B lanes (of this process), H hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from charrnn.network.jacobian_penalty import make_keeper
from charrnn.network.layers import StackState, lanes_of, reset
from charrnn.network.model import CharacterModel
from charrnn.network.noise import Noise, draw_noise
from charrnn.network.precision import LossScale, Precision, gradient_products, products
from charrnn.network.starts import find_starts
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.distributed import World
from charrnn.training.lanes import TextWindow
from charrnn.training.penalties import penalty, watches_outputs
from charrnn.training.soft_targets import losses


class Backward:
    """Makes both passes over a window: a call leaves a gradient in each parameter of the model that learns."""

    def __init__(
        self,
        model: CharacterModel,
        config: ModelConfig,
        training: TrainingConfig,
        random: torch.Generator,
        *,
        accumulate: int,
        world: World,
        precision: Precision,
    ) -> None:
        self._model, self._config, self._training, self._random = model, config, training, random
        self._world, self._precision, self._device = world, precision, random.device
        self._arrays = model.arrays()
        self._parameters = [array for array in self._arrays.values() if array.requires_grad]
        self._lanes = world.lanes(training.batch_size)
        count = self._lanes.stop - self._lanes.start
        self._parts = [World(part, accumulate).lanes(count) for part in range(accumulate)]
        self._network: torch.nn.Module = model
        if not world.is_alone:
            here = [self._device] if self._device.type == "cuda" else None
            self._network = DistributedDataParallel(model, device_ids=here)

    def __call__(
        self, window: TextWindow, carry: StackState, scale: LossScale | None, soft: Tensor | None = None
    ) -> tuple[Tensor, StackState, Noise]:
        """Returns, for a window of ids (T, B) and the state before it, this process's part of the mean cross-entropy,
        the state after and the noise.

        Gradients are those of the loss to learn from times `scale`, into which go also what a teacher says of the
        window, `soft` (T, B, V), label smoothing and penalties.
        """
        config, training, inputs = self._config, self._training, window.inputs
        all_lanes = training.batch_size
        noise = draw_noise(
            self._random, config, len(inputs), all_lanes, training.state_reset, self._model.vocabulary_size
        )
        noise = noise.of_lanes(self._lanes) if not self._world.is_alone else noise
        state = reset(carry, noise.kept)
        for parameter in self._parameters:
            parameter.grad = None
        told, after = [], []
        for part in self._parts:
            is_last = part is self._parts[-1]
            with contextlib.nullcontext() if is_last else self._without_talk():
                learned, plain, added, left = self._part(window, soft, state, noise, part, scale)
                share = learned / (len(inputs) * all_lanes)
                wanted = share if added is None else share + added * ((part.stop - part.start) / all_lanes)
                # DistributedDataParallel takes the mean of the processes' gradients; what is needed is their sum.
                scaled = wanted * self._world.size
                with gradient_products(self._precision):
                    (scaled * scale.scale if scale else scaled).backward()
            told.append(plain.detach() / (len(inputs) * all_lanes))
            after.append(left)
        if len(after) == 1:
            return told[0], after[0], noise
        joined = tuple(
            tuple(torch.cat(arrays) for arrays in zip(*layers, strict=True)) for layers in zip(*after, strict=True)
        )
        return torch.stack(told).sum(), joined, noise

    def _part(
        self, window: TextWindow, soft: Tensor | None, state: StackState, noise: Noise, part: slice,
        scale: LossScale | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, StackState]:  # fmt: skip
        """Returns the summed loss of some lanes that is learned from, their cross-entropy with the true characters,
        penalties of their mean loss, and their state after the window."""
        is_watched, read, last = watches_outputs(self._training), None, None
        inputs, targets, starts = window
        if len(self._parts) > 1:
            inputs, targets = inputs[:, part].contiguous(), targets[:, part].contiguous()
            starts = None if starts is None else starts[:, part].contiguous()
            soft = None if soft is None else soft[:, part]
            state, noise = lanes_of(state, part), noise.of_lanes(part)
        unit = self._world.size / (len(inputs) * self._training.batch_size)
        keeper = make_keeper(self._training, self._config.activation, unit, scale.scale if scale else None)
        with products(self._precision, self._device):
            logits, after, *watched = self._network(
                inputs,
                state,
                noise,
                starts=starts,
                is_narrow=self._precision == "bf16",
                is_watched=is_watched,
                keeper=keeper,
            )
            learned, plain = losses(
                logits.flatten(0, 1).float(),
                targets.flatten(),
                None if soft is None else soft.flatten(0, 1),
                weight=self._training.distill_weight,
                smoothing=self._training.label_smoothing,
            )
        if is_watched:
            read, last = watched
        begun = find_starts(inputs, starts, self._model.end) if is_watched else None
        added = penalty(self._training, self._arrays, read, last, None if begun is None else begun.mask)
        return learned, plain, added, tuple(tuple(array.detach() for array in layer) for layer in after)

    def _without_talk(self) -> contextlib.AbstractContextManager[None]:
        """Keeps gradients inside this process: those of all parts are exchanged together with the last part's."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()
