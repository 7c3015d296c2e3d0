"""A run on documents: the same whatever their order, exactly resumed, and what it has learned is written."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import load
from tests.kit.command import Command

NAMES = ["".join(random.Random(number).choices("abcdefgh", k=3 + number % 6)) for number in range(150)]
SMALL = ["--documents", "lines", "--hidden", "12", "--embedding", "5", "--batch", "3", "--bptt", "10", "--threads", "1"]


def _write(name: str, lines: list[str]) -> str:
    Path(name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return name


def _parameters(folder: str) -> dict[str, np.ndarray]:
    return dict(load(Path(folder) / "last.safetensors", with_state=True).parameters)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_run_that_was_cut_ends_as_one_that_was_not(command: Command, cell: str) -> None:
    """In the middle of an epoch and of a document; over several epochs, at a rate that no budget moves."""
    text = _write("names.txt", NAMES)
    common = ["train", text, *SMALL, "--cell", cell, "--dropout", "0.2", "--decay", "constant", "--quiet"]
    command(*common, "--steps", "90", "--out", "whole")
    for steps in ("17", "40", "90"):
        command(*common, "--steps", steps, "--out", "cut")
    whole, cut = (load(Path(name) / "last.safetensors", with_state=True) for name in ("whole", "cut"))
    assert all(np.array_equal(array, cut.parameters[name]) for name, array in whole.parameters.items())
    assert whole.training["counters"]["position"] == cut.training["counters"]["position"] == 900


def test_what_is_held_out_does_not_hang_on_the_order(command: Command) -> None:
    """Of a list sorted and shuffled the same names are validated on: an untrained model scores them alike."""
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    scores = []
    for name, lines in (("sorted", sorted(NAMES)), ("shuffled", shuffled)):
        command("train", _write(f"{name}.txt", lines), *SMALL, "--steps", "1", "--lr", "1e-9", "--quiet", "--out", name)
        found = load(Path(name) / "best.safetensors")
        scores.append(found.progress["best_nats"])
        assert found.corpus["validation"] > 20
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)


def test_samples_are_names(command: Command) -> None:
    """A model that has seen three names a thousand times writes these, each whole."""
    names = ["abba", "cad", "efgh"]
    text = _write("few.txt", names * 100)
    command(
        "train",
        text,
        *SMALL,
        "--validation-fraction",
        "0",
        "--steps",
        "300",
        "--lr",
        "0.03",
        "--weight-decay",
        "0",
        "--out",
        "few",
        "--quiet",
    )
    written = command("sample", "-c", "few", "--count", "40").out.splitlines()
    assert len(written) == 40
    assert set(written) == set(names)
