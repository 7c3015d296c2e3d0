"""What compiled code and torch do beside busy programs: with a fixed number of threads, and with the one it chooses.

    python -m tests.benchmarks.busy [--json] [--quick] [--load 0,1,2,4] [--parts training,sampling,scoring]
                                    [--before CHECKOUT]

For every part and each number of busy processes, in rounds that take turns, each in a worker of its own:

    one, two, ..   as many threads for each number up to the cores', which never bend: a crew keeps them all
    default        what a command does by itself
    before         what a command does by itself in another checkout, which has its own libraries built

`default/better` is the median of the rounds' ratios of the default to the better fixed number, and `default/before`
that to the other checkout. Rates are medians, in characters a second. What is done:

    training    whole steps at 16 lanes and windows of 64, with the default optimizer and with AdamW
    sampling    one stream and sixteen of a 2x512 lstm, float32 and int8
    scoring     a text in one lane and in sixteen by compiled code, and in sixteen by torch (`eval`'s validation)

Knows what is compared with what. Refuses to know how it is done.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn.native.cores import available_cores
from charrnn.settings.config import ModelConfig, TrainingConfig
from tests.benchmarks.neighbours import busy, warn_of_others
from tests.benchmarks.training import cpu_name, table
from tests.benchmarks.workers import Worker, in_turn

LOOPS = Path(__file__).with_name("our_loops.py")
PARTS = ("training", "sampling", "scoring")
_NUMBERS = ("no", "one", "two", "three", "four")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is done: a function of `our_loops.py` and its arguments."""

    name: str
    function: str
    characters: int
    """That a step reads or writes."""
    arguments: dict[str, Any] = field(default_factory=dict)


def training_parts(cells: Sequence[str], sizes: Sequence[str], precision: str) -> Iterator[Part]:
    """Steps of each cell and size, with the command's optimizer and with AdamW."""
    settings, embedding = TrainingConfig(), ModelConfig().embedding_size
    for cell, size, optimizer in itertools.product(cells, sizes, dict.fromkeys([settings.optimizer, "adamw"])):
        layers, hidden = map(int, size.split("x"))
        arguments = {"shape": [cell, layers, hidden, embedding, settings.batch_size], "precision": precision}
        yield Part(
            f"{cell} {size} {optimizer}", "training", settings.batch_size * 64, {**arguments, "optimizer": optimizer}
        )


def sampling_parts(size: str) -> Iterator[Part]:
    """One stream and sixteen, with either kind of weights."""
    layers, hidden = map(int, size.split("x"))
    for weights, count in itertools.product(("float32", "int8"), (1, 16)):
        arguments = {"layers": layers, "hidden": hidden, "count": count, "weights": weights}
        yield Part(f"sampling {size} {weights}, {count}", "sampling", count, arguments)


def scoring_parts(size: str) -> Iterator[Part]:
    """A text in lanes, by compiled code and by torch."""
    layers, hidden = map(int, size.split("x"))
    for lanes in (1, 16):
        arguments = {"layers": layers, "hidden": hidden, "lanes": lanes}
        yield Part(f"scoring {size}, {lanes}", "scoring", lanes, arguments)
    arguments = {"layers": layers, "hidden": hidden, "lanes": 16, "window": 256}
    yield Part(f"validation {size}, 16", "validation", 16 * 256, arguments)


def measure(
    parts: Sequence[Part], loads: Sequence[int], rounds: int, moment: float, most: int, before: Path | None = None
) -> Iterator[Row]:
    """Rates and ratios of every part beside each number of busy processes, with up to `most` fixed threads."""
    with contextlib.ExitStack() as stack:
        fixed = {_NUMBERS[n] if n < len(_NUMBERS) else str(n): n for n in range(1, most + 1)}
        workers = {name: stack.enter_context(Worker(threads)) for name, threads in fixed.items()}
        workers["default"] = stack.enter_context(Worker())
        if before is not None:
            workers["before"] = stack.enter_context(Worker(path=before.resolve()))
        for part in parts:
            for name, worker in workers.items():
                worker.make(LOOPS, part.function, **part.arguments, is_rigid=name in fixed)
            for load in loads:
                with busy(load):
                    rates = in_turn(workers, rounds, moment)
                yield {"part": part.name, "busy": load, **ratios(rates, list(fixed))} | {
                    f"{name} c/s": round(part.characters * statistics.median(each)) for name, each in rates.items()
                }


def ratios(rates: Mapping[str, Sequence[float]], fixed: Sequence[str]) -> Row:
    """Medians of the rounds' ratios of the default to the better of `fixed` by its median, and to `before`."""
    better = max(fixed, key=lambda name: statistics.median(rates[name]))
    row: Row = {"better": better, "default/better": _ratio(rates["default"], rates[better])}
    if "before" in rates:
        row["default/before"] = _ratio(rates["default"], rates["before"])
    return row


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(own / other for own, other in zip(ours, others, strict=True))


def _list(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(word) for word in text.split(",")]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--quick", action="store_true", help="three rounds of half a second; lstm 2x128 and 2x512 alone in training")
    add("--load", type=_list(int), default=[0, 1, 2, 4], help="numbers of busy processes (default: 0,1,2,4)")
    add("--parts", type=_list(str), default=list(PARTS), help=f"some of {','.join(PARTS)} (default: all)")
    add("--cells", type=_list(str), default=["lstm", "gru"], help="training (default: lstm,gru)")
    add("--sizes", type=_list(str), default=["1x320", "2x128", "2x256", "2x512"], help="training")
    add("--size", default="2x512", help="sampling, scoring (default: 2x512)")
    add("--precision", choices=("fp32", "bf16", "auto"), default="auto", help="training (default: auto)")
    add("--rounds", type=int, default=7, help="of each part (default: 7)")
    add("--moment", type=float, default=0.7, help="seconds of a turn, about (default: 0.7)")
    add("--threads", type=int, default=available_cores(), help="the most of the fixed ones (default: the cores)")
    add("--before", type=Path, metavar="CHECKOUT", help="another checkout, built, to compare the default with")
    options = parser.parse_args(words)
    if not set(options.parts) <= set(PARTS):
        parser.error(f"--parts names {','.join(options.parts)}: what there is are {', '.join(PARTS)}")
    if options.before is not None and not (options.before / "charrnn").is_dir():
        parser.error(f"--before names {options.before}, where there is no charrnn")
    if options.quick:
        options.rounds, options.moment, options.cells, options.sizes = 3, 0.5, ["lstm"], ["2x128", "2x512"]
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Prints a table or a JSON object; each row also goes to stderr as soon as it is known."""
    options = _options(words)
    makers: dict[str, Callable[[], Iterator[Part]]] = {
        "training": lambda: training_parts(options.cells, options.sizes, options.precision),
        "sampling": lambda: sampling_parts(options.size),
        "scoring": lambda: scoring_parts(options.size),
    }
    parts = [part for name in options.parts for part in makers[name]()]
    warn_of_others()
    rows = []
    for row in measure(parts, options.load, options.rounds, options.moment, options.threads, options.before):
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"cpu": cpu_name(), "rows": rows}))
        return
    print(f"{cpu_name()}, {available_cores()} cores\n{table(rows)}")


if __name__ == "__main__":
    main()
