"""Training: speed of a step, its share of the arithmetic peak, time to a loss, quality after minutes.

    python -m tests.benchmarks.training speed                  our step beside the plain one that every tool uses
    python -m tests.benchmarks.training peak                   its arithmetic beside that of torch's matrix product
    python -m tests.benchmarks.training time --corpus FILE     seconds until a loss, beside a transformer's
    python -m tests.benchmarks.training quality --corpus FILE  losses of the real command after 1, 3, 10 minutes
    python -m tests.benchmarks.training encoding               what `python -m tests.benchmarks.encoding` measures

Any number of parts at once; --json prints one JSON object instead of tables. On a shared machine only ratios mean
anything, so what is compared runs in turn in short rounds, and a ratio is the median of the rounds' ratios.

speed    Characters a second of whole steps: ours in each of --precision, the plain one of `steps.py` and, where it is
         installed, JAX's of `jax_training.py`, once with a backward pass written by hand among its ways and once
         as JAX differentiates it, all in fp32: only fp32 beside fp32 is like beside like. Each has a
         process of its own for each number of threads; with --threads-each each takes its better one.
peak     A step counts as three times its forward matrix products (forward, gradient of the inputs, gradient of the
         weights). Counted are the input and recurrent products of each layer and the decoder's; nothing else is: no
         biases, gates, softmax, clipping, optimizer. The first layer's input product is the same for every occurrence
         of a character and can be a table look-up; "all" counts it as the plain step does it, "needed" leaves it out.
         The peak is torch.mm on large square matrices of the step's precision, in the same run and with as many
         threads: a step's median rate is shown as a share of the product's best round of all, and, "of median", of
         the product's median in the rounds of that step.
time     Ours is the real command with default settings, but no samples, and --validate-every small enough to see the
         moment. `seconds` is the clock of metrics.jsonl when the first validation below the mark begins: all training,
         validation and saving before it is in there, nothing is subtracted. `command` counts from the start of the
         command. `steps alone` is an estimate without validations: steps times the median seconds of a step. Theirs is
         `transformer.py`; its validations do not count in its time, and it has no start of a command.
quality  The real command with default settings, no samples and the last tenth held out, each with an empty cache. The
         command is in time when it takes its minutes give or take 5 % or 5 seconds, whichever is more.

--load N runs N busy processes beside speed and peak. --set avx2 holds all that is measured there to AVX2: our code
(CHARRNN_SET), torch and its libraries, and JAX; only what AdamW does to the weights is compiled for the machine still.

Knows what is compared with what. Refuses to know how a step is made and how a command is run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.native.cores import available_cores
from charrnn.network import device as devices
from charrnn.network.precision import choose_precision
from charrnn.settings.config import ModelConfig, TrainingConfig
from tests.benchmarks import command, peers, transformer
from tests.benchmarks.neighbours import warn_of_others
from tests.benchmarks.steps import CPU, Shape
from tests.benchmarks.training_speed import peak, speed

SIZES = "2x128,2x192,2x256,2x512,1x320,1x512"
MARKS = (1.886, 1.60)  # nats: about where the transformer's recipe ends, and a good loss
PARTS = ("speed", "peak", "time", "quality", "encoding")

Row = dict[str, Any]


def time_to_loss(
    corpus: Path, minutes: list[float], seeds: list[int], every: int, recipe: transformer.Recipe, options: list[str]
) -> Iterator[Row]:
    """For each seed: when the transformer passes the first mark, when we pass each, and the ratio."""
    characters = np.frombuffer(corpus.read_bytes().decode("utf-8").encode("utf-32-le"), np.uint32)
    alphabet, numbers = np.unique(characters, return_inverse=True)
    text, held_out = torch.from_numpy(numbers.astype(np.int64)).tensor_split([int(len(numbers) * 0.9)])
    settings = ["--device", "cpu", "--sample-every", "0", "--validate-every", str(every)]
    settings += ["--log-every", str(max(1, every // 5)), *options]
    for seed in seeds:
        seeded = replace(recipe, seed=seed)
        model = transformer.Transformer(seeded, len(alphabet))
        moments = list(transformer.train(model, seeded, text, held_out))
        below = next((moment for moment in moments if moment.nats < MARKS[0]), None)
        theirs = below or moments[-1]
        for mark, moment in ((f"below {MARKS[0]}" if below else f"end, not below {MARKS[0]}", theirs),
                             ("end", moments[-1])):  # fmt: skip
            yield {
                "who": "transformer", "seed": seed, "mark": mark, "nats": moment.nats, "step": moment.iteration,
                "seconds": moment.seconds,
            }  # fmt: skip
        whole = transformer.score(model, held_out, recipe.context)
        yield {"who": "transformer", "seed": seed, "mark": "end, all windows", "nats": whole}
        for budget in minutes:
            run = command.train(corpus, "--minutes", f"{budget:g}", "--seed", str(seed), *settings)
            for mark in MARKS:
                row: Row = {"who": f"ours, {budget:g} min", "seed": seed, "mark": f"below {mark}"}
                found = run.first_below(mark)
                if found is None:
                    row |= {"mark": f"never below {mark}", "nats": run.validations[-1]["validation_nats"]}
                else:
                    row |= found
                    if mark == MARKS[0]:
                        row["theirs/ours"] = theirs.seconds / found["seconds"]
                yield row


def quality(corpus: Path, minutes: list[float], seeds: list[int], options: list[str]) -> Iterator[Row]:
    """Final losses, and whether the command was in time; after each budget, its worst."""
    for budget in minutes:
        rows: list[Row] = []
        for seed in seeds:
            settings = ["--minutes", f"{budget:g}", "--seed", str(seed), "--sample-every", "0"]
            settings += ["--validation-fraction", "0.1", "--held-out", "end", *options]
            run = command.train(corpus, *settings)
            losses = [line["validation_nats"] for line in run.validations]
            last, over = run.lines[-1], run.seconds - 60 * budget
            rows.append({
                "minutes": budget, "seed": seed, "final nats": losses[-1], "best nats": min(losses),
                "steps": last["step"], "c/s": round(last["characters"] / last["seconds"]),
                "command seconds": run.seconds, "over": over, "in time": abs(over) <= max(5.0, 0.05 * 60 * budget),
            })  # fmt: skip
            yield rows[-1]
        yield {
            "minutes": budget, "seed": "worst", "final nats": max(row["final nats"] for row in rows),
            "best nats": max(row["best nats"] for row in rows), "c/s": min(row["c/s"] for row in rows),
            "over": max((row["over"] for row in rows), key=abs), "in time": all(row["in time"] for row in rows),
        }  # fmt: skip


def encoding(as_json: bool) -> Any:
    """What `encoding.py` measures: it prints its own tables, or gives its JSON."""
    words = [sys.executable, "-m", "tests.benchmarks.encoding"]
    if as_json:
        return json.loads(subprocess.check_output([*words, "--json"], cwd=command.ROOT))
    subprocess.check_call(words, cwd=command.ROOT)
    return None


def cpu_name() -> str:
    """The processor, as Linux names it; elsewhere as Python does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(rows: list[Row]) -> str:
    """Right-aligned columns of everything that any row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _list(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(word) for word in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add("--threads", type=int, help="threads of everything (default: what torch takes by itself)")
    add("--threads-each", type=_list(int), metavar="N,N", help="speed, peak: each with so many (default: --threads)")
    add("--load", type=int, default=0, metavar="N", help="speed, peak: busy processes beside (default: 0)")
    add("--set", choices=sorted(peers.ISA["ATEN_CPU_CAPABILITY"]), help="speed, peak: the instruction set of all")
    add("--corpus", type=Path, metavar="FILE", help="time, quality: the text")
    add("--minutes", type=_list(float), help="time, quality: budgets (defaults: 3; 1,3,10)")
    add("--seeds", type=_list(int), default=[1], help="time, quality (default: 1)")
    add("--validate-every", type=int, default=50, help="time: steps between our validations (default: 50)")
    add("--their-validate-every", type=int, default=250, help="time: iterations between theirs (default: 250)")
    add("--iterations", type=int, default=2000, help="time: of theirs (default: 2000)")
    add("--cells", type=_list(str), default=["lstm", "gru"], help="speed, peak (default: lstm,gru)")
    add("--sizes", type=_list(str), default=SIZES.split(","), help=f"speed, peak (default: {SIZES})")
    add("--embedding", type=int, default=ModelConfig().embedding_size, help="speed, peak (default: train's)")
    add("--lanes", type=_list(int), default=[TrainingConfig().batch_size], help="speed, peak (default: train's)")
    add("--precision", type=_list(str), default=["fp32", "auto"], help="speed, peak: of ours (default: fp32,auto)")
    add("--rounds", type=int, default=9, help="speed, peak: rounds of each shape (default: 9)")
    options = parser.parse_args()
    if {"time", "quality"} & set(options.parts) and not (options.corpus and options.corpus.is_file()):
        parser.error(f"time and quality train on a text, and {options.corpus} is none: give --corpus FILE")
    return options


def _run(part: str, options: argparse.Namespace) -> Iterator[Row]:
    shapes = [
        Shape(cell, *map(int, size.split("x")), options.embedding, lanes)
        for lanes, cell, size in itertools.product(options.lanes, options.cells, options.sizes)
    ]
    each = options.threads_each or [options.threads or available_cores()]
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    if part == "speed":
        return speed(shapes, options.precision, options.rounds, each, options.load)
    if part == "peak":
        return peak(shapes, options.precision, options.rounds, each, options.load)
    if part == "quality":
        return quality(options.corpus, options.minutes or [1.0, 3.0, 10.0], options.seeds, threads)
    recipe = transformer.Recipe(iterations=options.iterations, validate_every=options.their_validate_every)
    return time_to_loss(
        options.corpus, options.minutes or [3.0], options.seeds, options.validate_every, recipe, threads
    )


def main() -> None:
    """Prints tables, or one JSON object; each row also goes to stderr as soon as it is known."""
    options = _options()
    if options.set:
        peers.hold_to(options.set)
    warn_of_others()
    devices.prepare(CPU, options.threads)
    found: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cpu": cpu_name()}
    found["auto precision"] = choose_precision("auto", CPU)
    for part in options.parts:
        if part == "encoding":
            found[part] = encoding(options.json)
            continue
        found[part] = []
        for row in _run(part, options):
            found[part].append(row)
            print(f"{part}:", *(f"{name} {_cell(value)};" for name, value in row.items()), file=sys.stderr, flush=True)
        if not options.json:
            named = (
                f"torch {found['torch']}, {found['threads']} threads, {found['cpu']}, auto is {found['auto precision']}"
            )
            print(f"\n{part}: {named}")
            print(table(found[part]), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
