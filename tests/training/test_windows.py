"""Windows of random length: the distribution, its bounds, and runs that are made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.network.model import ModelConfig
from charrnn.settings.config import Budget, DataConfig, TrainingConfig
from charrnn.settings.run import RunConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.estimates import training_memory
from charrnn.training.lanes import Ring
from charrnn.training.pace import Counters, Pace
from charrnn.training.schedule import learning_rate, longest_window, window_length
from tests.kit.twenty_steps import REQUEST, train


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    return corpora.load([Source(text_file(2000), "text.txt")], DataConfig(), name="text")


def _lengths(bptt: int, steps: int, seed: int = 3) -> list[int]:
    config = TrainingConfig(bptt=bptt, random_bptt=True, seed=seed)
    return [window_length(config, step) for step in range(steps)]


def test_lengths_are_drawn_from_the_two_normal_distributions() -> None:
    """Every twentieth about half as long; each half's mean and deviation are those of a normal cut to whole numbers."""
    lengths = np.array(_lengths(120, 6000))
    short = lengths < 90
    assert short.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 6000))
    for part, middle in ((lengths[short], 60), (lengths[~short], 120)):
        assert part.mean() == pytest.approx(middle - 0.5, abs=4 * 5 / np.sqrt(len(part)))
        assert part.std() == pytest.approx(5, rel=0.15)
        share = NormalDist(middle, 5).cdf(middle + 4)
        assert (part < middle + 4).mean() == pytest.approx(share, abs=4 / np.sqrt(4 * len(part)))


@pytest.mark.parametrize("bptt", [1, 2, 3, 5, 7, 30, 64])
def test_lengths_stay_within_bounds(bptt: int) -> None:
    """At least 5, or bptt; at most 20 more than bptt, or twice as many: what memory is counted for."""
    lengths = _lengths(bptt, 800)
    config = TrainingConfig(bptt=bptt, random_bptt=True)
    assert min(5, bptt) <= min(lengths) < bptt or bptt <= 5
    assert max(lengths) <= longest_window(config) == bptt + min(bptt, 20)
    plain = TrainingConfig(bptt=longest_window(config))
    model = ModelConfig(num_layers=1, hidden_size=7)
    assert training_memory(model, config, 11, kept=2) == training_memory(model, plain, 11, kept=2)


def test_a_length_depends_on_seed_and_step_alone() -> None:
    """Asked for in any order, of a step far on too; and without random_bptt there is one length."""
    config = TrainingConfig(bptt=64, random_bptt=True, seed=3)
    assert [window_length(config, step) for step in reversed(range(40))] == _lengths(64, 40)[::-1]
    assert _lengths(64, 40, seed=4) != _lengths(64, 40)
    assert 5 <= window_length(replace(config, seed=2**63 - 1), 2**40) <= 84
    assert window_length(replace(config, random_bptt=False), 7) == 64


def test_the_learning_rate_goes_with_the_length() -> None:
    """The schedule's rate times length / bptt."""
    plain = TrainingConfig(bptt=40)
    random = replace(plain, random_bptt=True)
    for step in range(60):
        expected = learning_rate(plain, step, 0.3) * window_length(random, step) / 40
        assert learning_rate(random, step, 0.3) == pytest.approx(expected)


def test_an_epoch_is_over_when_its_characters_are_read() -> None:
    """However many steps that took; a budget in steps counts steps."""
    ring = Ring(np.zeros(1000, np.uint8), lanes=5, window=20, spare=20)
    pace = Pace(Budget(epochs=2), RunConfig(), ring, 50)  # 20 windows of 100
    assert pace.fraction(Counters(step=3, position=100)) == 0.25
    assert not pace.is_over(Counters(step=30, position=399))
    assert pace.is_over(Counters(step=11, position=400))
    assert Pace(Budget(steps=12), RunConfig(), ring, 50).fraction(Counters(step=3, position=100)) == 0.25


def test_a_run_reads_every_character_once_an_epoch(corpus: Corpus, tmp_path: Path) -> None:
    """Metrics and counters say what was read: the sum of the lengths; two epochs end with the window that ends them."""
    training = {**REQUEST.training, "random_bptt": True}
    request = replace(REQUEST, training=training, budget=Budget(epochs=2), run={**REQUEST.run, "log_every": 1})
    last = train(tmp_path / "run", corpus, request)
    lengths = [window_length(TrainingConfig(**training), step) for step in range(last.step)]
    assert last.characters == 5 * sum(lengths)
    assert 5 * sum(lengths[:-1]) < 2 * 1800 <= last.characters
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    read = {line["step"]: line["characters"] for line in lines}
    assert read == {step: 5 * sum(lengths[:step]) for step in range(1, last.step + 1)}
    saved = checkpoints.load(tmp_path / "run" / "last.safetensors", with_state=True)
    assert saved.training["counters"]["position"] == sum(lengths)
    assert saved.progress["epoch"] == pytest.approx(last.characters / 1800, abs=1e-6)
