"""Defaults by corpus, device and budget: what a run uses for each setting the user left open.

Pure functions of a few numbers, so that the same command on the same machine always chooses the same. The choices come
from measurements (`corpora/EXPERIMENTS.md`). Knows sizes, budgets and expected speeds (`network/speed.py`). Refuses to
know how training works.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import keeps_all
from charrnn.network.speed import REFERENCE, Machine, expected_characters
from charrnn.settings.choices import AVERAGING
from charrnn.settings.config import Budget, ModelConfig, TrainingConfig

DEFAULT_BUDGET = Budget(minutes=10)
_VOCABULARY = 64
_MOST_WIDTH = 1024
_STEP = 64
# The experiments took three minutes.
_WORK = REFERENCE.speed * 180
_WIDTH = 512
# As many weights as a text has characters, about: 704 units learned a million of them by heart in ten minutes.
_MOST_FOR_TEXT = 0.55
# Read no more often than this, a text takes no dropout.
_FRESH_EPOCHS = 1.1975
# On a GPU.
_GPU_STEP = 128
_MOST_LAYERS = 3
_LAYER_WEIGHTS = 2 * 4 * _MOST_WIDTH**2
_LADDER = ((16, 64), (32, 64), (32, 128), (64, 128), (128, 128))
_UPDATES = 20_000
EPOCHS_ON_GPU = 6.0
# The widths that three minutes on a CPU were measured with read five characters for each weight.
_FEWEST_FOR_WEIGHT = 4.0
_MOST_READ = 40.0  # epochs after which a run has learned what it will, however long it lasts


@dataclass(frozen=True, slots=True)
class Recipe:
    """A full set of choices."""

    model: ModelConfig
    training: TrainingConfig


def choose(
    characters: int, budget: Budget, machine: Machine, asked: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """The defaults for a training part of `characters` characters on `machine`.

    `asked` are fields of the model that the user has chosen, for the others to go with.
    """
    if machine.gpu is not None:
        return _choose_for_gpu(characters, budget, machine, asked)
    seconds = _seconds(budget)
    width = _width(machine.speed * seconds, characters)
    model = replace(ModelConfig(hidden_size=width), **completed(asked, width))
    epochs = expected_characters(model, _VOCABULARY, machine, seconds) / max(characters, 1)
    if budget.epochs is not None:
        epochs = budget.epochs
    if _wants_dropout(asked):
        model = replace(model, dropout=_dropout(epochs))
    return Recipe(model, _for_its_state(model, TrainingConfig()))


def _seconds(budget: Budget) -> float:
    """What a budget lasts; one in steps or epochs is taken for the default one."""
    minutes = budget.minutes if budget.minutes is not None else DEFAULT_BUDGET.minutes
    assert minutes is not None
    return 60 * minutes


def _choose_for_gpu(characters: int, budget: Budget, machine: Machine, asked: Mapping[str, Any]) -> Recipe:
    """As on a CPU, in sizes that suit each of cuDNN's kernels (`network/cudnn.py`).

    They are what the persistent one takes, where the GPU has it; narrow ones are what the small one takes, and the
    standard one multiplies in tiles that they fill. As many lanes and as long windows as leave enough updates in the
    budget.
    """
    model = _size_for_gpu(characters, budget, machine, asked)

    def read(lanes: int) -> float:
        """Characters in the budget, about."""
        if budget.epochs is not None:
            return budget.epochs * characters
        return expected_characters(model, _VOCABULARY, machine, _seconds(budget), lanes=lanes)

    useful = _MOST_READ * characters
    fitting = [rung for rung in _LADDER if min(read(rung[0]), useful) >= _UPDATES * math.prod(rung)]
    lanes, window = max(fitting, default=_LADDER[0], key=math.prod)
    if _wants_dropout(asked):
        model = replace(model, dropout=_dropout(read(lanes) / max(characters, 1)))
    return Recipe(model, _for_its_state(model, TrainingConfig(batch_size=lanes, bptt=window)))


def _size_for_gpu(characters: int, budget: Budget, machine: Machine, asked: Mapping[str, Any]) -> ModelConfig:
    """A layer as wide as the text can teach; what the widest cannot hold goes into more layers.

    Where time is the budget, the largest one up to that size for whose weights the time is enough.
    """
    most_layers = min(_MOST_LAYERS, max(1, round(characters / _LAYER_WEIGHTS)))
    widest = int(_MOST_FOR_TEXT * math.sqrt(characters)) // _GPU_STEP * _GPU_STEP
    widest = max(_GPU_STEP, min(_MOST_WIDTH, widest))
    most_lanes = _LADDER[-1][0]

    def sized(layers: int, width: int) -> ModelConfig:
        own = ModelConfig(num_layers=layers, hidden_size=width, embedding_size=_GPU_STEP)
        return replace(own, **completed(asked, width))

    def weights(model: ModelConfig) -> int:
        return sum(math.prod(shape) for shape in parameter_shapes(model, _VOCABULARY).values())

    if budget.epochs is not None:
        return sized(most_layers, widest)
    models = [
        sized(layers, width)
        for layers in range(1, most_layers + 1)
        for width in range(_GPU_STEP, widest + 1, _GPU_STEP)
    ]
    taught = [
        model
        for model in models
        if expected_characters(model, _VOCABULARY, machine, _seconds(budget), lanes=most_lanes)
        >= _FEWEST_FOR_WEIGHT * weights(model)
    ]
    return max(taught, default=models[0], key=weights)


def _for_its_state(model: ModelConfig, training: TrainingConfig) -> TrainingConfig:
    """What only grows while it is carried on begins every window from zero, as in the papers."""
    return replace(training, state_reset=1.0) if keeps_all(model) else training


def completed(asked: Mapping[str, Any], hidden_size: int = ModelConfig().hidden_size) -> dict[str, Any]:
    """What was asked of the model, and what follows from it: a tied embedding is as wide as the layers.

    These have `hidden_size` units where nobody says.
    """
    known = dict(asked)
    if known.get("tie"):
        known.setdefault("hidden_size", known.get("embedding_size", hidden_size))
        known.setdefault("embedding_size", known["hidden_size"])
    return known


def completed_training(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked of training, and what follows from it: some optimizers want no falling rate and no averages."""
    known = dict(asked)
    if known.get("optimizer") in AVERAGING:
        known = {"decay": "constant", "average": 0.0, **known}
    return known


def default_budget(characters: int, machine: Machine, asked: Mapping[str, Any] = MappingProxyType({})) -> Budget:
    """Ten minutes; on a GPU that would read the text again and again in them, as often as it helps.

    `asked` are fields of the model that the user has chosen: some are slower than what would be chosen.
    """
    if machine.gpu is not None:
        often = Budget(epochs=EPOCHS_ON_GPU)
        recipe = choose(characters, often, machine, asked)
        lanes = recipe.training.batch_size
        ten_minutes = expected_characters(recipe.model, _VOCABULARY, machine, _seconds(DEFAULT_BUDGET), lanes=lanes)
        if ten_minutes > EPOCHS_ON_GPU * characters:
            return often
    return DEFAULT_BUDGET


def _width(work: float, characters: int) -> int:
    """Units of the layer: weights go with the square root of the work, up to as many as a small text can teach."""
    width = min(_WIDTH * (work / _WORK) ** 0.25, _MOST_FOR_TEXT * math.sqrt(characters))
    steps: int = round(width / _STEP)
    return max(_STEP, min(_MOST_WIDTH, steps * _STEP))


def _dropout(epochs: float) -> float:
    """None while nearly every character is new; more, the more often it is seen again."""
    return round(min(0.6, max(0.0, 0.17 * math.log2(max(epochs, 1.0) / _FRESH_EPOCHS))), 2)


def _wants_dropout(asked: Mapping[str, Any]) -> bool:
    """Whether its rate is for us to choose: neither given nor in the place of another kind."""
    others = ("variational_dropout", "input_dropout", "output_dropout")
    return "dropout" not in asked and not any(asked.get(name) for name in others)


def validation_share(characters: int) -> float:
    """The share of a corpus that is held out: a tenth, but no more than 250,000 characters.

    More would hardly make the figure surer (its standard error is near 0.003 nats by then) and would take long to
    score, again and again, on a CPU.
    """
    return min(0.1, 250_000 / max(characters, 1))


def fit_to_corpus(training: TrainingConfig, characters: int) -> TrainingConfig:
    """`training` with window and lanes shrunk until a step reads no character twice.

    A text of 200 characters still trains: the window shrinks to an eighth of it, then the lanes to what is left.
    """
    bptt = min(training.bptt, max(1, characters // 8))
    batch_size = min(training.batch_size, max(1, characters // bptt))
    return replace(training, bptt=bptt, batch_size=batch_size)
