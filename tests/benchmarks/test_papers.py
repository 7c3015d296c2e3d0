"""The script for a GPU: its settings are ones that can be had, and its verdicts are right."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.network.cudnn import IMAGINED, expected
from charrnn.settings.config import ModelConfig
from tests.benchmarks import quality
from tests.benchmarks.papers import TARGETS, Target, verdicts, words_for

by_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@by_target
def test_its_words_are_understood(
    target: Target, text_file: Callable[..., Path], command: Callable[..., tuple[int, str, str]]
) -> None:
    """By the benchmark, and by train itself."""
    given = quality.parsed(words_for(target, "corpora", "cpu", 10.0))
    assert given.name == target.name
    budget = ["--epochs", "8"] if given.minutes is None else ["--minutes", "10"]
    more = [word for word in given.more if word not in budget]
    status, _, errors = command("train", str(text_file(9000)), *more, *budget, "--dry-run")
    assert status == 0, errors


@by_target
def test_its_layers_are_of_the_fast_kernels_sizes(target: Target) -> None:
    """And the first is within the 14 million parameters that it is given."""
    asked = dict(zip(target.options[::2], target.options[1::2], strict=True))
    sizes = {"hidden_size": int(asked["--hidden"]), "embedding_size": int(asked["--embedding"])}
    model = ModelConfig(num_layers=int(asked["--layers"]), **sizes)
    found = expected("lstm", model.embedding_size, model.hidden_size, int(asked["--batch"]), "fp16", IMAGINED)
    assert (found.forward, found.backward) == ("persistent", "persistent")
    assert sum(math.prod(shape) for shape in parameter_shapes(model, 50).values()) <= 14e6


def test_a_mark_is_met_from_itself_down() -> None:
    """By the figure that it names; where there is none nothing is said."""
    target = TARGETS[0]
    row = {"test": {"streamed": {"bits": 1.2}, "dynamic": {"bits": 1.1751}}}
    assert verdicts(target, row) == [
        "ptb-char: 1.2000, met: 1.20 bits",
        "ptb-char: 1.1751, not met: 1.175 bits, dynamic",
    ]
    assert len(verdicts(target, {"test": {"streamed": {"bits": 1.3}}})) == 1
    assert "not met" in verdicts(target, {"test": {"streamed": {"bits": 1.3}}})[0]
