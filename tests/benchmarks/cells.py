"""How fast each kind of cell trains, beside the plain lstm: the table of the family in the manual.

    python -m tests.benchmarks.cells [--json] [--layers 1] [--hidden 256] [--steps 12] [--rounds 3] [--precision fp32]
                                     [--only REGEX]

One thread, 16 lanes x 64 characters, an embedding of 64 and a vocabulary of 65; the text is of chance, which speed does
not depend on. In each round the plain lstm and every other cell, or those whose options --only matches, make some steps
in turn; figures are medians of the rounds' ratios to the lstm's. A step is all of it: noise, forward, backward,
clipping, update.

Knows steps. Refuses to know what is learned.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from typing import Any

import torch

from charrnn.cells.parameters import is_trained, parameter_shapes
from charrnn.cells.registry import describe
from charrnn.settings.choices import PrecisionName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner

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


def measure(
    layers: int, hidden: int, steps: int, rounds: int, precision: PrecisionName = "fp32", only: str = ""
) -> list[dict[str, Any]]:
    """A row for each of `FAMILY`: options, the cell in words, parameters, characters a second and relative to lstm."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    training = TrainingConfig(batch_size=LANES, bptt=WINDOW, precision=precision)
    family = {options: fields for options, fields in FAMILY.items() if not fields or re.search(only, options)}
    configs = [
        ModelConfig(num_layers=layers, hidden_size=hidden, embedding_size=64, **fields) for fields in family.values()
    ]
    learners = [Learner(config, training, VOCABULARY, torch.device("cpu")) for config in configs]
    ids = torch.randint(VOCABULARY, (WINDOW + 1, LANES), generator=torch.Generator().manual_seed(1))
    for learner in learners:
        learner.step(ids[:-1], ids[1:], 1e-3)
    seconds: list[list[float]] = [[] for _ in learners]
    for _ in range(rounds):
        for learner, taken in zip(learners, seconds, strict=True):
            begin = time.perf_counter()
            for _ in range(steps):
                learner.step(ids[:-1], ids[1:], 1e-3)
            taken.append(time.perf_counter() - begin)
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
                "characters_per_second": steps * LANES * WINDOW / statistics.median(taken),
                "relative": statistics.median(ratios),
            }
        )
    return rows


def main() -> None:
    """Prints the table, or its numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    for name, value in (("layers", 1), ("hidden", 256), ("steps", 12), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parser.add_argument("--only", default="", metavar="REGEX")
    given = parser.parse_args()
    rows = measure(given.layers, given.hidden, given.steps, given.rounds, given.precision, given.only)
    if given.json:
        print(json.dumps(rows))
        return
    print("| options | parameters | characters/s beside lstm |\n| --- | --- | --- |")
    for row in rows:
        print(f"| `{row['options']}` | {row['parameters']:,} | {row['relative']:.2f} |")


if __name__ == "__main__":
    main()
