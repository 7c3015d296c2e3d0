"""A step of training, ours and the plain one that every tutorial writes, timed in turn.

The plain step is nn.Embedding, one nn.LSTM or nn.GRU of all layers, nn.Linear, cross-entropy, clip_grad_norm_ and
torch's default Adam. Both read the same random text through the same feed, and cutting the next window is part of a
step; on a GPU that is a gather in its memory, so the plain step is spared the copy from the host that tutorials make.
A step gives its loss, on the device. Beside them the matrix product that is the ceiling for both. Knows shapes, devices
and clocks. Refuses to know what is made of the figures.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from charrnn.network.precision import products
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.feed import Feed, make_feed
from charrnn.training.lanes import Ring
from charrnn.training.learner import Learner
from charrnn.training.step_mode import Way
from charrnn.training.tally import StepSums

MOMENT = 0.3  # seconds that one round of one loop takes, about
CPU = torch.device("cpu")

Step = Callable[[], object]

Kind = Literal["fp32", "tf32", "bf16"]
"""What the plain step's products are made of; bf16 is torch's autocast."""


class Shape(NamedTuple):
    """What is trained on what."""

    cell: str
    layers: int
    hidden: int
    embedding: int
    lanes: int
    window: int = 64
    vocabulary: int = 96

    def __str__(self) -> str:
        return f"{self.cell} {self.layers}x{self.hidden} E{self.embedding} B{self.lanes} T{self.window}"

    @property
    def characters(self) -> int:
        """That one step reads."""
        return self.lanes * self.window

    @property
    def gates(self) -> int:
        """Rows of a layer's matrices."""
        return {"lstm": 4, "gru": 3}[self.cell] * self.hidden

    @property
    def model(self) -> ModelConfig:
        """The network, in our terms."""
        cell: Any = self.cell
        return ModelConfig(cell=cell, num_layers=self.layers, hidden_size=self.hidden, embedding_size=self.embedding)

    def operations(self, *, with_first: bool) -> int:
        """Floating point operations of one step's matrix products, with or without the first layer's input product."""
        inputs = self.embedding * with_first + (self.layers - 1) * self.hidden
        multiplications = (inputs + self.layers * self.hidden) * self.gates + self.hidden * self.vocabulary
        return 3 * 2 * multiplications * self.characters


class _Plain(nn.Module):
    """The network as every tutorial has it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.embedding)
        module = {"lstm": nn.LSTM, "gru": nn.GRU}[shape.cell]
        self.recurrent = module(shape.embedding, shape.hidden, num_layers=shape.layers)
        self.decoder = nn.Linear(shape.hidden, shape.vocabulary)

    def forward(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        output, state = self.recurrent(self.embedding(ids), state)
        return self.decoder(output), state


def _feed(shape: Shape, device: torch.device) -> Feed:
    """A random text, letters as unequally frequent as in writing."""
    ids = np.random.default_rng(0).zipf(1.6, 200_000) % shape.vocabulary
    return make_feed(Ring(ids.astype(np.uint8), shape.lanes, shape.window), slice(0, shape.lanes), device)


def windows_of(shape: Shape, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Window after window of a random text: inputs and targets, each (T, B)."""
    feed = _feed(shape, device)
    return (feed.at(number * shape.window)[:2] for number in itertools.count())


def plain_model(shape: Shape) -> nn.Module:
    """The network as every tutorial has it, its weights drawn by torch."""
    return _Plain(shape)


def plain_step(shape: Shape, device: torch.device = CPU, kind: Kind = "fp32") -> Step:
    """A training step of torch's own modules, optimizer and all. Where fp32 is exact is the process's affair."""
    model = plain_model(shape).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    windows, state = windows_of(shape, device), None

    def step() -> torch.Tensor:
        nonlocal state
        with products("tf32", device) if kind == "tf32" else contextlib.nullcontext():
            inputs, targets = (ids.to(device) for ids in next(windows))
            with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
                logits, after = model(inputs, state)
                loss = nn.functional.cross_entropy(logits.reshape(-1, shape.vocabulary), targets.reshape(-1))
            state = tuple(array.detach() for array in after) if isinstance(after, tuple) else after.detach()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return loss.detach()

    return step


class OurStep:
    """A training step of this house, as a run makes it: from the text, with its sums. With AdamW unless told otherwise,
    since the plain one has Adam: the rule is not what is compared. `way` is the learner's, by default what it takes on
    the device; `settings` are TrainingConfig's.
    """

    def __init__(
        self,
        shape: Shape,
        device: torch.device = CPU,
        precision: Any = "auto",
        *,
        way: Way | None = None,
        **settings: Any,
    ) -> None:
        training = TrainingConfig(
            batch_size=shape.lanes, bptt=shape.window, precision=precision, **{"optimizer": "adamw", **settings}
        )
        self._learner = Learner(shape.model, training, shape.vocabulary, device, way=way)
        self._learner.connect(_feed(shape, device), [StepSums(device), StepSums(device)])
        self._position = 0
        self._window = shape.window
        self.precision: str = self._learner.precision
        """What auto has come to."""

    def __call__(self) -> torch.Tensor:
        self._learner.step_at(self._position, 1e-3)
        self._position += self._window
        return self._learner.report[0]


def product(size: int, dtype: torch.dtype, device: torch.device = CPU) -> Step:
    """A product of square matrices of random numbers: 2 `size`^3 operations."""
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def alternate(
    steps: dict[str, Step], rounds: int, device: torch.device = CPU, moment: float = MOMENT
) -> dict[str, list[float]]:
    """Seconds of each step, one figure a round; in every other round the order is turned round."""
    for step in steps.values():
        _seconds(step, 2, device)  # kernels are chosen and memory is taken once
    # An even number of each: Muon does more in every second step.
    counts = {name: 2 * max(1, round(moment / 2 / _seconds(step, 2, device))) for name, step in steps.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps)[:: -1 if number % 2 else 1]:
            time.sleep(0.05)  # threads spin for a while after their work
            taken[name].append(_seconds(steps[name], counts[name], device))
    return taken


def _seconds(step: Step, count: int, device: torch.device) -> float:
    began = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return (time.perf_counter() - began) / count


def free() -> None:
    """Gives a GPU's memory back that nothing needs any more."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
