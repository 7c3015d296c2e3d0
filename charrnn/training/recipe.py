"""Defaults by corpus, device and budget: what a run uses for each setting the user left open.

Pure functions of a few numbers, so that the same command on the same machine always chooses the same. The choices come
from measurements (`guide/experiments.md`) and from the expected speeds of `network/speed.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.network.speed import REFERENCE, Machine, expected_characters
from charrnn.settings.choices import AVERAGING, SEARCHING
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.text.held_out import usual

DEFAULT_BUDGET = Budget(minutes=10)
_VOCABULARY = 64
_MOST_WIDTH = 1024
_STEP = 64
# What a step reads on a CPU, where the user does not say.
_A_STEP = TrainingConfig().batch_size * TrainingConfig().bptt
# The experiments took three minutes.
_WORK = REFERENCE.speed * 180
_WIDTH = 512
# A text read often is learned by more units than it has characters for, where weights decay and outputs are dropped.
_MOST_FOR_TEXT = 0.95
# On a GPU, whose models have more layers: not measured.
_MOST_FOR_TEXT_ON_GPU = 0.55
_FRESH_EPOCHS = 1.1975  # read no more often, a text takes no dropout
_GPU_STEP = 128  # on a GPU
_MOST_LAYERS = 3
_LAYER_WEIGHTS = 2 * 4 * _MOST_WIDTH**2
_LADDER = ((16, 64), (32, 64), (32, 128), (64, 128), (128, 128))
_UPDATES = 20_000
EPOCHS_ON_GPU = 6.0
# The widths that three minutes on a CPU were measured with read five characters for each weight.
_FEWEST_FOR_WEIGHT = 4.0
# Of the dropout of new weights.
_FINE_TUNING = 0.5
# Of what a machine reads with another optimizer, one that searches for its steps reads about this much.
_SEARCHES = 1 / 40
# Of an optimizer that searches for its steps: windows that stand for the text, and nothing that bounds or bends a step.
_SEARCHED = {
    "batch_size": 128, "bptt": 200, "learning_rate": 1.0, "clip_norm": 0.0, "warmup": 0, "decay": "constant",
    "average": 0.0, "weight_decay": 0.0, "precision": "fp32",
}  # fmt: skip
_MOST_READ = 40.0  # epochs after which a run has learned what it will, however long it lasts
# Passes over the text from which on its weights decay ten times as fast, and which a member of an ensemble is given.
_OFTEN_READ = 4.0
_OFTEN_READ_DECAY = 0.1
# Passes from which on the plain mean of the weights in the last quarter of a run, at a rate that stays, is better than
# the weights that a falling rate ends with. A budget in steps is an experiment's, and has no such schedule.
_KNOWN_BY_HEART = 5.5
_MEAN_OF_WEIGHTS: Mapping[str, Any] = MappingProxyType(
    {"decay": "constant", "average_from": 0.75, "learning_rate": 0.018}
)
# One of these is asked for, and the others are what they are by themselves.
_SCHEDULE = ("decay", "final_learning_rate", "average", "average_after", "average_from")
# What a CPU reads today, beside what the nominal speed says, of a text that is read often.
_FASTER = 1.6
_MEMBER_EPOCHS = 6.0
_MOST_MEMBERS = 6
_MEMBER_DROPOUT = 0.5
_STUDENT_FROM = 3
# What a student reads, beside each member; and beside so many where means of weights keep a text from being known.
_STUDENT = 1.5
_PATIENT_MEMBERS, _PATIENT_STUDENT = 4, 5.0
_PATIENT = (_PATIENT_MEMBERS + _PATIENT_STUDENT) * _KNOWN_BY_HEART  # passes of all
STUDENT_DROPOUT = 0.1
"""What a student drops at most: its teacher keeps it from learning a text by heart."""
# Passes of each member after which more minutes would not help, and updates, which a short text brings in more passes.
_ENOUGH_EPOCHS = 8.0
_ENOUGH_UPDATES = 2000
# Fewer leave a member far from what it can learn.
_FEWEST_UPDATES = 1200


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete set of default settings, and the budget that they are for."""

    model: ModelConfig
    training: TrainingConfig
    budget: Budget


def choose(
    characters: int,
    budget: Budget | None,
    machine: Machine,
    asked: Mapping[str, Any] = MappingProxyType({}),
    *,
    members: int | None = None,
    distill: float | None = None,
) -> Recipe:
    """Chooses the defaults for a training part of `characters` characters on `machine`, and the budget if it is open.

    `asked` are fields of the model that the user has chosen, for the others to go with, and `members` is how many
    models are to share the budget, of which `distill` is the student's. Where that is open, minutes in which one would
    read the text too often are shared, unless the user has said how large a model is wanted; and where that makes many,
    a student has half as much again as each of them; of four that read the text so often that a mean of their weights
    is kept, five times as much.
    """
    if budget is None:
        budget = default_budget(characters, machine, asked, members, distill)
        if budget.epochs is not None and machine.gpu is None and members is None:
            members = _PATIENT_MEMBERS
            distill = _students_share(members, budget.epochs) if distill is None else distill
    if machine.gpu is not None:
        return _choose_for_gpu(characters, budget, machine, asked)
    seconds = _seconds(budget)
    width = _width(machine.speed * seconds, characters)
    model = replace(ModelConfig(hidden_size=width), **completed(asked, width))
    epochs = expected_characters(model, _VOCABULARY, machine, seconds) / max(characters, 1)
    if budget.epochs is not None:
        epochs = budget.epochs
    if members is None:
        members = 1 if budget.minutes is None or _is_sized(asked) else _members(epochs, characters)
        distill = _students_share(members, epochs) if distill is None else distill
    distill = distill or 0.0
    epochs *= (1.0 - distill) / members
    if _wants_dropout(asked):
        real = _FASTER * epochs if budget.minutes is not None and epochs >= _OFTEN_READ else epochs
        model = replace(model, dropout=_dropout(real) if members == 1 else _MEMBER_DROPOUT)
    decay = _OFTEN_READ_DECAY if epochs >= _OFTEN_READ else TrainingConfig().weight_decay
    schedule = _MEAN_OF_WEIGHTS if budget.steps is None and epochs >= _KNOWN_BY_HEART else {}
    training = TrainingConfig(weight_decay=decay, ensemble=members, distill=distill, **schedule)
    return Recipe(model, _for_its_state(model, training), budget)


def _students_share(members: int, epochs: float) -> float:
    """Returns the share of the budget in which a student learns from so many models, which all of it lets read the text
    `epochs` times; none from few, whose average is soon computed."""
    if members < _STUDENT_FROM:
        return 0.0
    student = _PATIENT_STUDENT if epochs >= _PATIENT else _STUDENT
    return int(100 * student / (members + student)) / 100


def _is_sized(asked: Mapping[str, Any]) -> bool:
    """Whether the user has said how large the model is to be: it is one then, and not several of that size."""
    return "hidden_size" in asked or "num_layers" in asked


def _members(epochs: float, characters: int) -> int:
    """Returns how many models share a budget in which one reads the text `epochs` times; each has enough updates."""
    most, updates = _PATIENT_MEMBERS if epochs >= _PATIENT else _MOST_MEMBERS, epochs * characters / _A_STEP
    return max(1, min(most, round(epochs / _MEMBER_EPOCHS), int(updates / _FEWEST_UPDATES)))


def _seconds(budget: Budget) -> float:
    """Returns the seconds that a budget lasts; one in steps or epochs counts as the default budget."""
    minutes = budget.minutes if budget.minutes is not None else DEFAULT_BUDGET.minutes
    assert minutes is not None
    return 60 * minutes


def _choose_for_gpu(characters: int, budget: Budget, machine: Machine, asked: Mapping[str, Any]) -> Recipe:
    """Chooses as on a CPU, in sizes that suit each of cuDNN's kernels (`network/cudnn.py`).

    The sizes suit the persistent kernel where the GPU has it; narrow sizes suit the small kernel, and all of them fill
    the tiles in which the standard kernel multiplies. Lanes and windows are as large as leaves enough updates in the
    budget.
    """
    model = _size_for_gpu(characters, budget, machine, asked)

    def read(lanes: int) -> float:
        """Returns about how many characters the budget reads."""
        if budget.epochs is not None:
            return budget.epochs * characters
        return expected_characters(model, _VOCABULARY, machine, _seconds(budget), lanes=lanes)

    useful = _MOST_READ * characters
    fitting = [rung for rung in _LADDER if min(read(rung[0]), useful) >= _UPDATES * math.prod(rung)]
    lanes, window = max(fitting, default=_LADDER[0], key=math.prod)
    if _wants_dropout(asked):
        model = replace(model, dropout=_dropout(read(lanes) / max(characters, 1)))
    return Recipe(model, _for_its_state(model, TrainingConfig(batch_size=lanes, bptt=window)), budget)


def _size_for_gpu(characters: int, budget: Budget, machine: Machine, asked: Mapping[str, Any]) -> ModelConfig:
    """Returns a model as large as the text can train; what exceeds the widest layer goes into more layers.

    Where the budget is a time, it is the largest model up to that size whose weights can be trained in that time.
    """
    most_layers = min(_MOST_LAYERS, max(1, round(characters / _LAYER_WEIGHTS)))
    widest = int(_MOST_FOR_TEXT_ON_GPU * math.sqrt(characters)) // _GPU_STEP * _GPU_STEP
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
    """Returns settings in which every window begins from zero where the state would only grow, as in the papers."""
    return replace(training, state_reset=1.0) if make_cell(model).keeps_all else training


def completed(asked: Mapping[str, Any], hidden_size: int = ModelConfig().hidden_size) -> dict[str, Any]:
    """Returns the requested model settings and those that follow from them: a tied embedding is as wide as the layers.

    The layers have `hidden_size` units where the request names no size.
    """
    known = dict(asked)
    if known.get("tie"):
        known.setdefault("hidden_size", known.get("embedding_size", hidden_size))
        known.setdefault("embedding_size", known["hidden_size"])
    return known


def for_fine_tuning(recipe: Recipe) -> Recipe:
    """Returns the recipe for weights that have learned on another text: half the dropout, at the same rate."""
    return replace(recipe, model=replace(recipe.model, dropout=round(_FINE_TUNING * recipe.model.dropout, 2)))


def with_falling_rate(recipe: Recipe) -> Recipe:
    """Returns the recipe with the schedule of a text that is read a few times, which alone was tried with weights that
    have learned already."""
    return replace(recipe, training=replace(recipe.training, **_usual_schedule()))


def for_student(recipe: Recipe) -> Recipe:
    """Returns the recipe for a model that learns another one's distributions: they keep it from learning the text by
    heart, as dropout does, of which little is left."""
    return replace(recipe, model=replace(recipe.model, dropout=min(recipe.model.dropout, STUDENT_DROPOUT)))


def completed_training(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the requested settings and those that follow: some optimizers need a constant rate and no average, or
    large windows and whole steps, and none but the default was tried with more weight decay than the usual or with the
    mean of the weights in the place of a rate that falls, which anything that is said of either sets aside."""
    known = dict(asked)
    if known.get("optimizer") in AVERAGING:
        known = {"decay": "constant", "average": 0.0, **known}
    if known.get("optimizer") in SEARCHING:
        known = {**_SEARCHED, **known}
    usual = TrainingConfig()
    if known.get("optimizer", usual.optimizer) != usual.optimizer:
        known = {"weight_decay": usual.weight_decay, **_usual_schedule(), **known}
    elif any(name in known for name in _SCHEDULE):
        known = {**_usual_schedule(), **known}
    return known


def _usual_schedule() -> dict[str, Any]:
    """Returns the schedule of a text that is not read so often."""
    return {name: getattr(TrainingConfig(), name) for name in _MEAN_OF_WEIGHTS}


def machine_for(optimizer: str | None, machine: Machine) -> Machine:
    """Returns a machine as slow as `machine` is with this optimizer, of which each step may compute a window often."""
    return replace(machine, speed=machine.speed * _SEARCHES) if optimizer in SEARCHING else machine


def default_budget(
    characters: int, machine: Machine, asked: Mapping[str, Any] = MappingProxyType({}),
    members: int | None = None, distill: float | None = None,
) -> Budget:  # fmt: skip
    """Returns a budget of ten minutes, or fewer epochs where they would read the text more often than helps.

    `asked` are fields of the model that the user has chosen. On a CPU `members` models are asked for, of which a
    student has the share `distill`, or what helps; one that the user has given a size takes its ten minutes.
    """
    if machine.gpu is not None:
        often = Budget(epochs=EPOCHS_ON_GPU)
        recipe = choose(characters, often, machine, asked)
        lanes = recipe.training.batch_size
        ten_minutes = expected_characters(recipe.model, _VOCABULARY, machine, _seconds(DEFAULT_BUDGET), lanes=lanes)
        return often if ten_minutes > EPOCHS_ON_GPU * characters else DEFAULT_BUDGET
    if members is None and not _is_sized(asked):
        members = _PATIENT_MEMBERS
        distill = _students_share(members, math.inf) if distill is None else distill
    members, a_pass = members or 1, max(characters, 1) / _A_STEP
    readers = math.ceil(members / (1.0 - (distill or 0.0)))
    enough = readers * math.ceil(max(_ENOUGH_EPOCHS, _ENOUGH_UPDATES / a_pass))
    model = choose(characters, DEFAULT_BUDGET, machine, asked, members=members).model
    ten_minutes = expected_characters(model, _VOCABULARY, machine, _seconds(DEFAULT_BUDGET))
    return Budget(epochs=enough) if members > 1 and ten_minutes > enough * characters else DEFAULT_BUDGET


def _width(work: float, characters: int) -> int:
    """Returns a layer's width: weights grow with the square root of the work, up to what a small text can train."""
    width = min(_WIDTH * (work / _WORK) ** 0.25, _MOST_FOR_TEXT * math.sqrt(characters))
    steps: int = round(width / _STEP)
    return max(_STEP, min(_MOST_WIDTH, steps * _STEP))


def _dropout(epochs: float) -> float:
    """Returns the dropout rate: 0 while nearly every character is new, and more the more often the text is read."""
    return round(min(0.6, max(0.0, 0.17 * math.log2(max(epochs, 1.0) / _FRESH_EPOCHS))), 2)


def _wants_dropout(asked: Mapping[str, Any]) -> bool:
    """Whether the dropout rate must be chosen, since the user gave neither it nor another kind of dropout."""
    others = ("variational_dropout", "input_dropout", "output_dropout")
    return "dropout" not in asked and not any(asked.get(name) for name in others)


def validation_share(characters: int) -> float:
    """Returns the share of a corpus that is held out: a tenth, but no more than 250,000 characters.

    More would hardly make the figure surer (its standard error is near 0.003 nats by then) and would take long to
    score, again and again, on a CPU.
    """
    return min(0.1, 250_000 / max(characters, 1))


def choose_data(asked: Mapping[str, Any], characters: int, files: int) -> DataConfig:
    """Returns the settings of a text of `characters` in so many files; `asked` are those that are given."""
    data = DataConfig(**{"validation_fraction": validation_share(characters), **asked})
    if data.held_out is not None or data.has_documents:
        return data
    shares = [share for share in (data.validation_fraction, data.test_fraction) if share]
    return replace(data, held_out=usual(characters, min(shares, default=0.0), files))


def fit_to_corpus(training: TrainingConfig, characters: int) -> TrainingConfig:
    """Shrinks window and lanes of `training` until a step reads no character twice.

    A text of 200 characters still trains: the window shrinks to an eighth of it, then the lanes to what is left.
    """
    bptt = min(training.bptt, max(1, characters // 8))
    batch_size = min(training.batch_size, max(1, characters // bptt))
    return replace(training, bptt=bptt, batch_size=batch_size)
