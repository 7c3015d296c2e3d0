"""What a run is about to do, in words: what was chosen, what is to be expected, how to change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch

from charrnn.cells.names import enumerated
from charrnn.cells.parameters import is_trained, parameter_shapes
from charrnn.cells.registry import describe as describe_cell
from charrnn.cells.registry import has_kernel, is_plain_in_training, make_cell, plain_cells
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.runs import is_finished
from charrnn.cli.uncompiled import missed_in_training
from charrnn.native.window import find_library
from charrnn.network.cudnn import IMAGINED, explain
from charrnn.network.device import describe_gpu, describe_machine, measured_speed
from charrnn.network.precision import choose_precision
from charrnn.network.speed import Machine, expected_characters
from charrnn.network.threads import count_threads, is_compiled, is_looped
from charrnn.settings.config import Budget, ModelConfig, TrainingConfig
from charrnn.settings.fields import variants
from charrnn.text.corpus import Corpus, Parts
from charrnn.text.held_out import described
from charrnn.training.contention import Contention
from charrnn.training.course import Course, share_of
from charrnn.training.distributed import World
from charrnn.training.estimates import training_memory
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.parts import parts_of
from charrnn.training.plan import Plan
from charrnn.training.recipe import EPOCHS_ON_GPU, machine_for
from charrnn.training.watch import Forecast, Watch
from charrnn.wording import an, count, epochs, figure, rounded

# What a whole run, with its updates, validations and samples, keeps of the speed of a large matrix product.
_KEPT = {"bf16": 0.42, "fp32": 0.6}

_OFTEN = 0.1
_MANY = 1000
"""Different characters from which on bytes are worth a thought."""
_TOO_OFTEN = 4 * EPOCHS_ON_GPU


def describe(
    plan: Plan,
    corpus: Corpus,
    run: Run,
    device: torch.device,
    resume: Checkpoint | None,
    world: World,
    forecast: Forecast | None,
) -> Iterator[str]:
    """Yields what is trained on what, for how long, and where it goes; what to expect; and how to change it."""
    model, training, vocabulary = plan.model, plan.training, len(corpus.vocabulary)
    weights = sum(prod(shape) for name, shape in parameter_shapes(model, vocabulary).items() if is_trained(name))
    said = f" {named}" if (named := variants(model)) else ""
    yield (
        f"the model is {an(describe_cell(model))} of {count(model.num_layers, 'layer')} with "
        f"{count(model.hidden_size, 'unit')}{' each' if model.num_layers > 1 else ''}{said} "
        f"({count(weights, 'parameter')})"
    )
    made_of = f"{count(corpus.documents, 'document')} of " if corpus.documents else ""
    yield f"the text is {corpus.name} ({made_of}{count(len(corpus), 'character')}, {vocabulary:,} different)"
    yield from _many_characters(corpus, parameter_shapes(model, vocabulary), weights)
    if resume is not None and _is_done(plan, resume):
        yield f"the run of {plan.budget} in {run.folder} is finished: nothing is left to train"
    else:
        yield f"the run trains for {plan.budget} on {device.type} and is kept in {run.folder}"
    if resume is not None:
        return
    yield from _members(plan)
    yield from _held_out(parts_of(plan, corpus), corpus)
    precision = choose_precision(training.precision, device)
    size = max(1, parts_of(plan, corpus).size)
    read = ""
    if forecast is not None:
        read = f"read about {rounded(forecast.characters)} characters ({epochs(forecast.characters / size)}), and to "
    parts = world.size * plan.run.accumulate
    kept = find_optimizer(training.optimizer).kept
    memory = training_memory(
        model, training, vocabulary, kept=kept, precision=precision, parts=parts,
        is_taught=plan.teacher is not None, is_looped=is_looped(device, model),
    )  # fmt: skip
    used = count_threads(is_compiled=is_compiled(device, is_plain=is_plain_in_training(model)))
    threads = f" with {count(used, 'thread')}" if device.type == "cpu" else ""
    yield f"it is expected to {read}need {_size(memory)} of memory, in {precision}{threads}"
    window = f"{'about ' if training.random_bptt else ''}{count(training.bptt, 'character')}{_pieces(plan, world)}"
    frozen = "" if training.freeze == "none" else f", --freeze {training.freeze}"
    yield (
        f"a step reads {count(training.batch_size, 'lane')} x {window}; dropout {model.dropout:g}, "
        f"weight decay {training.weight_decay:g}, {training.optimizer}, learning rate "
        f"{figure(training.learning_rate, 6)} ({_schedule(training)}){frozen}"
    )
    yield "to change that, use --hidden, --layers, --dropout, --lr, --batch, --bptt and others"
    yield "bpc is bits per character: the fewer, the better (charrnn help units-and-bits)"
    yield from _off_the_fast_path(plan, device)
    if make_cell(model).keeps_all and training.state_reset < _OFTEN:
        yield (
            f"nothing bounds the state of this cell, {describe_cell(model)}, and it is carried on from window to "
            "window: --state-reset 1 begins each from zero"
        )
    if forecast is not None and device.type == "cuda" and forecast.characters > _TOO_OFTEN * size:
        yield (
            f"the run reads the same text over and over: --epochs {EPOCHS_ON_GPU:g} is done sooner, and often ends "
            "lower"
        )
    if device.type == "cuda":
        gpu = describe_gpu(device)
        if gpu is IMAGINED:
            yield f"torch sees no NVIDIA GPU here: what follows holds for {gpu.name}"
        if has_kernel(model):
            yield from explain(model, training.batch_size, precision, gpu, parts=parts)


def _held_out(parts: Parts, corpus: Corpus) -> Iterator[str]:
    """Says what is held out of a text that is not made of documents, and how to hold out its end, where that is not
    held out."""
    if parts.held_out is None:
        return
    ends = len(corpus) - corpus.separate_validation
    for name in ("validation", "test"):
        ranges = getattr(parts.held_out, name)
        if not ranges:
            continue
        size = count(sum(stop - start for start, stop in ranges), "character")
        if len(ranges) == 1 and parts.held_out.is_end(ends):
            yield f"held out for {name}: {size} at the end"
        else:
            made_of = described(ranges, corpus.files or (ends,))
            yield f"held out for {name}: {size}, {made_of}, spread over the text (--held-out end takes its end)"


def _is_done(plan: Plan, resume: Checkpoint) -> bool:
    """Whether a run that is there is finished under its plan; one of several members is not with others of them, nor in
    another budget."""
    had = resume.training["training"]["ensemble"], Budget.from_dict(resume.training["budget"])
    if plan.training.ensemble > 1 and (plan.training.ensemble, plan.budget) != had:
        return False
    now = {"budget": plan.budget.to_dict(), "run": plan.run.to_dict()}
    return is_finished(resume.progress, {**resume.training, **now})


def _members(plan: Plan) -> Iterator[str]:
    """Says how several models share the budget, and why there are several where the user has not asked for them."""
    members, distill = plan.training.ensemble, plan.training.distill
    if members == 1:
        return
    share = share_of(plan.budget, Course(), members, distill)
    each = f"{members} members are trained one after the other, each for about {figure(share.amount, 3)} {share.unit}"
    if distill:
        yield f"{each} of that; in the last {distill:.0%} of it a student learns from their average"
    else:
        yield f"{each} of that, and averaged: reading and writing take as many times as long as with one"
    if "ensemble" not in plan.requested["training"]:
        yield (
            "one model would read this text so often that it learns it by heart, and several that read it less often "
            "are better together: --ensemble 1 trains one all the same"
        )


def _schedule(training: TrainingConfig) -> str:
    """Says how the learning rate falls, and whether a mean of the weights is kept."""
    falls = "constant" if training.decay == "constant" else f"{training.decay} decay"
    if training.average_from is None:
        return falls
    return f"{falls}, and the mean of the weights after {training.average_from:.0%} of a model's time is kept"


def _many_characters(corpus: Corpus, shapes: Mapping[str, tuple[int, ...]], weights: int) -> Iterator[str]:
    """Says what bytes would bring where there are many different characters."""
    vocabulary = corpus.vocabulary
    if vocabulary.kind == "bytes" or len(vocabulary) < _MANY:
        return
    rows = sum(prod(shape) for name, shape in shapes.items() if name.startswith(("embedding", "decoder")))
    length = corpus.num_bytes / max(1, len(corpus))
    yield (
        f"{rows / weights:.0%} of the parameters are there for its {len(vocabulary):,} different characters: "
        f"--bytes has 256 instead, and reads {length:.1f} bytes in the place of a character"
    )


def expect(plan: Plan, corpus: Corpus, device: torch.device, world: World) -> Forecast | None:
    """Returns how much the run is expected to read; None where nothing is known of the device's speed.

    On a CPU this measures the speed of matrix products for a few hundredths of a second.
    """
    model, training, vocabulary = plan.model, plan.training, len(corpus.vocabulary)
    size = max(1, parts_of(plan, corpus).size)
    if plan.budget.minutes is None:
        steps = plan.budget.steps
        characters = plan.budget.amount * size if steps is None else steps * training.batch_size * training.bptt
        return Forecast(characters, size, plan.budget)
    precision = choose_precision(training.precision, device)
    if device.type == "cpu":
        kept = _KEPT[precision] * measured_speed(precision) * world.size
        machine = machine_for(training.optimizer, Machine(kept, has_compiled=find_library() is not None))
        return Forecast(expected_characters(model, vocabulary, machine, plan.budget.minutes * 60), size, plan.budget)
    if device.type != "cuda":
        return None
    machine = machine_for(training.optimizer, describe_machine(device, precision, processes=world.size))
    lanes = {"lanes": training.batch_size, "accumulate": plan.run.accumulate}
    return Forecast(
        expected_characters(model, vocabulary, machine, plan.budget.minutes * 60, **lanes), size, plan.budget
    )


def watch_over(forecast: Forecast | None, model: ModelConfig, device: torch.device, world: World) -> Watch:
    """Returns what corrects the forecast of a run with a budget in minutes, and looks at the cores it computes on."""
    if forecast is not None and forecast.budget.minutes is None:
        forecast = None
    is_alone_on_cpu = device.type == "cpu" and world.is_alone  # several processes are programs to each other
    bends = is_compiled(device, is_plain=is_plain_in_training(model))
    threads = count_threads(is_compiled=bends)
    return Watch(forecast, Contention(threads) if is_alone_on_cpu else None, bends=bends)


def _off_the_fast_path(plan: Plan, device: torch.device) -> Iterator[str]:
    """Says so where a layer is not what compiled code or cuDNN knows, or not all it does."""
    model = plan.model
    if plan.training.random_bptt and device.type == "cuda":
        yield "steps over windows of random length are not recorded as one CUDA graph, which is slower"
    if model.orthogonal:
        yield (
            "orthogonal matrices are computed again for every window, in a time that does not depend on its size: "
            "a larger --batch or --bptt makes their share smaller"
        )
    if device.type == "cpu" and is_plain_in_training(model):
        if (missed := missed_in_training(has_kernel=has_kernel(model))) is not None:
            yield missed
        elif is_looped(device, model):
            yield f"{describe_cell(model)} is run step by step without compiled code, at half the speed or less"
        return
    which = describe_cell(model)
    if has_kernel(model):
        if device.type == "cpu":
            yield f"{which} is off the fast path: torch's own kernel is slower than charrnn's compiled recurrence"
        return
    on_gpu = device.type == "cuda"
    known = enumerated([cell.name for cell in plain_cells() if (cell.kernel if on_gpu else cell.compiled)], "and")
    fast = "cuDNN's kernels know" if on_gpu else "the compiled recurrence knows"
    yield (
        f"{which} is off the fast path and is run step by step"
        + ("" if on_gpu else ", at about half the speed or less")
        + f": {fast} plain {known} layers only"
    )


def _pieces(plan: Plan, world: World) -> str:
    """Says how a step is split among processes and into parts."""
    processes = "" if world.is_alone else f" by {world.size} processes"
    return processes + (f" in {plan.run.accumulate} parts" if plan.run.accumulate > 1 else "")


def _size(number: float) -> str:
    """Returns a number of bytes in the unit that reads best.

    >>> _size(56_000_000), _size(2_700_000), _size(1.25e9), _size(5000)
    ('56 MB', '2.7 MB', '1.3 GB', '5 kB')
    """
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{figure(number / size)} {unit}"
    return f"{figure(number / 1e3)} kB"
