"""One NVIDIA GPU: everything that is to be known on a day with one, or single figures of training.

    python -m tests.benchmarks.gpu --all [--out FOLDER] [--corpus FILE] [--papers MINUTES --corpora FOLDER] [PART ...]
    python -m tests.benchmarks.gpu [PART ...] [--corpus FILE] [--out FILE] [--json]
    python -m tests.benchmarks.gpu ... --rehearse       on a CPU, with tiny shapes: the figures mean nothing, only that
                                                        the code runs; with --all it reads small texts of its own

On a machine that is lent with a copy of this folder and nothing else can be installed (wheels that are missing there,
typer's for one, lie in .whl/; a compiled library that another Python's installation built is found):

    ls .whl/*.whl >/dev/null 2>&1 && python3 -m pip install -q --no-index --no-deps --target /tmp/site .whl/*.whl;
    PYTHONPATH=/tmp/site python3 -m tests.benchmarks.gpu --all --out /tmp/day --corpus corpora/tinyshakespeare.txt;
    tar -czf "$OUT/day.tgz" -C /tmp day

--all writes these files within --budget seconds, to checkpoints/gpu unless told otherwise, each as soon as its part is
done; each says how the part stands, and why if it was not done. A part for which there is not enough time left is
skipped; the earlier ones come first.

environment.json  what is measured with: the GPU, the processor, libraries, our compiled code, the commit
tests.json        the tests that need a GPU, a process for each test function; what they print is in tests.log
training.json     speed, floors, kernels and sizes, see below; training.jsonl has the rows as they come
quality.json      time, see below, if there is a --corpus; and whether the goals (`goals.py`) are met
sampling.json     `sampling.py --quick`
papers.json       with --papers MINUTES: `papers.py` on the Penn Treebank, trained for so many minutes over all calls.
                  What is not done when the time is up is gone on with by the same command (alone: --all papers) where
                  the folder checkpoints/ is still there.
parts.json        how all parts stand

The exit status is 1 if something failed, a test too. The rest is about the figures, which are also to be had without
--all; then all parts take about five minutes on an H200, and without names they run in this order, the most important
first. A piece of a part that would not end within --budget is left out and said so; one that fails is left out too,
the rest goes on, and the exit status is 1. Each row goes to stderr and, as a line of JSON, to --out as soon as it is
known; tables, or with --json one object, go to stdout. What is compared runs in turn in short rounds between
synchronisations, and a figure is the median of the rounds, a ratio the median of the rounds' ratios.

speed    Characters a second of `steps.py`'s two steps. Ours computes in the precision that auto takes, by AdamW without
         caution, as a graph; `eager` is the same program launched one by one, `muon` the graph with TrainingConfig's
         own rule. The plain one computes in fp32, with TF32 allowed, and under autocast to bf16 (which torch turns to
         fp16 within recurrent layers). `x` is the ratio to each plain one; `spread` how far apart the rounds are, as a
         share of the median. `GiB` is the most that tensors took at once since before the step was made, `reserved`
         what torch took from the driver for them: a graph keeps a pool of its own. `loss` is of the last step made, a
         sign of life: the steps do not make equally many.
time     The real command, without samples: once with its defaults, its budget too, and once with --minutes 1. When the
         first validation below nanoGPT's published best on tiny Shakespeare begins, by the clocks of `training.py`:
         `streamed`, as the command validates, and in windows of 256 characters, which is nearer to what nanoGPT scores
         and harder. For the windows the weights of each best validation are kept, and scored when the run is over.
floors   performance.md's two floors for our step, from ceilings measured in the same rounds. Compute: its matrix
         products (`all`; without the first layer's input product, which could be a look-up: `needed`) at the rate of
         the best round of one large square product. Latency: two products for each character of the window and each
         layer, one after the other (`serial`), or with layers side by side (`wavefront`), each as long as a link of a
         chain of products (B, H) x (H, gates) in a graph; a link of the backward pass is taken to last as long. Shares
         are floor over step. A kernel that keeps the weights on the chip can beat a chain of products: then the share
         is above 1.
kernels  The kernels of our step with most time, by torch's profiler, beside what `charrnn.network.cudnn` expects of
         each layer. The eager step is profiled, since the graph is a recording of it. Times are sums.
sizes    Forward and backward pass of one lstm layer in a graph, microseconds a character of the window, for widths
         around 128 and 192, where torch changes kernels.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from charrnn.network import device as devices
from charrnn.network.precision import choose_precision
from tests.benchmarks.gpu import day, suite
from tests.benchmarks.gpu.ceilings import floors
from tests.benchmarks.gpu.figures import LEFT_OUT, Figures, Piece, measure
from tests.benchmarks.gpu.kernels import kernels, sizes
from tests.benchmarks.gpu.scale import FULL, REHEARSAL, Scale
from tests.benchmarks.gpu.speed import speed
from tests.benchmarks.gpu.time_to_loss import time_to_loss
from tests.benchmarks.training import Row, cpu_name

PARTS = ("speed", "time", "floors", "kernels", "sizes")
SECONDS = {"speed": 35, "time": 85, "floors": 15, "kernels": 12, "sizes": 8}  # a piece, at most, by guess
BUDGET = 450.0
DAY = Path("checkpoints/gpu")


def pieces(part: str, scale: Scale, corpus: Path | None, deadline: float) -> list[Piece]:
    """Those of a part, in order. A run of the command ends before the clock's `deadline`."""
    add = partial(Piece, part, seconds=SECONDS[part])
    if part == "time":
        return [add(what=name, measure=partial(time_to_loss, scale, corpus, name, deadline)) for name in scale.train]
    if part == "sizes":
        return [add(what=f"{width} units", measure=partial(sizes, scale, width)) for width in scale.widths]
    measure = {"speed": speed, "floors": floors, "kernels": kernels}[part]
    return [add(what=str(shape), measure=partial(measure, scale, shape)) for shape in scale.shapes]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    known = [part.name for part in day.PARTS]
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; with --all: {', '.join(known)} (default: all)")
    add("--all", action="store_true", help="everything, the tests too, as files in a folder")
    add("--out", type=Path, metavar="FILE", help=f"also write each row here at once; with --all a folder ({DAY})")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add("--corpus", type=Path, metavar="FILE", help="time, quality: tiny Shakespeare")
    add("--budget", type=float, help=f"seconds for everything (default: {BUDGET:.0f}; with --all {day.BUDGET:.0f})")
    add("--rounds", type=int, help=f"of each comparison (default: {FULL.rounds}; with --all {day.Given.rounds})")
    add("--rehearse", action="store_true", help="on the CPU, with tiny shapes")
    add("--papers", type=float, metavar="MINUTES", help="papers: of training, over all calls")
    add("--corpora", type=Path, metavar="FOLDER", help="papers: what `papers.py` reads")
    add("--processes", type=int, default=suite.AT_ONCE, help=f"tests: side by side (default: {suite.AT_ONCE})")
    add("--tests", default=suite.TESTS, metavar="FILE", help=f"tests: those in this file (default: {suite.TESTS})")
    options = parser.parse_args(words)
    for part in options.parts:  # argparse would take no parts at all for a wrong choice
        if part not in (known if options.all else PARTS):
            parser.error(f"{part} is none of {', '.join(known if options.all else PARTS)}")
    if options.all and options.out is None:
        options.out = DAY
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Measures part after part; see the module."""
    began, options = time.monotonic(), _options(words)
    if not options.rehearse and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no NVIDIA GPU: --rehearse runs every part on the CPU with tiny shapes; what the CPU itself is "
            "worth: python -m tests.benchmarks.training"
        )
    is_good = whole_day(options) if options.all else measured(options, began)
    if not is_good:
        raise SystemExit(1)


def whole_day(options: argparse.Namespace) -> bool:
    """Every part as a file in a folder. Whether nothing failed. A rehearsal reads small texts of its own."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, corpora = options.corpus, options.corpora
        if options.rehearse:
            corpora = day.rehearsal_texts(Path(folder) / "texts")
            corpus = corpora / "tinyshakespeare.txt"
        given = day.Given(
            folder=options.out.absolute(),
            corpus=corpus and corpus.absolute(),
            corpora=corpora and corpora.absolute(),
            minutes=options.papers,
            rounds=options.rounds or (1 if options.rehearse else day.Given.rounds),
            at_once=options.processes,
            tests=options.tests,
            is_rehearsal=options.rehearse,
        )
        return day.run(given, options.parts, options.budget or day.BUDGET)


def measured(options: argparse.Namespace, began: float) -> bool:
    """The figures, each row shown and kept as it comes. Whether nothing failed."""
    budget = BUDGET if options.budget is None else options.budget
    scale = REHEARSAL if options.rehearse else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds)
    devices.prepare(scale.device, 1 if options.rehearse else None)
    head: Row = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    head |= devices.environment(scale.device, choose_precision(scale.precision, scale.device))
    head |= {"cpu": cpu_name(), "rehearsal": options.rehearse, "rounds": scale.rounds}
    figures = Figures(head, options.out)
    for part in options.parts or PARTS:
        for piece in pieces(part, scale, options.corpus, began + budget):
            measure(piece, figures, budget - (time.monotonic() - began))
        if not options.json:
            figures.show(part)
    if options.json:
        print(json.dumps(figures.found))
    elif LEFT_OUT in figures.found:
        figures.show(LEFT_OUT)
    return not figures.has_failed


if __name__ == "__main__":
    main()
