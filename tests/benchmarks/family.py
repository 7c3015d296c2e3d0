"""What each member of the family learns in equal time: the manual's page results-cells.

    python -m tests.benchmarks.family --corpus tinyshakespeare.txt --record family.jsonl [--characters 4e6]
    python -m tests.benchmarks.family --record family.jsonl --markdown

The unit of time is the plain lstm's: every member trains for as long as a plain lstm of one layer takes to train on
--characters characters. How much faster or slower a member is, is measured just before its run: both make some
steps in turn, and the median of the rounds' ratios sets its number of steps. So another program on the machine cannot
change what anybody learns. Steps count as in `cells.py`: noise, forward, backward, clipping, update; validations do not
count for anybody.

Training is the real command: the last tenth held out, state carried, the defaults of `train` but for what stands in the
row and --hidden, --embedding, --dropout; no row's learning rate is tuned. Lines of --record whose settings are the
same are not run again, so that the benchmark can be stopped and go on; --part 1/2 and 2/2 share the rows between two
processes.

Knows options and losses. Refuses to know how a step is made.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.network.device import prepare
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.training.recipe import completed_training
from tests.benchmarks import command
from tests.benchmarks.cells import FAMILY, LANES, VOCABULARY, WINDOW
from tests.benchmarks.training import cpu_name

Row = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """Settings by field name; what is not named is the plain lstm's."""

    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> str:
        """As on the command line."""
        settings = chain(
            starmap(ModelConfig.spelled, self.model.items()), starmap(TrainingConfig.spelled, self.training.items())
        )
        return " ".join(settings) or "--cell lstm"


# fmt: off
MEMBERS: list[Member] = [
    *(Member(model) for model in FAMILY.values()),
    Member({"init": "orthogonal"}),
    Member({"init": "xavier"}),
    Member({"init": "chrono"}),
    Member({"gate_bias": 1.0}),
    Member({"cell": "gru", "gate_bias": 1.0}),
    Member({"cell": "rnn", "init": "orthogonal"}),
    Member({"cell": "rnn", "activation": "relu", "init": "identity"}),
    Member({"cell": "rnn", "init": "orthogonal"}, {"orthogonal_penalty": 1e-4}),
    Member({"cell": "rnn"}, {"jacobian_penalty": 0.1}),
    Member({"cell": "rnn", "spectral_radius": 0.9}, {"freeze": "echo"}),
    Member({"cell": "rnn", "init": "orthogonal"}, {"optimizer": "sgd", "learning_rate": 0.5}),
    Member({"spectral_radius": 0.9}, {"freeze": "recurrent"}),
    Member({"tie": True}),
    Member({"dropout": 0.0}),
    Member({"variational_dropout": 0.2}),
    Member({"weight_drop": 0.2}),
    Member({"embedding_dropout": 0.1}),
    Member({}, {"activation_penalty": 0.1, "temporal_penalty": 0.1}),
    Member({}, {"optimizer": "adamw"}),
    Member({}, {"optimizer": "schedule-free", "learning_rate": 0.03}),
    Member({}, {"random_bptt": True}),
    Member({"num_layers": 2}),
    Member({"num_layers": 2, "skip": "residual"}),
    Member({"num_layers": 2, "skip": "dense"}),
    Member({"num_layers": 2, "skip": "sum"}),
]
# fmt: on
PLAIN = MEMBERS[0]
"""The plain lstm, which the others' time is measured by."""


def relative_speed(member: Member, sizes: dict[str, Any], steps: int, rounds: int) -> float:
    """Characters a second of whole steps, as a multiple of the plain lstm's: the median of rounds in turn."""
    learners = [
        Learner(
            ModelConfig(**{**sizes, **_fitting(one.model, sizes)}),
            TrainingConfig(**completed_training(one.training)),
            VOCABULARY,
            torch.device("cpu"),
        )
        for one in (PLAIN, member)
    ]
    ids = torch.randint(VOCABULARY, (WINDOW + 1, LANES), generator=torch.Generator().manual_seed(1))
    taken: list[list[float]] = [[], []]
    for round_ in range(rounds + 1):
        for learner, seconds in zip(learners, taken, strict=True):
            began = time.perf_counter()
            for _ in range(steps):
                learner.step(ids[:-1], ids[1:], 1e-4)
            if round_:  # the first one is for caches to fill
                seconds.append(time.perf_counter() - began)
    return statistics.median(plain / own for plain, own in zip(*taken, strict=True))


def _fitting(model: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """A tied embedding is as wide as the layers; other kinds of dropout take its place."""
    fitted = dict(model)
    if model.get("tie"):
        fitted["embedding_size"] = sizes["hidden_size"]
    if model.get("variational_dropout"):
        fitted["dropout"] = 0.0
    return fitted


def run(member: Member, corpus: Path, given: argparse.Namespace) -> Row:
    """Measures the speed, trains, and says what came of it."""
    sizes = {"hidden_size": given.hidden, "embedding_size": given.embedding, "dropout": given.dropout}
    relative = 1.0 if member == PLAIN else relative_speed(member, sizes, given.speed_steps, given.rounds)
    steps = max(1, round(relative * given.characters / (LANES * WINDOW)))
    model = {**sizes, **_fitting(member.model, sizes)}
    words = replace(member, model=model).options.split()
    run = command.train(
        corpus, *words, "--steps", str(steps), "--threads", str(given.threads), "--sample-every", "0",
        "--validation-fraction", "0.1", "--held-out", "end", "--seed", str(given.seed),
        "--batch", str(LANES), "--bptt", str(WINDOW), "--device", "cpu",
    )  # fmt: skip
    losses = [line["validation_nats"] for line in run.validations]
    shapes = parameter_shapes(ModelConfig(**model), VOCABULARY)
    return {
        **_key(member, corpus.name, given),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "relative": relative,
        "steps": steps,
        "nats": losses[-1],
        "best_nats": min(losses),
        "seconds": run.seconds,
        "machine": cpu_name(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _key(member: Member, corpus: str, given: argparse.Namespace) -> Row:
    """What tells one run from another."""
    names = ("characters", "hidden", "embedding", "dropout", "seed", "threads")
    return {"options": member.options, "corpus": corpus, **{name: getattr(given, name) for name in names}}


def table(rows: list[Row]) -> str:
    """A row each, in the order of the family, as Markdown."""
    order = {member.options: place for place, member in enumerate(MEMBERS)}
    lines = ["| options | parameters | characters/s | nats |", "| --- | ---: | ---: | ---: |"]
    for row in sorted(rows, key=lambda row: order.get(row["options"], len(order))):
        nats = f"{row['nats']:.4f}"
        if row["best_nats"] < row["nats"] - 5e-5:
            nats += f" (best {row['best_nats']:.4f})"
        lines.append(f"| `{row['options']}` | {row['parameters']:,} | {row['relative']:.2f} | {nats} |")
    return "\n".join(lines)


def read(record: Path) -> list[Row]:
    """The lines that are there."""
    return [json.loads(line) for line in record.read_text("utf-8").splitlines()] if record.exists() else []


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--corpus", type=Path, metavar="FILE", help="the text")
    add("--record", type=Path, metavar="FILE", required=True, help="JSON lines, one a run; appended to")
    add("--markdown", action="store_true", help="run nothing; print the table of the record")
    add("--characters", type=float, default=4e6, help="that the plain lstm trains on (default: 4e6)")
    add("--hidden", type=int, default=320)
    add("--embedding", type=int, default=64)
    add("--dropout", type=float, default=0.2)
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=5, help="of the speed's measurement (default: 5)")
    add("--speed-steps", type=int, default=6, help="in each round (default: 6)")
    add("--part", default="1/1", metavar="I/N", help="every N-th row, from the I-th")
    add("--only", default="", metavar="REGEX", help="rows whose options this matches")
    given = parser.parse_args(words)
    if not given.markdown and not (given.corpus and given.corpus.is_file()):
        parser.error(f"--corpus is {given.corpus}, and there is no such file")
    return given


def main(words: Sequence[str] | None = None) -> None:
    """Runs what the record lacks, or prints its table."""
    given = _arguments(words)
    if given.markdown:
        print(table(read(given.record)))
        return
    prepare(torch.device("cpu"), given.threads)
    place, parts = (int(number) for number in given.part.split("/"))
    chosen = [member for member in MEMBERS[place - 1 :: parts] if re.search(given.only, member.options)]
    for member in chosen:
        key = _key(member, given.corpus.name, given)
        if any(key.items() <= row.items() for row in read(given.record)):
            continue
        try:
            row = run(member, given.corpus, given)
        except SystemExit as error:  # one that diverges, say, does not keep the others from theirs
            print(f"{member.options}: {error}", file=sys.stderr, flush=True)
            continue
        with given.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['options']}: {row['nats']:.4f} nats, {row['relative']:.2f} of the speed", flush=True)


if __name__ == "__main__":
    main()
