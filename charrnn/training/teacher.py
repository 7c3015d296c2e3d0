"""The teacher of a run: models whose averaged distributions over the next character another model learns from.

    p(x) = 1/K sum_k p_k(x)                 K models of one configuration, each from its own state

What a teacher says of a place in a text depends on the text before it alone, so it is the same in each epoch. Where a
row of V numbers for each place of the training text fits, all rows are made once (`prepare`), in many lanes side by
side, of which all but the first read the `WARM_UP` characters before their own without keeping anything. The rows are
float16, brought to the sum 1 again when they are used. Where the rows do not fit, the teacher reads along, in the lanes
of the training and with a state of its own. Either way it reads on where the learner's state is reset, and begins anew
where a document does. It drops nothing, and multiplies as the learner does on a CPU: in bfloat16 where the learner's
products are narrow, and in float32 elsewhere.

Shape letters: N characters, K members, T window, B lanes (of this process), V vocabulary.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cells.parameters import written_out
from charrnn.evaluation.bpc import WARM_UP, as_tensor, default_lanes, logits_window, reading
from charrnn.network.device import total_memory
from charrnn.network.layers import StackState
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig
from charrnn.text.stored import TextIds
from charrnn.training.averaged import like
from charrnn.training.distributed import ALONE, World
from charrnn.training.lanes import TextWindow

Arrays = Mapping[str, npt.NDArray[Any]]

_MOST_BYTES = 1 << 30
_SHARE = 0.25
"""Of a device's memory, all of it and not what is free now: the same run has to choose the same way when it goes on."""
_WINDOW = 128
_CARRY = "carry.teacher."


class Teacher:
    """Models that say how likely each next character is."""

    def __init__(
        self,
        config: ModelConfig,
        members: Sequence[Arrays],
        vocabulary_size: int,
        device: torch.device,
        *,
        lanes: int,
        end: int | None = None,
        text: TextIds | None = None,
        world: World = ALONE,
        is_narrow: bool = False,
    ) -> None:
        """`members` are the parameters of K models; `text` is what the learner is trained on, and `lanes` are those of
        all processes. `is_narrow` rounds the factors of its products to bfloat16."""
        self._models = []
        for parameters in members:
            plain, arrays = written_out(config, parameters)
            model = CharacterModel(plain, vocabulary_size, end)
            model.load_arrays(arrays)
            self._models.append(model.to(device).eval().requires_grad_(requires_grad=False))
        self._vocabulary_size, self._device, self._world, self._lanes = vocabulary_size, device, world, lanes
        self._is_narrow = is_narrow
        self._text = text if text is not None and _fits(len(text), vocabulary_size, device) else None
        self._table: Tensor | None = None
        self.preparing_seconds = 0.0
        """How long it took to make its rows, by the clock."""
        self._states: list[StackState] = []
        if self._text is None:
            own = world.lanes(lanes)
            self._states = [model.zero_state(own.stop - own.start) for model in self._models]

    @property
    def reads_along(self) -> bool:
        """Whether it reads each window as it comes, with a state of its own, instead of looking up its rows."""
        return self._text is None

    def prepare(self, proceed: Callable[[int, int], object] = lambda _done, _of: None) -> None:
        """Makes the rows of all places, unless they are there or it reads along.

        `proceed` is told now and then how many are made, of how many; an exception from it ends the work, which then
        begins anew the next time.
        """
        if self._text is None or self._table is not None:
            return
        began = time.monotonic()
        N, V = len(self._text), self._vocabulary_size
        table = torch.empty(N, V, dtype=torch.float16, device=self._device)
        lanes = default_lanes(N)
        length = -(-N // lanes)
        begins = np.arange(0, N, length)
        with contextlib.ExitStack() as stack:
            for model in self._models:
                stack.enter_context(reading(model))
            states, start, window = self._warmed_up(begins), 0, logits_window(self._models[0], _WINDOW, len(begins))
            while start < length:
                steps = np.arange(start, min(start + window, length))
                places = steps[:, None] + begins
                rows, states = self._read(places, states)
                is_text = torch.from_numpy((places < N).ravel())
                kept = torch.from_numpy(places.ravel())[is_text].to(self._device)
                table[kept] = rows.flatten(0, 1)[is_text.to(self._device)].half()
                start += len(steps)
                proceed(min(start * len(begins), N), N)
        self._table = table
        self.preparing_seconds = time.monotonic() - began

    def __call__(self, window: TextWindow, places: Tensor | None = None) -> Tensor:
        """Returns how likely each character is to follow each of a window's, (T, B, V), float32.

        `places` (T, B) say where in the text the window's inputs stand; it needs them unless it reads along.
        """
        if self._text is None:
            return self._along(window)
        assert self._table is not None, "the teacher's rows have not been made"
        assert places is not None, "the teacher does not know where a window stands"
        rows = self._table.index_select(0, places.flatten().to(self._device)).float()
        return rows.div_(rows.sum(1, keepdim=True)).view(*places.shape, -1)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state that it reads on from, of all lanes, by name; every process must call this."""
        return {
            name: self._world.gather_lanes(array, self._lanes).cpu().numpy() for name, array in self._named().items()
        }

    def load(self, state: Arrays) -> None:
        """Takes back what `state` gave. Raises KeyError or ValueError where arrays do not fit."""
        for name, array in self._named().items():
            array.copy_(like(state[name], (self._lanes, *array.shape[1:]))[self._world.lanes(self._lanes)])

    def _named(self) -> dict[str, Tensor]:
        return {
            f"{_CARRY}{member}.{number}.{name}": array
            for member, (model, state) in enumerate(zip(self._models, self._states, strict=False), start=1)
            for number, layer in enumerate(state, start=1)
            for name, array in zip(model.cell.state_names, layer, strict=True)
        }

    def _along(self, window: TextWindow) -> Tensor:
        with contextlib.ExitStack() as stack:
            for model in self._models:
                stack.enter_context(reading(model))
            mean, after = self._mean(window.inputs, self._states, window.starts)
        for ours, new in zip(self._states, after, strict=True):
            for to_layer, layer in zip(ours, new, strict=True):
                for to, value in zip(to_layer, layer, strict=True):
                    to.copy_(value)
        return mean.clone()  # which may be kept for a backward pass, unlike what is made in inference mode

    def _warmed_up(self, begins: npt.NDArray[np.int64]) -> list[StackState]:
        """Returns each model's state where lanes begin: zero for the first, after a warm-up for the others."""
        B = len(begins)
        states = [model.zero_state(B) for model in self._models]
        if B == 1:
            return states
        window = logits_window(self._models[0], _WINDOW, B)
        for start in range(-WARM_UP, 0, window):
            steps = np.arange(start, min(start + window, 0))
            _, states = self._read(np.maximum(steps[:, None] + begins, 0), states)
        return [
            tuple(
                tuple(torch.cat((zero, array[1:])) for zero, array in zip(*layers, strict=True))
                for layers in zip(model.zero_state(1), state, strict=True)
            )
            for model, state in zip(self._models, states, strict=True)
        ]

    def _read(self, places: npt.NDArray[np.int64], states: Sequence[StackState]) -> tuple[Tensor, list[StackState]]:
        assert self._text is not None
        ids = self._text[np.minimum(places, len(self._text) - 1)]
        return self._mean(as_tensor(ids, self._models[0]), states, None)

    def _mean(
        self, ids: Tensor, states: Sequence[StackState], starts: Tensor | None
    ) -> tuple[Tensor, list[StackState]]:
        """Returns the members' mean distribution (T, B, V), and their states after the window."""
        total, after = None, []
        for model, state in zip(self._models, states, strict=True):
            logits, left = model(ids, state, starts=starts, is_narrow=self._is_narrow)
            likely = logits.float().softmax(-1)
            total = likely if total is None else total.add_(likely)
            after.append(left)
        assert total is not None, "a teacher has no models"
        return total.div_(len(after)), after


def _fits(characters: int, vocabulary_size: int, device: torch.device) -> bool:
    """Whether a row of float16 numbers for each character is not too much for a device."""
    memory = total_memory(device)
    most = _MOST_BYTES if memory is None else min(_MOST_BYTES, _SHARE * memory)
    return 2 * characters * vocabulary_size <= most
