"""The long-memory tasks of Hochreiter & Schmidhuber 1997 (Neural Computation 9(8), experiments 2 and 4), in the form of
Arjovsky, Shah & Bengio 2016 (arXiv 1511.06464, sections 4.1 and 4.2): what is read, what is asked, and what can be had
without memory.

    copy     ten letters of eight, T - 1 blanks, a marker, ten blanks; the answer is blank but for the ten letters at
             the end. Nats a character; 10 ln 8 / (T + 20) by who knows when to answer and has forgotten what
    adding   T pairs of a number U(0, 1) and a mark; one mark lies in each half; the answer, at the end, is the sum of
             the two numbers marked. Mean square; 1/6, the variance of such a sum, by who always answers 1

Every batch is drawn anew, so that a loss in training is one on sequences never seen before. Knows tensors of numbers.
Refuses to know networks.

Shape letters: T length of the task, N places of a sequence (T + 20, or T), B lanes, I inputs, O answers.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

LETTERS, COPIED = 8, 10
BLANK, MARKER = LETTERS, LETTERS + 1


class Task(Protocol):
    """What is read and asked."""

    name: str
    inputs: int
    outputs: int

    def draw(self, length: int, lanes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is read (N, B, I), and the answers: (N, B) ids or (B,) numbers."""
        ...

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Of the read-out's `answers` (N, B, O), a mean over what is asked."""
        ...

    def baseline(self, length: int) -> float:
        """The loss of the best answers that can be given without memory."""
        ...


class Copy:
    """Say again at the end what was read at the beginning."""

    name = "copy"
    inputs = LETTERS + 2
    outputs = LETTERS + 1  # the marker is never an answer

    def draw(self, length: int, lanes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(T + 20, B, 10), one-hot, and ids (T + 20, B)."""
        letters = torch.randint(LETTERS, (COPIED, lanes), generator=generator)
        read = torch.full((length + 2 * COPIED, lanes), BLANK)
        read[:COPIED] = letters
        read[length + COPIED - 1] = MARKER
        targets = torch.full_like(read, BLANK)
        targets[-COPIED:] = letters
        return one_hot(read, self.inputs).float(), targets

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Nats a place."""
        return cross_entropy(answers.flatten(0, 1), targets.flatten())

    def baseline(self, length: int) -> float:
        """Blanks are certain, and each of the ten letters is one of eight."""
        return COPIED * math.log(LETTERS) / (length + 2 * COPIED)


class Adding:
    """Add the two numbers that were marked."""

    name = "adding"
    inputs = 2
    outputs = 1

    def draw(self, length: int, lanes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(T, B, 2), numbers and marks, and the sums (B,)."""
        numbers = torch.rand(length, lanes, generator=generator)
        half = length // 2
        marks = torch.zeros(length, lanes)
        marks.scatter_(0, torch.randint(half, (1, lanes), generator=generator), 1.0)
        marks.scatter_(0, torch.randint(half, length, (1, lanes), generator=generator), 1.0)
        return torch.stack((numbers, marks), -1), (numbers * marks).sum(0)

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Mean square of the last place's error."""
        return (answers[-1, :, 0] - targets).square().mean()

    def baseline(self, length: int) -> float:
        """The variance of a sum of two independent U(0, 1)."""
        return 1.0 / 6.0


TASKS: dict[str, Task] = {task.name: task for task in (Copy(), Adding())}
