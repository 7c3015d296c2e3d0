"""Summarises a checkpoint: its configuration, parameters by part, vocabulary, corpus, and curves of its training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean as mean

from rich.console import Group, RenderableType
from rich.text import Text

from charrnn.cells.parameters import is_statistic
from charrnn.cells.registry import describe
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.curves import Curves, curves_of
from charrnn.checkpoints.lineage import told
from charrnn.checkpoints.metrics import Entry, is_number
from charrnn.display.curve import Chart, Line
from charrnn.display.safe import visible
from charrnn.display.table import Pairs
from charrnn.settings.fields import variants
from charrnn.text.traits import Traits
from charrnn.text.vocabulary import END_NAME, Vocabulary
from charrnn.wording import count

_WIDE = 50
"""How many times the smallest norm of a gradient the largest is from which on their logarithms are drawn."""


def parameters_by_part(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Returns the number of parameters of the embedding, each layer and the decoder, without running statistics; of an
    ensemble those of all members."""
    counts: dict[str, int] = {}
    for name, shape in shapes.items():
        if is_statistic(name):
            continue
        parts = name.split(".")
        parts = parts[2:] if parts[0] == "member" else parts
        part = f"layer {parts[1]}" if parts[0] == "layers" else parts[0]
        counts[part] = counts.get(part, 0) + math.prod(shape)
    return counts


def _vocabulary_line(vocabulary: Vocabulary) -> str:
    end = f", and {END_NAME}, which ends a document" if vocabulary.has_end else ""
    if vocabulary.kind == "bytes":
        return f"all 256 byte values{end}"
    characters = vocabulary.characters
    shown = "".join(visible(character, kept="") for character in characters[:80])
    more = f" and {len(characters) - 80:,} more" if len(characters) > 80 else ""
    return f"{count(len(characters), 'character')}: {shown}{more}{end}"


def _rare(traits: Traits) -> str:
    if not traits.rare:
        return ""
    rare = count(traits.rare, "rarer one")
    return f"; U+FFFD stands for {rare}, {count(traits.unknown, 'character')} of the text in all"


def _members(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.members} members, whose probabilities are averaged, each " if checkpoint.members > 1 else ""


def _bpc(nats: float | None) -> str:
    return "-" if nats is None else f"{nats / math.log(2):.4f} bpc ({nats:.4f} nats)"


def summary(path: str, checkpoint: Checkpoint, metrics: Sequence[Entry] = ()) -> Iterator[RenderableType]:
    """Yields the summary from top to bottom; `metrics` are the lines of metrics.jsonl, where the run has that file."""
    model, progress, corpus = checkpoint.model, checkpoint.progress, checkpoint.corpus
    shapes = {name: array.shape for name, array in checkpoint.parameters.items()}
    counts = parameters_by_part(shapes)
    by_part = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    rows = {
        "checkpoint": path,
        "model": f"{_members(checkpoint)}{describe(model)}, {model.num_layers} x {model.hidden_size}, "
        f"embedding {model.embedding_size}, "
        f"dropout {model.dropout:g}" + (f", {said}" if (said := variants(model)) else ""),
        "parameters": f"{sum(counts.values()):,} ({by_part})",
        "vocabulary": _vocabulary_line(checkpoint.vocabulary) + _rare(Traits.of_dict(corpus["traits"])),
        "corpus": f"{corpus['name']}: {count(corpus['characters'], 'character')} "
        f"(train {corpus['train']:,}, validation {corpus['validation']:,}, test {corpus['test']:,}), "
        f"sha256 {corpus['sha256'][:16]}",
        "trained": f"step {progress['step']:,}, epoch {progress['epoch']:.2f}, "
        f"{count(progress['characters'], 'character')}, "
        f"{progress['seconds'] / 60:.1f} minutes",
        "best": f"{_bpc(progress['best_nats'])} at step {progress['best_step']:,}",
    }
    yield Pairs({**rows, **told(checkpoint.lineage)})
    yield from _curves(curves_of(metrics, progress))
    yield from _gradients(metrics)


def _curves(curves: Curves) -> Iterator[RenderableType]:
    train, validation = ([(point.step, point.bpc) for point in each] for each in (curves.train, curves.validation))
    if len(validation) + len(train) > 1:
        yield Chart(
            [Line("train", "blue", train), Line("validation", "yellow", validation)],
            x_label="steps",
            y_label="bpc",
        )


def _gradients(metrics: Sequence[Entry]) -> Iterator[RenderableType]:
    """Yields the gradient's norm before clipping, averaged over the steps of each line, and how often it was clipped.

    These numbers help to choose --clip (Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063, section 3.2).
    """
    lines = [line for line in metrics if is_number(line.get("gradient_norm"))]
    if len(lines) < 2:
        return
    norms = [(line["step"], line["gradient_norm"]) for line in lines]
    low, high = min(norm for _, norm in norms), max(norm for _, norm in norms)
    is_log = 0 < low < high / _WIDE  # else one explosion would press all the rest to the floor
    name = "gradient norm, by its logarithm" if is_log else "gradient norm"
    chart = Chart([Line(name, "magenta", norms)], x_label="steps", y_label="norm", height=6, log_y=is_log)
    rates = [line["clip_rate"] for line in lines if is_number(line.get("clip_rate"))]
    late = rates[-max(1, len(rates) // 10) :]
    yield (
        Group(chart, Text(f"clipped: {mean(rates):.1%} of the steps, {mean(late):.1%} of the last tenth", style="dim"))
        if rates
        else chart
    )
