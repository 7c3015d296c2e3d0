"""Seconds of `inspect --find`'s atlas, beside what else reads the text and scores its units.

    python -m tests.benchmarks.atlas [--json] [--layers 2] [--hidden 512] [--characters 200000] [--rounds 3]

The network has weights of chance: speed does not depend on them (none of its state is saturated or denormal). The text
is of invented words in lines, with quotes, brackets and digits, so that most labels have something to say. Beside the
whole atlas (labels, reading, an untrained network, scores of both halves, intervals, null distributions) in each round:

    reading     torch's own LSTM over the same text as one stream, in windows of 256, which gives outputs but no gates
    scoring     scikit-learn's roc_auc_score of some pairs of unit and label on as many places, times how many there are
    probing     the part of the atlas that the k-curves take, over the rest of it: by seconds of the processor, which
                other programs disturb less

and once `ablating`, what holding one unit costs: a reading of the text in lanes. Ratios are medians over rounds.
`peak` is the most memory, in megabytes, that the process has had by the end.

Knows the whole of a search. Refuses to know what is found.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from charrnn.inference.make_engine import make_engine
from charrnn.neurons.ablate import ablate
from charrnn.neurons.find import SAMPLES, make_atlas
from charrnn.neurons.labels import labels_of
from charrnn.neurons.record import Unit
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from charrnn.text.vocabulary import Vocabulary

WINDOW, PAIRS = 256, 40


def text_of(characters: int, seed: int = 0) -> str:
    """Sentences of invented words, some quoted, in brackets or numbers, in lines and paragraphs."""
    pick, pieces, size = random.Random(seed), [], 0
    while size < characters:
        words = ["".join(pick.choices("eeetaoinshrdlu", k=pick.randint(1, 8))) for _ in range(pick.randint(4, 14))]
        sentence = " ".join(words).capitalize() + pick.choice(".!?")
        kind = pick.random()
        sentence = f'"{sentence}"' if kind < 0.2 else f"({sentence})" if kind < 0.3 else sentence
        sentence += pick.choice([" ", " ", "\n", "\n\n", f" {pick.randint(1, 2000)} "])
        pieces.append(sentence)
        size += len(sentence)
    return "".join(pieces)[:characters]


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class _Stages:
    """The seconds of the processor that each stage of a piece of work takes, by what it reports to be doing."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()
        self._doing, self._since = "", time.process_time()

    def report(self, doing: str, _done: int, _total: int) -> None:
        """What the work is told to call."""
        if doing != self._doing:
            now = time.process_time()
            self._spent[self._doing] += now - self._since
            self._doing, self._since = doing, now

    def share_of(self, *stages: str) -> float:
        """The seconds of some stages over those of all others."""
        self.report("", 0, 0)
        some = sum(self._spent[stage] for stage in stages)
        return some / (self._spent.total() - some)


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--characters", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()

    text = text_of(asked.characters)
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    config = ModelConfig(cell="lstm", num_layers=asked.layers, hidden_size=asked.hidden, embedding_size=64)
    arrays = untrained_arrays(config, len(vocabulary), seed=1)
    engine = make_engine(config, arrays)
    novice = make_engine(config, untrained_arrays(config, len(vocabulary), seed=2))
    network = torch.nn.LSTM(64, asked.hidden, asked.layers)
    embedded = torch.nn.Embedding(len(vocabulary), 64)(torch.from_numpy(ids.astype(np.int64)))[:, None].detach()

    def read() -> None:
        state = None
        with torch.inference_mode():
            for begin in range(0, len(ids), WINDOW):
                _, state = network(embedded[begin : begin + WINDOW], state)

    labels = labels_of(text)
    rng = np.random.default_rng(0)
    half = min(SAMPLES, len(ids) // 2)
    values, answers = rng.random((PAIRS, half)), rng.random(half) < 0.2

    def score() -> None:
        for row in values:
            roc_auc_score(answers, row)

    pairs = 2 * 6 * asked.layers * asked.hidden * len(labels)
    rows = []
    for _ in range(asked.rounds):
        stages = _Stages()
        atlas = _seconds(lambda stages=stages: make_atlas(engine, novice, ids, labels_of(text), report=stages.report))
        row = {"atlas": atlas, "reading": _seconds(read), "scoring": _seconds(score) / PAIRS * pairs}
        row["probing"] = stages.share_of("probing", "comparing probes with chance")
        rows.append(row)
    unit = Unit(1, "h", 3)
    held = _seconds(lambda: ablate(config, arrays, ids, {unit: labels[:1]}, compared=3)) / 6
    found = {
        "units": 6 * asked.layers * asked.hidden,
        "labels": len(labels),
        "seconds": round(statistics.median(row["atlas"] for row in rows), 1),
        "of reading": round(statistics.median(row["atlas"] / row["reading"] for row in rows), 2),
        "of reading and scoring": round(
            statistics.median(row["atlas"] / (row["reading"] + row["scoring"]) for row in rows), 3
        ),
        "probing, of the rest": round(statistics.median(row["probing"] for row in rows), 2),
        "ablating, of reading": round(held / statistics.median(row["reading"] for row in rows), 2),
        "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if asked.json:
        print(json.dumps(found))
        return
    print(f"lstm {asked.layers} x {asked.hidden}, {asked.characters:,} characters, {torch.get_num_threads()} threads")
    for name, value in found.items():
        print(f"{name:28}{value:>10,}")


if __name__ == "__main__":
    main()
