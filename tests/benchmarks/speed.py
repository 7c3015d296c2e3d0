"""Characters a second of training steps: on this machine's GPU beside its CPU, and of our step beside the plain one.

    python -m tests.benchmarks.speed [--json]

The plain step is what every tutorial writes: nn.Embedding, one nn.LSTM or nn.GRU of all layers, nn.Linear,
cross-entropy, clip_grad_norm_, torch's default Adam. Both run interleaved in the same process on the same random
text, and medians over rounds are reported; on a shared machine only the ratios mean anything.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from charrnn import device as devices
from charrnn.batches import Ring
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.learner import Learner

V = 96
# cell, layers, hidden size, embedding size, lanes, window
SHAPES = [
    ("lstm", 1, 320, 64, 16, 64),
    ("lstm", 2, 128, 64, 32, 64),
    ("lstm", 2, 256, 64, 32, 64),
    ("gru", 2, 256, 64, 32, 64),
    ("lstm", 2, 512, 128, 64, 128),
]


class _Plain(nn.Module):
    def __init__(self, cell: str, layers: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, embedding)
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](embedding, hidden, num_layers=layers)
        self.decoder = nn.Linear(hidden, V)

    def forward(self, ids: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        output, state = self.recurrent(self.embedding(ids), state)
        return self.decoder(output), state


def _plain_step(device: torch.device, shape: tuple[str, int, int, int, int, int], ring: Ring) -> Callable[[int], None]:
    cell, layers, hidden, embedding, _, window = shape
    model = _Plain(cell, layers, hidden, embedding).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    state = None

    def step(number: int) -> None:
        nonlocal state
        inputs, targets = (ids.to(device) for ids in ring.at(number * window))
        logits, after = model(inputs, state)
        state = tuple(array.detach() for array in after) if isinstance(after, tuple) else after.detach()
        loss = nn.functional.cross_entropy(logits.reshape(-1, V), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def _our_step(device: torch.device, shape: tuple[str, int, int, int, int, int], ring: Ring) -> Callable[[int], None]:
    cell, layers, hidden, embedding, lanes, window = shape
    model = ModelConfig(cell=cell, num_layers=layers, hidden_size=hidden, embedding_size=embedding)  # type: ignore[arg-type]
    learner = Learner(model, TrainingConfig(batch_size=lanes, bptt=window), V, device)

    def step(number: int) -> None:
        learner.step(*ring.at(number * window), 1e-3)

    return step


def _seconds(device: torch.device, step: Callable[[int], None], first: int, steps: int) -> float:
    began = time.perf_counter()
    for number in range(first, first + steps):
        step(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def measure(device: torch.device, shape: tuple[str, int, int, int, int, int], rounds: int = 7) -> dict[str, float]:
    """Median characters a second of both steps, interleaved."""
    _, _, _, _, lanes, window = shape
    ids = np.random.default_rng(0).zipf(1.6, 200_000) % V
    ring = Ring(ids.astype(np.uint8), lanes, window)
    steps = {"ours": _our_step(device, shape, ring), "plain": _plain_step(device, shape, ring)}
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    count = 3 if device.type == "cpu" else 30
    for name, step in steps.items():
        _seconds(device, step, 0, count)  # kernels are chosen and memory is taken once
        times[name].clear()
    for number in range(rounds):
        for name, step in steps.items():
            times[name].append(_seconds(device, step, (number + 1) * count, count))
    return {name: lanes * window / statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Prints a table, or JSON."""
    names = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    rows = []
    for shape in SHAPES:
        row: dict[str, object] = {"shape": "{} {}x{} E{} B{} T{}".format(*shape)}
        for name in names:
            device = devices.choose_device(name)  # type: ignore[arg-type]
            devices.prepare(device, None)
            result = measure(device, shape)
            row[name] = round(result["ours"])
            row[f"{name} ours/plain"] = round(result["ours"] / result["plain"], 2)
        if len(names) == 2:
            row["cuda/cpu"] = round(float(str(row["cuda"])) / float(str(row["cpu"])), 1)
        rows.append(row)
        if "--json" not in sys.argv:
            print("   ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if "--json" in sys.argv:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        print(json.dumps({"torch": torch.__version__, "gpu": gpu, "threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
