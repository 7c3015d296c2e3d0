"""Defaults by corpus, device and budget: what a run uses for each setting the user left open.

Pure functions of a few numbers, so that the same command on the same machine always chooses the same. The choices come
from measurements (`corpora/EXPERIMENTS.md`). Knows sizes, budgets and nominal speeds. Refuses to know how training
works.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from charrnn.cells.registry import is_plain_in_training, keeps_all, make_cell
from charrnn.config import Budget, ModelConfig, TrainingConfig
from charrnn.wiring import input_sizes

DEFAULT_BUDGET = Budget(minutes=10)
_MOST_WIDTH = 1024
_STEP = 64
# What the experiments ran on: two threads in bf16 at their nominal speed, for three minutes.
REFERENCE_SPEED = 2 * 95e9
_WORK = REFERENCE_SPEED * 180
_WIDTH = 512
# As many weights as a text has characters, about: 704 units learned a million of them by heart in ten minutes.
_MOST_FOR_TEXT = 0.55
# Read no more often than this, a text takes no dropout.
_FRESH_EPOCHS = 1.1975
# On a GPU. Estimates, not measurements: 5 us is what a step of a layer, forward and back, took a persistent kernel on
# an H100 (NVIDIA's own figure for 768 units and 16 lanes), and what is around it takes some.
_LAYER_STEP = 6e-6
# A cell that no kernel knows: measured on a CPU (README), estimated from the number of launches on a GPU.
_LOOPED = 0.5
_LOOPED_STEP = 1.5e-4
# A step of a urnn has hardly a product, and takes about as long as one of so many numbers, however wide it is (README).
# Orthogonal matrices are made by so many products with themselves, once for the characters of a step.
_UNITARY = 330_000
_SQUARES = 6
_CHARACTERS = 16 * 64
_GPU_STEP = 128
_MOST_LAYERS = 3
_LAYER_WEIGHTS = 2 * 4 * _MOST_WIDTH**2
_LADDER = ((16, 64), (32, 64), (32, 128), (64, 128), (128, 128))
_UPDATES = 20_000
EPOCHS_ON_GPU = 6.0
_MOST_READ = 40.0  # epochs after which a run has learned what it will, however long it lasts


@dataclass(frozen=True, slots=True)
class Recipe:
    """A full set of choices."""

    model: ModelConfig
    training: TrainingConfig


def choose(
    characters: int, budget: Budget, device: str, speed: float, asked: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """The defaults for a training part of `characters` characters on `device` ("cpu", "cuda" or "mps").

    `speed` is what a whole run keeps of the device's, in operations a second; `asked` are fields of the model that
    the user has chosen, for the others to go with.
    """
    if device == "cuda":
        return _choose_for_gpu(characters, budget, speed, asked)
    minutes = budget.minutes if budget.minutes is not None else DEFAULT_BUDGET.minutes
    assert minutes is not None
    work = speed * minutes * 60
    width = _width(work, characters)
    model = replace(ModelConfig(hidden_size=width), **completed(asked, width))
    epochs = expected_characters(model, 64, speed, minutes * 60) / max(characters, 1)
    if budget.epochs is not None:
        epochs = budget.epochs
    if _wants_dropout(asked):
        model = replace(model, dropout=_dropout(epochs))
    return Recipe(model, _for_its_state(model, TrainingConfig()))


def _choose_for_gpu(characters: int, budget: Budget, speed: float, asked: Mapping[str, Any]) -> Recipe:
    """As on a CPU, in the sizes that cuDNN's persistent kernel takes (`kernels.py`).

    A layer is as wide as the text can teach; what the widest cannot hold goes into more layers. As many lanes and as
    long windows as leave enough updates in the budget.
    """
    layers = min(_MOST_LAYERS, max(1, round(characters / _LAYER_WEIGHTS)))
    width = int(_MOST_FOR_TEXT * math.sqrt(characters)) // _GPU_STEP * _GPU_STEP
    width = max(_GPU_STEP, min(_MOST_WIDTH, width))
    model = replace(
        ModelConfig(num_layers=layers, hidden_size=width, embedding_size=_GPU_STEP), **completed(asked, width)
    )

    def read(lanes: int) -> float:
        """Characters in the budget, about; one in steps reads what ten minutes would."""
        if budget.epochs is not None:
            return budget.epochs * characters
        minutes = budget.minutes if budget.minutes is not None else DEFAULT_BUDGET.minutes
        assert minutes is not None
        return expected_characters(model, 64, speed, 60 * minutes, lanes=lanes)

    useful = _MOST_READ * characters
    fitting = [rung for rung in _LADDER if min(read(rung[0]), useful) >= _UPDATES * math.prod(rung)]
    lanes, window = max(fitting, default=_LADDER[0], key=math.prod)
    if _wants_dropout(asked):
        model = replace(model, dropout=_dropout(read(lanes) / max(characters, 1)))
    return Recipe(model, _for_its_state(model, TrainingConfig(batch_size=lanes, bptt=window)))


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


def default_budget(characters: int, device: str, speed: float) -> Budget:
    """Ten minutes; on a GPU that would read the text again and again in them, as often as it helps."""
    if device == "cuda":
        often = Budget(epochs=EPOCHS_ON_GPU)
        recipe = choose(characters, often, device, speed)
        lanes = recipe.training.batch_size
        assert DEFAULT_BUDGET.minutes is not None
        ten_minutes = expected_characters(recipe.model, 64, speed, 60 * DEFAULT_BUDGET.minutes, lanes=lanes)
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


def operations(model: ModelConfig, vocabulary_size: int) -> float:
    """Multiplications and additions to train on one character: three times those of its prediction.

    The first layer's input is looked up, not multiplied.
    """
    H, cell = model.hidden_size, make_cell(model)
    *layers, decoder = input_sizes(model)
    shapes = [cell.shapes(size, H) for size in layers]
    products = sum(math.prod(shape) for layer in shapes for shape in layer.values() if len(shape) == 2)
    looked_up = math.prod(shapes[0]["weight_ih"])
    if model.cell == "urnn":
        products += _UNITARY * model.num_layers
    if model.orthogonal:
        products += sum(layer["skew_hh"][0] * H for layer in shapes) * _SQUARES * H // _CHARACTERS
    return 3.0 * 2.0 * (products - looked_up + decoder * vocabulary_size)


def expected_characters(
    model: ModelConfig, vocabulary_size: int, speed: float, seconds: float, *, lanes: int | None = None
) -> float:
    """Characters that a run of `seconds` trains on, about, at `speed` operations a second, all its pauses included.

    With `lanes`, on a GPU: there the layers' steps follow each other at a pace that more lanes do not slow, until
    the arithmetic does.
    """
    is_plain = is_plain_in_training(model)
    characters = seconds * speed * (1.0 if is_plain else _LOOPED) / operations(model, vocabulary_size)
    layer_step = _LAYER_STEP if is_plain else _LOOPED_STEP
    return characters if lanes is None else min(characters, seconds * lanes / (model.num_layers * layer_step))


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
