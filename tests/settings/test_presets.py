"""Presets are data: valid settings, overridden by what is given, shown before anything is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import starmap
from pathlib import Path

import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.settings.config import Budget, ModelConfig, TrainingConfig
from charrnn.settings.presets import PRESETS, PresetName
from charrnn.training.plan import TrainRequest, plan_start, with_preset
from tests.kit.command import Command

names = pytest.mark.parametrize("name", PRESETS)


@names
def test_a_preset_is_a_valid_run(name: PresetName) -> None:
    """Every field exists, every value is allowed, and the plan has all of them."""
    preset = PRESETS[name]
    ModelConfig(**preset.model)
    TrainingConfig(**preset.training)
    plan = plan_start(with_preset(TrainRequest(), name), 10**7)
    assert plan.budget == preset.budget
    for group, settings in ((plan.model, preset.model), (plan.training, preset.training)):
        assert {field: getattr(group, field) for field in settings} == dict(settings)
    assert len(plan.notices) == 1 + bool(preset.departs)
    assert bool(preset.departs) == (name != "best")
    assert all(said in plan.notices[0] for said in starmap(ModelConfig.spelled, preset.model.items()))


@names
def test_what_is_given_wins(name: PresetName) -> None:
    """Model, training and budget; the rest stays the preset's."""
    given = TrainRequest(
        model={"hidden_size": 48, "embedding_size": 48}, training={"learning_rate": 0.5}, budget=Budget(steps=7)
    )
    plan = plan_start(with_preset(given, name), 10**7)
    assert (plan.model.hidden_size, plan.training.learning_rate, plan.budget) == (48, 0.5, Budget(steps=7))
    assert plan.training.batch_size == PRESETS[name].training["batch_size"]
    assert "--hidden 48" in plan.notices[0]
    assert "--steps 7" in plan.notices[0]


@pytest.mark.parametrize(
    ("name", "characters", "millions"),
    [("awd", 50, 13.788), ("zoneout", 50, 4.25), ("mogrifier", 50, 24.0), ("mlstm", 205, 45.5)],
)
def test_sizes_are_those_of_the_papers(name: PresetName, characters: int, millions: float) -> None:
    """Of the Penn Treebank's 50 characters or enwik8's 205 bytes: to a fortieth."""
    shapes = parameter_shapes(ModelConfig(**PRESETS[name].model), characters)
    assert sum(map(math.prod, shapes.values())) == pytest.approx(1e6 * millions, rel=0.025)


@pytest.mark.parametrize(
    ("name", "setting", "summed"),
    [("zaremba", "learning_rate", 1.0), ("mogrifier", "l2", 1 / 2.556e-4)],
)
def test_what_was_meant_for_a_summed_loss_is_converted(name: PresetName, setting: str, summed: float) -> None:
    """A mean has gradients smaller by the window: rates go up by as much, thresholds down (given as one over them)."""
    training = PRESETS[name].training
    ours = training[setting] if setting == "learning_rate" else 1 / training[setting]
    assert ours == pytest.approx(summed * training["bptt"], rel=1e-2)


def test_settings_are_spelled_as_options() -> None:
    """As a user would type them."""
    assert TrainingConfig.spelled("cautious", False) == "--no-cautious"
    assert ModelConfig.spelled("tie", True) == "--tie"
    assert TrainingConfig.spelled("learning_rate", 0.002) == "--lr 0.002"
    assert TrainingConfig.spelled("optimizer", "sgd") == "--optimizer sgd"


def test_a_preset_trains_resumes_and_refuses_another(text_file: Callable[..., Path], command: Command) -> None:
    """Through the command line; --dry-run says what it is and writes nothing; without --preset it is another run."""
    text = str(text_file(2500))

    def run(*more: str) -> tuple[int, str]:
        sizes = "--hidden 5 --batch 4 --bptt 10 --threads 1 --sample-every 0 --out run".split()
        done = command("train", text, *sizes, *more)
        return done.status, " ".join(done.err.split())

    status, said = run("--preset", "awd", "--steps", "3", "--dry-run")
    assert status == 0
    assert "--weight-drop 0.5" in said
    assert "departs from the paper" in said
    assert not Path("run").exists()
    assert run("--preset", "awd", "--steps", "3")[0] == 0
    status, said = run("--preset", "awd", "--steps", "5")
    assert (status, "exact resume at step 3" in said) == (0, True)
    status, said = run("--steps", "6")
    assert status == 2
    assert "--weight-drop 0.5 -> not given" in said
