"""Every member of the family goes the whole way: trains, resumes exactly, is scored, samples and is looked into."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.inference.make_engine import make_engine
from charrnn.network.open_engine import open_engine
from charrnn.network.stepper import TorchStepper
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.fields import help_of, variants
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run
from tests.kit.twenty_steps import REQUEST, train

# fmt: off
MODELS: dict[str, dict[str, Any]] = {
    "orthogonal": {"init": "orthogonal", "init_gain": 1.1},
    "identity": {"cell": "rnn", "init": "identity"},
    "chrono": {"cell": "gru", "init": "chrono", "chrono_range": 40},
    "gate bias": {"gate_bias": 2.0},
    "orthogonal recurrence": {"orthogonal": True},
    "orthogonal recurrence, zoned out": {"cell": "gru", "orthogonal": True, "zoneout": 0.2},
    "unitary": {"cell": "urnn", "tie": True, "embedding_size": 6},
    "tie": {"tie": True, "embedding_size": 6},
    "residual": {"skip": "residual", "num_layers": 3},
    "dense": {"skip": "dense"},
    "variational dropout": {"variational_dropout": 0.3, "dropout": 0.0},
    "weight drop": {"weight_drop": 0.5},
    "every dropout": {
        "variational_dropout": 0.3, "input_dropout": 0.1, "output_dropout": 0.2, "weight_drop": 0.2,
        "embedding_dropout": 0.2, "cell": "gru",
    },
    "spectral radius": {"spectral_radius": 1.2, "init": "xavier", "cell": "gru"},
    "batch norm": {"batch_norm": True, "zoneout": 0.1},
    "sum and tie": {"skip": "sum", "tie": True, "embedding_size": 6, "cell": "gru"},
}
# fmt: on
TRAINING: dict[str, dict[str, Any]] = {
    "output penalties": {"activation_penalty": 2.0, "temporal_penalty": 1.0},
    "orthogonal penalty": {"orthogonal_penalty": 0.01},
    "averages after a trigger": {"average_after": 1, "average": 0.0, "learning_rate": 10.0, "decay": "constant"},
    "averages from a share on": {"average_from": 0.3},
    "schedule-free": {"optimizer": "schedule-free", "decay": "constant"},
    "random windows": {"random_bptt": True, "l2": 0.01},
    "l2 and a clip on the sum": {"l2": 0.01, "clip_loss": "sum", "clip_norm": 10.0, "optimizer": "adamw"},
    "frozen layers": {"freeze": "recurrent"},
    "echo state network": {"freeze": "echo", "average": 0.2},
    "jacobian penalty": {"jacobian_penalty": 0.5},
}
OF_TRAINING: dict[str, dict[str, Any]] = {"jacobian penalty": {"cell": "rnn", "weight_drop": 0.3}}
"""The model, where not any will do."""
NAMES = [*MODELS, *TRAINING]


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    return corpora.load([Source(text_file(2000), "text.txt")], DataConfig(), name="text")


@pytest.mark.parametrize("name", NAMES)
def test_it_resumes_exactly_and_every_engine_agrees(corpus: Corpus, tmp_path: Path, name: str) -> None:
    """Stopped after 1 and 8 steps: the same bytes. Then torch's stepper, numpy's step and the engine: one model."""
    model, training = MODELS.get(name, OF_TRAINING.get(name, {})), TRAINING.get(name, {})
    request = replace(REQUEST, model={**REQUEST.model, **model}, training={**REQUEST.training, **training})
    train(tmp_path / "whole", corpus, request)
    for k in (1, 8):
        train(tmp_path / f"cut-{k}", corpus, request, stop_after=k)
        train(tmp_path / f"cut-{k}", corpus, request)
        assert_same_run(tmp_path / f"cut-{k}", tmp_path / "whole")
    counters = checkpoints.load(tmp_path / "whole" / "last.safetensors", with_state=True).training["counters"]
    assert counters["averaging_since"] == {"averages after a trigger": 14, "averages from a share on": 6}.get(name)
    loaded = checkpoints.load(tmp_path / "whole" / "best.safetensors")
    ids = np.arange(17)[:, None] % len(corpus.vocabulary)
    reference = TorchStepper(loaded, torch.device("cpu"))
    expected, _ = reference.read(ids, reference.zero_state())
    for engine in (make_engine(loaded.model, loaded.parameters), open_engine(loaded)):
        np.testing.assert_allclose(engine.read(ids, engine.zero_state())[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        "--init orthogonal",
        "--cell rnn --init identity --init-gain 0.9",
        "--init chrono --chrono-range 30",
        "--gate-bias 1",
        "--cell rnn --spectral-radius 0.9 --freeze echo",
        "--tie",
        "--skip dense --layers 2",
        "--variational-dropout 0.3",
        "--input-dropout 0.2 --output-dropout 0.2",
        "--weight-drop 0.4 --embedding-dropout 0.1",
        "--skip sum --layers 2 --tie",
    ],
)
def test_the_command_line_knows_it(text_file: Callable[..., Path], command: Command, options: str) -> None:
    """Train, sample (with a unit held), eval and inspect; --dry-run and inspect name what is not plain."""
    text = str(text_file(1500))

    def run(*words: str) -> str:
        done = command(*words)
        assert done.status == 0, done.err
        return done.out + done.err

    sizes = "--hidden 6 --steps 6 --batch 5 --bptt 20 --threads 1 --sample-every 0 --out run".split()
    first = options.removeprefix("--cell rnn ").split(" --layers")[0].split(" --freeze")[0]
    assert first in run("train", text, *options.split(), *sizes, "--dry-run")
    run("train", text, *options.split(), *sizes, "--quiet")
    assert len(run("sample", "-c", "run", "--length", "20", "--clamp", "L1.h2=0.5")) >= 20
    assert json.loads(command("eval", text, "-c", "run", "--json").out)["bits_per_character"] > 0
    shown = " ".join(run("inspect", "-c", "run").split())
    assert first.split(" --tie")[0] in shown
    run("inspect", text, "-c", "run", "--unit", "L1.h2")


def test_a_plain_model_is_not_named_by_its_defaults() -> None:
    """Only what differs is said."""
    assert variants(ModelConfig()) == ""
    assert variants(ModelConfig(num_layers=3, tie=True, embedding_size=320)) == "--tie"
    assert variants(ModelConfig(gate_bias=1.5, init="xavier")) == "--init xavier --gate-bias 1.5"
    assert "decoder" in help_of(ModelConfig)["tie"]
