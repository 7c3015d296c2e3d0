"""When a run of the command passes a loss on tiny Shakespeare: streamed, as it validates, and in windows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli import texts
from charrnn.evaluation.report import ForeignText, Static, static_figures
from tests.benchmarks import command
from tests.benchmarks.gpu.figures import Skipped
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.training import Row

CONTEXT = 256
SCORING = 15.0  # seconds that are left for it, where a run has to be stopped
WINDOWED = f"windowed, {CONTEXT}"


def time_to_loss(scale: Scale, corpus: Path | None, name: str, deadline: float) -> Iterator[Row]:
    """One run of the command, stopped shortly before the clock's `deadline`; its moments by both protocols."""
    if corpus is None or not corpus.is_file():
        raise Skipped(f"{corpus} is no text: give --corpus FILE" if corpus else "it needs a text: give --corpus FILE")
    options = ("--device", scale.device.type, "--sample-every", "0", *scale.train[name])
    with tempfile.TemporaryDirectory() as folder:
        left = deadline - time.monotonic() - SCORING
        run = command.train(corpus, *options, seconds=left, keep=Path(folder))
        kept = {checkpoints.load(path).progress["step"]: path for path in sorted(Path(folder).iterdir())}
        for row in moments(run, kept, scale.mark, partial(windowed, corpus, scale.device)):
            yield {"run": name, **row}


def windowed(corpus: Path, device: torch.device, path: Path) -> float:
    """Nats a character of the validation part under `charrnn eval --protocol windowed --context 256`."""
    loaded = checkpoints.load(path)
    found = texts.find([str(corpus)], glob=None, report=lambda *_: None, config=loaded.data)
    part = ForeignText.of(texts.load(found, loaded.data, quiet=True), loaded, "validation", "error")
    how = Static(device=device, context=CONTEXT)
    nats: float = static_figures(how.model(loaded), part, how)["nats_per_character"]
    return nats


def moments(run: command.Command, kept: dict[int, Path], mark: float, score: Callable[[Path], float]) -> Iterator[Row]:
    """A row for each protocol, the first validation below the mark, and one of the best validation and of all.

    `kept` has the weights of each best validation by step. Windowed, they are scored in turn, from the first on that is
    below the mark streamed: a window knows less of the past, so that earlier ones are not below it either.
    """
    if not run.validations:
        raise Skipped(f"the command was stopped after {run.seconds:.0f} s, before its first validation")
    lines, scores = {line["step"]: line for line in run.validations}, {}
    found, below = run.first_below(mark), None
    yield {"protocol": "streamed", "mark": mark, "below": found is not None, **(found or {})}
    for step, path in kept.items():
        if lines[step]["validation_nats"] < mark:
            scores[step] = score(path)
            if scores[step] < mark:
                below = {**run.moment(lines[step]), "nats": scores[step]}
                break
    yield {"protocol": WINDOWED, "mark": mark, "below": below is not None, **(below or {})}
    last, best = run.lines[-1], min(run.validations, key=lambda line: line["validation_nats"])
    row = {"protocol": "best", "nats": best["validation_nats"], "step": best["step"], "seconds": best["seconds"]}
    if best["step"] in kept:
        row["nats windowed"] = scores[best["step"]] if best["step"] in scores else score(kept[best["step"]])
    row |= {"steps": last["step"], "c/s": round(last["characters"] / last["seconds"]), "in all": run.seconds}
    yield row | ({"stopped": "the time was up"} if run.was_stopped else {})
