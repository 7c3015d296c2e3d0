"""A step of training, ours and the plain one that every tutorial writes, timed in turn.

The plain step is nn.Embedding, one nn.LSTM or nn.GRU of all layers, nn.Linear, cross-entropy, clip_grad_norm_ and
torch's default Adam. Both read the same random text, and cutting the next window is part of a step. Knows shapes and
clocks. Refuses to know what is made of the figures.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from charrnn.batches import Ring
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.learner import Learner

MOMENT = 0.3  # seconds that one round of one loop takes, about
CPU = torch.device("cpu")

Step = Callable[[], object]


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

    def operations(self, *, with_first: bool) -> int:
        """Floating point operations of one step's matrix products, with or without the first layer's input product."""
        gates = {"lstm": 4, "gru": 3}[self.cell] * self.hidden
        inputs = self.embedding * with_first + (self.layers - 1) * self.hidden
        multiplications = (inputs + self.layers * self.hidden) * gates + self.hidden * self.vocabulary
        return 3 * 2 * multiplications * self.lanes * self.window


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


def _windows(shape: Shape) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Window after window of a random text, letters as unequally frequent as in writing."""
    ids = np.random.default_rng(0).zipf(1.6, 200_000) % shape.vocabulary
    ring = Ring(ids.astype(np.uint8), shape.lanes, shape.window)
    return (ring.at(number * shape.window) for number in itertools.count())


def plain_step(shape: Shape, device: torch.device = CPU) -> Step:
    """A training step of torch's own modules, optimizer and all."""
    model = _Plain(shape).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    windows, state = _windows(shape), None

    def step() -> None:
        nonlocal state
        inputs, targets = (ids.to(device) for ids in next(windows))
        logits, after = model(inputs, state)
        state = tuple(array.detach() for array in after) if isinstance(after, tuple) else after.detach()
        loss = nn.functional.cross_entropy(logits.reshape(-1, shape.vocabulary), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


class OurStep:
    """A training step of this house, with AdamW, since the plain one has Adam: the rule is not what is compared."""

    def __init__(self, shape: Shape, device: torch.device = CPU, precision: Any = "auto") -> None:
        cell: Any = shape.cell
        model = ModelConfig(
            cell=cell, num_layers=shape.layers, hidden_size=shape.hidden, embedding_size=shape.embedding
        )
        training = TrainingConfig(batch_size=shape.lanes, bptt=shape.window, precision=precision, optimizer="adamw")
        self._learner, self._windows = Learner(model, training, shape.vocabulary, device), _windows(shape)
        self.precision: str = self._learner.precision
        """What auto has come to."""

    def __call__(self) -> None:
        self._learner.step(*next(self._windows), 1e-3)


def alternate(steps: dict[str, Step], rounds: int, device: torch.device = CPU) -> dict[str, list[float]]:
    """Seconds of each step, one figure a round; in every other round the order is turned round."""
    for step in steps.values():
        _seconds(step, 2, device)  # kernels are chosen and memory is taken once
    counts = {name: max(1, round(MOMENT / _seconds(step, 2, device))) for name, step in steps.items()}
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
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count
