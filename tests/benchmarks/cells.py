"""How fast each kind of cell trains or writes, beside the plain lstm: the table of the family in the manual.

    python -m tests.benchmarks.cells [--json] [--layers 1] [--hidden 256] [--steps 12] [--rounds 3] [--precision fp32]
                                     [--only REGEX] [--sampling]

One thread, 16 lanes x 64 characters, an embedding of 64 and a vocabulary of 65; the text is of chance, which speed does
not depend on. In each round the plain lstm and every other cell, or those whose options --only matches, make some steps
in turn; figures are medians of the rounds' ratios to the lstm's. A step is all of it: noise, forward, backward,
clipping, update. With --sampling it is one character of one sample, by the engine that `charrnn sample` would take.

Knows steps. Refuses to know what is learned.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from charrnn.cells.parameters import is_trained, parameter_shapes
from charrnn.cells.registry import describe
from charrnn.inference.make_engine import make_engine
from charrnn.network.model import CharacterModel
from charrnn.settings.choices import PrecisionName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from tests.benchmarks import sampling_loops

VOCABULARY, LANES, WINDOW = 65, 16, 64
FAMILY: dict[str, dict[str, Any]] = {
    "--cell lstm": {},
    "--cell gru": {"cell": "gru"},
    "--cell rnn": {"cell": "rnn"},
    "--cell urnn": {"cell": "urnn"},
    "--cell rnn --activation relu": {"cell": "rnn", "activation": "relu"},
    "--cell rnn --activation modrelu": {"cell": "rnn", "activation": "modrelu"},
    "--no-forget-gate": {"forget_gate": False},
    "--peephole": {"peephole": True},
    "--coupled tied": {"coupled": "tied"},
    "--coupled min": {"coupled": "min"},
    "--cell gru --reset-gate before": {"cell": "gru", "reset_gate": "before"},
    "--orthogonal": {"orthogonal": True},
    "--cell gru --orthogonal": {"cell": "gru", "orthogonal": True},
    "--cell rnn --orthogonal --activation modrelu": {"cell": "rnn", "orthogonal": True, "activation": "modrelu"},
    "--layer-norm": {"layer_norm": True},
    "--cell gru --layer-norm": {"cell": "gru", "layer_norm": True},
    "--batch-norm": {"batch_norm": True},
    "--cell gru --batch-norm": {"cell": "gru", "batch_norm": True},
    "--cell rnn --batch-norm": {"cell": "rnn", "batch_norm": True},
    "--zoneout 0.05 --zoneout-cell 0.5": {"zoneout": 0.05, "zoneout_cell": 0.5},
    "--recurrent-dropout 0.2": {"recurrent_dropout": 0.2},
    "--multiplicative": {"multiplicative": True},
    "--cell gru --multiplicative": {"cell": "gru", "multiplicative": True},
    "--cell rnn --multiplicative": {"cell": "rnn", "multiplicative": True},
    "--mogrifier 4": {"mogrifier": 4},
    "--mogrifier 4 --mogrifier-rank 24": {"mogrifier": 4, "mogrifier_rank": 24},
    "--cell gru --mogrifier 4": {"cell": "gru", "mogrifier": 4},
}
"""Options -> fields of the configuration; the first is what the others are compared with."""


Loop = Callable[[int], None]
"""Makes this many steps."""


def training_loops(configs: Sequence[ModelConfig], precision: PrecisionName) -> list[Loop]:
    """For each configuration what trains it, from its initial weights on."""
    torch.set_flush_denormal(True)
    training = TrainingConfig(batch_size=LANES, bptt=WINDOW, precision=precision)
    ids = torch.randint(VOCABULARY, (WINDOW + 1, LANES), generator=torch.Generator().manual_seed(1))

    def loop(config: ModelConfig) -> Loop:
        learner = Learner(config, training, VOCABULARY, torch.device("cpu"))

        def train(steps: int) -> None:
            for _ in range(steps):
                learner.step(ids[:-1], ids[1:], 1e-3)

        return train

    return [loop(config) for config in configs]


def writing_loops(configs: Sequence[ModelConfig]) -> list[Loop]:
    """For each configuration what writes one text with its initial weights."""

    def loop(config: ModelConfig) -> Loop:
        model = CharacterModel(config, VOCABULARY)
        model.initialise(torch.Generator().manual_seed(1))
        return sampling_loops.our_loop(make_engine(config, model.numpy_arrays(), threads=1), 1)

    return [loop(config) for config in configs]


def measure(
    layers: int,
    hidden: int,
    steps: int,
    rounds: int,
    precision: PrecisionName = "fp32",
    only: str = "",
    *,
    is_writing: bool = False,
) -> list[dict[str, Any]]:
    """A row for each of `FAMILY`: options, the cell in words, parameters, characters a second and relative to lstm."""
    torch.set_num_threads(1)
    family = {options: fields for options, fields in FAMILY.items() if not fields or re.search(only, options)}
    configs = [
        ModelConfig(num_layers=layers, hidden_size=hidden, embedding_size=64, **fields) for fields in family.values()
    ]
    loops = writing_loops(configs) if is_writing else training_loops(configs, precision)
    for loop in loops:
        loop(1)
    seconds: list[list[float]] = [[] for _ in loops]
    for _ in range(rounds):
        for loop, taken in zip(loops, seconds, strict=True):
            begin = time.perf_counter()
            loop(steps)
            taken.append(time.perf_counter() - begin)
    characters = steps if is_writing else steps * LANES * WINDOW
    rows = []
    for options, config, taken in zip(family, configs, seconds, strict=True):
        ratios = [plain / own for plain, own in zip(seconds[0], taken, strict=True)]
        rows.append(
            {
                "options": options,
                "cell": describe(config),
                "parameters": sum(
                    math.prod(shape) for name, shape in parameter_shapes(config, VOCABULARY).items() if is_trained(name)
                ),
                "characters_per_second": characters / statistics.median(taken),
                "relative": statistics.median(ratios),
            }
        )
    return rows


def main() -> None:
    """Prints the table, or its numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    for name, value in (("layers", 1), ("hidden", 256), ("steps", None), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--sampling", action="store_true")
    given = parser.parse_args()
    steps = given.steps or (3000 if given.sampling else 12)
    rows = measure(
        given.layers, given.hidden, steps, given.rounds, given.precision, given.only, is_writing=given.sampling
    )
    if given.json:
        print(json.dumps(rows))
        return
    print("| options | parameters | characters/s beside lstm |\n| --- | --- | --- |")
    for row in rows:
        print(f"| `{row['options']}` | {row['parameters']:,} | {row['relative']:.2f} |")


if __name__ == "__main__":
    main()
