"""What a run is about to do, in words: what was chosen, what is to be expected, how to change it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch

from charrnn.cells.names import enumerated
from charrnn.cells.parameters import is_trained, parameter_shapes
from charrnn.cells.registry import describe as describe_cell
from charrnn.cells.registry import has_kernel, is_plain_in_training, make_cell, plain_cells
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.cli.uncompiled import missed_in_training
from charrnn.network.cudnn import IMAGINED, explain
from charrnn.network.device import describe_gpu, describe_machine, measured_speed
from charrnn.network.precision import choose_precision
from charrnn.network.speed import Machine, expected_characters
from charrnn.settings.fields import variants
from charrnn.text.corpus import Corpus
from charrnn.training.distributed import World
from charrnn.training.estimates import training_memory
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.plan import Plan
from charrnn.training.recipe import EPOCHS_ON_GPU

# What a whole run, with its updates, validations and samples, keeps of the speed of a large matrix product.
_KEPT = {"bf16": 0.42, "fp32": 0.6}

_OFTEN = 0.1
_TOO_OFTEN = 4 * EPOCHS_ON_GPU


def describe(
    plan: Plan, corpus: Corpus, run: Run, device: torch.device, resume: Checkpoint | None, world: World
) -> Iterator[str]:
    """Yields what is trained on what, for how long, and where it goes; what to expect; and how to change it."""
    model, training, vocabulary = plan.model, plan.training, len(corpus.vocabulary)
    count = sum(prod(shape) for name, shape in parameter_shapes(model, vocabulary).items() if is_trained(name))
    precision = choose_precision(training.precision, device)
    said = f" {named}" if (named := variants(model)) else ""
    window = f"{'about ' if training.random_bptt else ''}{training.bptt}{_pieces(plan, world)}"
    yield (
        f"{describe_cell(model)} {model.num_layers} x {model.hidden_size}{said} ({count:,} parameters) "
        f"on {corpus.name} ({len(corpus):,} characters, {vocabulary} different), {training.batch_size} lanes x "
        f"{window}, {plan.budget} on {device.type} -> {run.folder}"
    )
    if resume is not None:
        return
    size = max(1, len(corpus.split(plan.data).train))
    characters = None
    if plan.budget.minutes is None:
        steps = plan.budget.steps
        characters = plan.budget.amount * size if steps is None else steps * training.batch_size * training.bptt
    elif device.type == "cpu":
        machine = Machine(_KEPT[precision] * measured_speed(precision) * world.size)
        characters = expected_characters(model, vocabulary, machine, plan.budget.minutes * 60)
    elif device.type == "cuda":
        machine = describe_machine(device, precision, processes=world.size)
        lanes = {"lanes": training.batch_size, "accumulate": plan.run.accumulate}
        characters = expected_characters(model, vocabulary, machine, plan.budget.minutes * 60, **lanes)
    expected = ""
    if characters is not None:
        expected = f"about {_rounded(characters)} characters ({float(f'{characters / size:.2g}'):g} epochs), "
    parts = world.size * plan.run.accumulate
    kept = find_optimizer(training.optimizer).kept
    memory = training_memory(model, training, vocabulary, kept=kept, precision=precision, parts=parts)
    frozen = "" if training.freeze == "none" else f", --freeze {training.freeze}"
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    yield (
        f"{expected}{_rounded(memory)} bytes for the model in training, "
        f"{precision}{threads}; dropout {model.dropout:g}, {training.optimizer}, learning rate "
        f"{training.learning_rate:g} ({training.decay} decay){frozen}; "
        "change it with --hidden, --layers, --dropout, --lr, ..."
    )
    yield from _off_the_fast_path(plan, device)
    if make_cell(model).keeps_all and training.state_reset < _OFTEN:
        yield (
            f"nothing bounds the state of this cell, {describe_cell(model)}, and it is carried on from window to "
            "window: --state-reset 1 begins each from zero"
        )
    if characters is not None and device.type == "cuda" and characters > _TOO_OFTEN * size:
        yield f"that is the same text over and over: --epochs {EPOCHS_ON_GPU:g} is done sooner, and often ends lower"
    if device.type == "cuda":
        gpu = describe_gpu(device)
        if gpu is IMAGINED:
            yield f"torch sees no NVIDIA GPU here: what follows holds for {gpu.name}"
        if has_kernel(model):
            yield from explain(model, training.batch_size, precision, gpu, parts=parts)


def _off_the_fast_path(plan: Plan, device: torch.device) -> Iterator[str]:
    """Says so where a layer is not what compiled code or cuDNN knows, or not all it does."""
    model = plan.model
    if plan.training.random_bptt and device.type == "cuda":
        yield "off the fast path: steps over windows of random length are not recorded as one CUDA graph"
    if model.orthogonal:
        yield (
            "orthogonal matrices are made anew for every window, in time that does not depend on its lanes and "
            "characters: their share is smaller with a larger --batch or --bptt"
        )
    if is_plain_in_training(model):
        if device.type == "cpu" and (missed := missed_in_training()) is not None:
            yield missed
        return
    which = describe_cell(model)
    if has_kernel(model):
        if device.type == "cpu":
            yield f"off the fast path: {which} runs in torch's own kernel, slower than charrnn's compiled recurrence"
        return
    known = enumerated([cell.name for cell in plain_cells() if cell.compiled], "and")
    fast = "cuDNN's kernels know" if device.type == "cuda" else "the compiled recurrence knows"
    yield (
        f"off the fast path: {fast} plain {known} layers only; {which} is run step by step"
        + ("" if device.type == "cuda" else ", at about half the speed or less")
    )


def _pieces(plan: Plan, world: World) -> str:
    """Says how a step is split among processes and into parts."""
    processes = "" if world.is_alone else f" by {world.size} processes"
    return processes + (f" in {plan.run.accumulate} parts" if plan.run.accumulate > 1 else "")


def _rounded(number: float) -> str:
    """Returns a number in words that can be read at a glance, such as `1.2 million`.

    >>> _rounded(1234567), _rounded(99.7e6), _rounded(31000), _rounded(800)
    ('1.2 million', '100 million', '31,000', '800')
    """
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.2g} {name}" if number < 99.5 * size else f"{number / size:,.0f} {name}"
    return f"{float(f'{number:.2g}'):,.0f}"
