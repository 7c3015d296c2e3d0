"""Texts with a planted structure, and small models that are trained until they have learned it.

Each text can only be predicted well by remembering something that its last three characters do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.events import Finished
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.find import Atlas, Finding, make_atlas
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import Budget, DataConfig
from charrnn.text import corpus as corpora
from charrnn.text.sources import Source
from charrnn.training.plan import TrainRequest, plan_start
from charrnn.training.trainer import Trainer

H, E, B, T = 19, 9, 16, 64
TRAINED, HELD_OUT = 60_000, 12_000
W = 24
"""Letters in each line of `_lines`."""
BLOCKS = 101
"""Of the shuffled labels. Their lengths are no multiples of a line's, so that lines do not fall on lines."""

Random = np.random.Generator


def _letters(random: Random, alphabet: str, count: int) -> str:
    return "".join(random.choice(list(alphabet), count))


def _quotes(random: Random) -> str:
    """A word, or several in quotes. The letters are the same; only inside may a quote follow a letter."""

    def word() -> str:
        return _letters(random, "abcdefg", random.integers(1, 6))

    is_quoted = random.random() < 0.12
    said = '"' + " ".join(word() for _ in range(random.geometric(0.25))) + '"' if is_quoted else word()
    return said + ("\n" if random.random() < 0.1 else " ")


def _brackets(random: Random) -> str:
    """A line in which brackets open up to three deep, and all are closed: only inside may one close."""
    pieces, depth = [], 0
    while True:
        chance = random.random()
        if depth < 3 and chance < 0.1:
            pieces.append("(")
            depth += 1
        elif depth and chance > 0.88:
            pieces.append(")")
            depth -= 1
        elif not depth and chance > 0.94:
            return "".join(pieces) + "\n"
        else:
            pieces.append(_letters(random, "abcdefg", 1))


def _lines(random: Random) -> str:
    """A line as long as any other: only who counts knows when it ends."""
    return _letters(random, "abcde", W) + "\n"


def _recall(random: Random) -> str:
    """A value, other letters, and when asked for it the same value again."""
    value = random.choice(["0", "1"])
    return value + _letters(random, "abcd", random.integers(2, 17)) + "?" + value


@dataclass(frozen=True)
class Task:
    """A text and what is planted in it."""

    write: Callable[[Random], str]
    """A piece of text; they do not depend on each other."""
    label: str
    """What must be known with an AUC above 0.95."""
    pattern: str = ""
    """Of that label, where it is not the library's."""
    graded: str = ""
    """A degree of it that must be known, too."""
    is_one_unit: bool = False
    """Whether holding one unit makes the model forget it: it is not spread over many."""
    steps: int = 1000

    def text(self, characters: int, seed: int, part: int) -> str:
        """Whole pieces: a quote or a line cut off would be another thing. `part` is another text of the kind."""
        random, pieces = np.random.default_rng([seed, part]), list[str]()
        while characters > 0:
            pieces.append(self.write(random))
            characters -= len(pieces[-1])
        return "".join(pieces)

    def labels(self, text: str) -> list[Label]:
        """All that the atlas would be asked, with the user's label."""
        return labels_of(text, {self.label: re.compile(self.pattern)} if self.pattern else None)


TASKS = {
    "quotes": Task(_quotes, 'inside "quotes"', is_one_unit=True),
    "brackets": Task(_brackets, "inside ( )", graded="depth of brackets"),
    "lines": Task(
        _lines, "late in the line", rf"(?<=\n[a-e]{{{W // 2}}})[a-e]+", graded="position in the line", steps=1400
    ),
    # Up to the question: what ends it is the value that is recalled.
    "recall": Task(_recall, "the value is 1", r"1[a-d]+\?", is_one_unit=True),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A model that has learned a task, and the text that it has not seen."""

    task: Task
    seed: int
    checkpoint: Checkpoint
    ids: npt.NDArray[np.integer]
    labels: list[Label]
    found: Atlas

    def atlas(self, parameters: object, labels: list[Label]) -> Atlas:
        """Of a model of this shape, beside an untrained one, on this text."""
        return _atlas(self.checkpoint, parameters, self.ids, labels)

    def finding(self, label: str) -> Finding:
        """The atlas' own."""
        return next(finding for finding in self.found.findings if finding.label == label)

    def atlas_of_shuffled_labels(self) -> Atlas:
        """Of the labels in long blocks, put together in another order: they keep their own correlations."""
        order = np.random.default_rng(self.seed).permutation(BLOCKS)

        def shuffled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            blocks = np.array_split(values, BLOCKS)
            return np.concatenate([blocks[number] for number in order])

        labels = [replace(label, values=shuffled(label.values)) for label in self.labels]
        return self.atlas(self.checkpoint.parameters, labels)

    def atlas_of_an_untrained_model(self) -> Atlas:
        """Of the same shape, on the same text."""
        return self.atlas(untrained_arrays(self.checkpoint.model, len(self.checkpoint.vocabulary), seed=5), self.labels)


def _atlas(checkpoint: Checkpoint, parameters: object, ids: npt.NDArray[np.integer], labels: list[Label]) -> Atlas:
    config = checkpoint.model
    novice = make_engine(config, untrained_arrays(config, len(checkpoint.vocabulary), seed=8))
    return make_atlas(make_engine(config, parameters), novice, ids, labels)  # type: ignore[arg-type]


def learn(task: Task, folder: Path, seed: int, training_seed: int | None = None) -> Trained:
    """Trains as `charrnn train --steps` does; with one thread and one precision, whatever the machine has. `seed` is
    that of the texts, and training has the next one unless it is given its own."""
    folder.mkdir(exist_ok=True)
    path = folder / "corpus.txt"
    path.write_text(task.text(TRAINED, seed, 0), "utf-8")
    corpus = corpora.load([Source(path, path.name)], DataConfig(), name="corpus")
    request = TrainRequest(
        model={"cell": "lstm", "num_layers": 1, "hidden_size": H, "embedding_size": E, "dropout": 0.0},
        data={"validation_fraction": 0.05},
        training={
            "batch_size": B,
            "bptt": T,
            "learning_rate": 0.03,
            "precision": "fp32",
            "seed": seed + 1 if training_seed is None else training_seed,
        },
        run={"sample_every": 0, "validate_every": 200},
        budget=Budget(steps=task.steps),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan = plan_start(request, len(corpus))
        *_, last = Trainer(Run(folder), corpus, plan, device=torch.device("cpu")).run()
    finally:
        torch.set_num_threads(before)
    assert isinstance(last, Finished)
    assert last.step == task.steps
    checkpoint = checkpoints.load(folder / "best.safetensors")
    text = task.text(HELD_OUT, seed, 1)
    ids, labels = checkpoint.vocabulary.encode(text), task.labels(text)
    return Trained(task, seed, checkpoint, ids, labels, _atlas(checkpoint, checkpoint.parameters, ids, labels))
