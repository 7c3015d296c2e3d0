"""Tiny runs of many kinds, what each makes without an interruption, and whether a folder holds the same."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.records import agreements
from tests.kit.command import Result
from tests.kit.forked import Job, run_signalled
from tests.kit.runs_compared import metrics, tensors
from tests.kit.text import make_text

KINDS = 24
TEXT, NAME, OLD = "text.txt", "it", "old"
ALWAYS = {".lock", "config.json", "best.safetensors", "last.safetensors"}


def options(kind: int) -> list[str]:
    """The options of a kind of run, by its number."""
    draw = random.Random(kind)
    layers, validate, sample, keep = draw.choice("12"), draw.choice("345"), draw.choice("0256"), draw.choice("345")
    words = [
        "--cell", draw.choice(["lstm", "gru", "rnn"]), "--layers", layers, "--hidden", draw.choice("456"),
        "--embedding", "3", "--batch", "4", "--bptt", draw.choice("789"), "--threads", "1", "--sample-length", "5",
        "--steps", draw.choice(["7", "9", "12"]), "--log-every", draw.choice("123"), "--quiet",
    ]  # fmt: skip
    may_be = [
        ["--validate-every", validate], ["--sample-every", sample], ["--keep-every", keep], ["--save-every", "0"],
        ["--patience", "1"], ["--validation-fraction", "0"], ["--optimizer", draw.choice(["sgd", "adamw", "rmsprop"])],
    ]  # fmt: skip
    if layers == "2":
        may_be.append(["--dropout", "0.2"])
    chosen = [more for more in may_be if draw.random() < 0.5]
    if ["--validation-fraction", "0"] in chosen:
        chosen = [more for more in chosen if more[0] != "--patience"]
    return [*words, *(word for more in chosen for word in more)]


@dataclass
class Reference:
    """A run that was not interrupted."""

    folder: Path
    seconds: float
    """How long the command took."""
    contents: dict[str, object]


@dataclass
class TinyRuns:
    """Makes the runs that were not interrupted, each once, in a folder of its own."""

    folder: Path
    references: dict[int, Reference] = field(default_factory=dict)

    @classmethod
    def prepare(cls, folder: Path) -> TinyRuns:
        """With the text that all of them read, and an old run that others take the place of."""
        (folder / TEXT).write_text(make_text(2000), "utf-8")
        made = cls(folder)
        result = made.train(folder, OLD, options(0), "--seed", "99", "--steps", "3")
        assert result.status == 0, result.err
        return made

    def job(self, folder: Path, name: str, words: list[str], *more: str, module: tuple[str, ...] = ("charrnn",)) -> Job:
        """The command that trains in the run `name` of a folder; of an option that is given twice the last counts."""
        given = [*words]
        for flag in more:
            if flag in given:
                place = given.index(flag)
                del given[place : place + 2]
        environment = {**os.environ, "CHARRNN_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        train = [*module, "train", str(self.folder / TEXT), "--out", name, *given, *more]
        return Job(train, folder, environment)

    def train(self, folder: Path, name: str, words: list[str], *more: str) -> Result:
        """Runs that command to its end."""
        return run_signalled([self.job(folder, name, words, *more)])[0].result

    def reference(self, kind: int) -> Reference:
        """Returns the run of a kind that was not interrupted."""
        if kind not in self.references:
            folder = self.folder / f"kind-{kind}"
            folder.mkdir()
            began = time.monotonic()
            result = self.train(folder, NAME, options(kind))
            assert result.status == 0, result.err
            taken = time.monotonic() - began
            self.references[kind] = Reference(folder / NAME, taken, contents(folder / NAME))
        return self.references[kind]

    def put_old(self, folder: Path, name: str) -> Mapping[str, bytes]:
        """Puts the old run at a place; returns its files, but for the lock."""
        shutil.copytree(self.folder / OLD, folder / name)
        return files(folder / name)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes, but for the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def contents(folder: Path) -> dict[str, object]:
    """What a run's folder holds, by file name, without what a clock decides."""
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            found[path.name] = tensors(path)
        elif path.name == "metrics.jsonl":
            found[path.name] = metrics(path)
        else:
            found[path.name] = path.read_bytes()
    return found


def differs(folder: Path, expected: Mapping[str, object]) -> str | None:
    """Says in what a run's folder differs from what it should hold; None where in nothing."""
    found = contents(folder)
    if list(found) != list(expected):
        return f"{folder.name} holds {sorted(set(found) ^ set(expected))} too much or too little"
    for name in expected:
        if found[name] != expected[name]:
            return f"{name} is not that of the uninterrupted run"
    last = checkpoints.load(folder / "last.safetensors", with_state=True)
    for agreement in agreements(folder, last.training):
        if agreement.problem or agreement.found != agreement.expected:
            return f"last does not agree with {agreement}"
    return None
