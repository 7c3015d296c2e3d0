"""Training on one NVIDIA GPU: a step beside the plain one, time to a loss, floors, kernels, and widths to keep off.

    python -m tests.benchmarks.gpu [PART ...] [--corpus FILE] [--out FILE] [--json]
    python -m tests.benchmarks.gpu --rehearse --corpus FILE     every part on a CPU, with tiny shapes: the figures mean
                                                                nothing, only that the code runs

All parts take about five minutes on an H200; without names they run in this order, the most important first. A piece of
a part that would not end within --budget is left out and said so; one that fails is left out too, the rest goes on, and
the exit status is 1. Each row goes to stderr and, as a line of JSON, to --out as soon as it is known; tables, or with
--json one object, go to stdout. What is compared runs in turn in short rounds between synchronisations, and a figure is
the median of the rounds, a ratio the median of the rounds' ratios.

speed    Characters a second of `steps.py`'s two steps. Ours computes in the precision that auto takes, by AdamW without
         caution, as a graph; `eager` is the same program launched one by one, `muon` the graph with TrainingConfig's
         own rule. The plain one computes in fp32, with TF32 allowed, and under autocast to bf16 (which torch turns to
         fp16 within recurrent layers). `x` is the ratio to each plain one; `spread` how far apart the rounds are, as a
         share of the median. `GiB` is the most that tensors took at once since before the step was made, `reserved`
         what torch took from the driver for them: a graph keeps a pool of its own. `loss` is of the last step made, a
         sign of life: the steps do not make equally many.
time     The real command with its defaults, its budget too, but no samples: when the first validation below nanoGPT's
         published best on tiny Shakespeare begins, by the clocks of `training.py`, and the best of all.
floors   performance.md's two floors for our step, from ceilings measured in the same rounds. Compute: its matrix
         products (`all`; without the first layer's input product, which could be a look-up: `needed`) at the rate of
         the best round of one large square product. Latency: two products for each character of the window and each
         layer, one after the other (`serial`), or with layers side by side (`wavefront`), each as long as a link of a
         chain of products (B, H) x (H, gates) in a graph; a link of the backward pass is taken to last as long. Shares
         are floor over step. A kernel that keeps the weights on the chip can beat a chain of products: then the share
         is above 1.
kernels  The kernels of our step with most time, by torch's profiler, beside what `charrnn.kernels` expects of each
         layer. The eager step is profiled, since the graph is a recording of it. Times are sums, with nothing between.
sizes    Forward and backward pass of one lstm layer in a graph, microseconds a character of the window, for widths
         around 128 and 192, where torch changes kernels.

Knows what is compared with what. Refuses to know how a step is made and how a command is run.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from charrnn import device as devices
from charrnn.choices import PrecisionName
from charrnn.graphs import record
from charrnn.kernels import GPU, IMAGINED, expected, explain
from charrnn.precision import choose_precision
from charrnn.ways import Way
from tests.benchmarks import command
from tests.benchmarks.steps import CPU, Kind, OurStep, Shape, Step, alternate, plain_step, product, wait
from tests.benchmarks.training import Row, cpu_name, table

PARTS = ("speed", "time", "floors", "kernels", "sizes")
SECONDS = {"speed": 35, "time": 85, "floors": 15, "kernels": 12, "sizes": 8}  # a piece, at most, by guess
MARK = 1.4697  # nats: nanoGPT's README, its GPU recipe, about three minutes on an A100
WARM_UPS = 4  # both kinds of Muon's steps are recorded, and run
PROFILED = 2
TOP = 12
WIDEST = 110  # characters of a text in a table
LEFT_OUT = "left out"
WAITS = (" Sync", " Synchronize", " Wait Event")  # ends of what the profiler lists beside kernels

Make = Callable[[], Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where everything runs, and how large it is."""

    device: torch.device
    shapes: tuple[Shape, ...]
    precision: PrecisionName
    """Of our step."""
    way: Way
    """Of our step, where it is not said to be eager."""
    kinds: tuple[Kind, ...]
    """Of the plain step."""
    types: dict[str, torch.dtype]
    """For single layers; the ceilings are measured in the first."""
    square: int
    """Rows and columns of the compute ceiling."""
    links: int
    """Products in a chain."""
    widths: tuple[int, ...]
    lanes: tuple[int, ...]
    window: int
    """For single layers."""
    train: tuple[str, ...]
    """Options of the command."""
    moment: float
    """Seconds that one round of one loop takes."""
    rounds: int

    @property
    def described(self) -> GPU:
        """What kernels are expected on."""
        return devices.describe_gpu(self.device) if self.device.type == "cuda" else IMAGINED


FULL = Scale(
    device=torch.device("cuda"),
    shapes=tuple(
        Shape(cell, layers, hidden, embedding, lanes, window)
        for cell in ("lstm", "gru")
        for layers, hidden, embedding, lanes, window in (
            (2, 512, 512, 64, 128), (3, 1024, 1024, 128, 150), (3, 1840, 1840, 128, 200)
        )
    ),
    precision="auto", way="graph", kinds=("fp32", "tf32", "bf16"),
    types={"fp16": torch.float16, "fp32": torch.float32},
    square=8192, links=256, widths=(128, 160, 192, 256), lanes=(32, 64, 128), window=128,
    train=(), moment=0.3, rounds=5,
)  # fmt: skip
REHEARSAL = Scale(
    device=CPU,
    shapes=(Shape("lstm", 2, 12, 8, 5, 7), Shape("gru", 1, 9, 8, 5, 7)),
    precision="fp32", way="device", kinds=("fp32",), types={"fp32": torch.float32},
    square=48, links=4, widths=(8, 9), lanes=(2, 3), window=5,
    train=(
        *("--threads", "1", "--steps", "20", "--log-every", "5"),
        *("--layers", "1", "--hidden", "16", "--batch", "3", "--bptt", "11"),
    ),
    moment=0.005, rounds=2,
)  # fmt: skip


class Skipped(Exception):
    """There is nothing to measure."""


def speed(scale: Scale, shape: Shape) -> Iterator[Row]:
    """A row for each step: how fast it is, what it takes of memory, and whether it learns."""
    steps: dict[str, Step] = {}
    rows: dict[str, Row] = {}
    for name, make in _makers(scale, shape).items():
        rows[name] = {"shape": str(shape), "step": name}
        try:
            steps[name], memory = with_memory(make, scale.device)
            rows[name] |= memory
        except Exception as error:  # the others' figures are wanted all the same
            yield rows[name] | {"failed": _told(error)}
    taken = alternate(steps, scale.rounds, scale.device, scale.moment)
    for name, figures in rates(taken, shape.characters).items():
        yield {**rows[name], **figures, "loss": float(steps[name]())}  # type: ignore[arg-type]


def _makers(scale: Scale, shape: Shape) -> dict[str, Make]:
    ours = partial(OurStep, shape, scale.device, scale.precision)
    return {
        "ours": partial(ours, way=scale.way, cautious=False),
        "ours, eager": partial(ours, way="device", cautious=False),
        "ours, muon": partial(ours, way=scale.way, optimizer="muon"),
        **{f"plain {kind}": partial(plain_step, shape, scale.device, kind) for kind in scale.kinds},
    }


def with_memory(make: Make, device: torch.device) -> tuple[Step, Row]:
    """A step made and run until it has all that it needs, and on a GPU the memory that took."""
    free()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    step = make()
    for _ in range(WARM_UPS):
        step()
    wait(device)
    if device.type != "cuda":
        return step, {}
    return step, {
        "GiB": (torch.cuda.max_memory_allocated() - allocated) / 2**30,
        "reserved": (torch.cuda.max_memory_reserved() - reserved) / 2**30,
    }


def free() -> None:
    """Gives a GPU's memory back that nothing needs any more."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def rates(taken: dict[str, list[float]], characters: int) -> dict[str, Row]:
    """Of each loop by its seconds a round: milliseconds, characters a second, and ratios to the plain ones."""
    found: dict[str, Row] = {}
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        found[name] = {
            "ms": 1e3 * middle, "c/s": round(characters / middle), "spread": (max(seconds) - min(seconds)) / middle
        }  # fmt: skip
        for plain in (other for other in taken if other.startswith("plain") and not name.startswith("plain")):
            ratios = [theirs / ours for ours, theirs in zip(seconds, taken[plain], strict=True)]
            found[name][f"x {plain}"] = statistics.median(ratios)
    return found


def floors(scale: Scale, shape: Shape) -> Iterator[Row]:
    """Our step beside the ceilings."""
    dtype = next(iter(scale.types.values()))
    steps: dict[str, Step] = {
        "ours": OurStep(shape, scale.device, scale.precision, way=scale.way, cautious=False),
        "product": product(scale.square, dtype, scale.device),
        "chain": recorded(*chain(shape, scale.links, dtype, scale.device)),
    }
    taken = alternate(steps, scale.rounds, scale.device, scale.moment)
    seconds, link = statistics.median(taken["ours"]), statistics.median(taken["chain"]) / scale.links
    yield shares(shape, seconds, 2 * scale.square**3 / min(taken["product"]), link)


def chain(shape: Shape, links: int, dtype: torch.dtype, device: torch.device) -> tuple[Step, list[torch.Tensor]]:
    """Products of the recurrence's shape, each needing the one before, and the tensors they go through.

    Of a product (B, gates) the next one takes the first H columns. That part of the weights is orthogonal, so that the
    numbers neither vanish nor grow. An even number of links ends in the tensor in which it began.
    """
    weights = torch.randn(shape.hidden, shape.gates) * shape.hidden**-0.5
    nn.init.orthogonal_(weights[:, : shape.hidden])
    weights = weights.to(device, dtype)
    there, back = torch.randn(2, shape.lanes, shape.gates, device=device).to(dtype)

    def work() -> None:
        for _ in range(links // 2):
            torch.mm(there[:, : shape.hidden], weights, out=back)
            torch.mm(back[:, : shape.hidden], weights, out=there)

    return work, [there, back]


class _Recorded:
    """`work` as a graph. It is kept beside it: a graph knows tensors by their address, and does not hold them."""

    def __init__(self, work: Step, changed: list[torch.Tensor]) -> None:
        self._work, self._graph = work, record(work, changed)

    def __call__(self) -> None:
        self._graph.replay()


def recorded(work: Step, changed: list[torch.Tensor]) -> Step:
    """On a GPU `work` as a graph, so that launches cost next to nothing; elsewhere itself."""
    return _Recorded(work, changed) if changed[0].is_cuda else work


def shares(shape: Shape, seconds: float, rate: float, link: float) -> Row:
    """Floors of a step that takes `seconds`, at `rate` operations a second and `link` seconds a serial product."""
    lowest = {
        "all": shape.operations(with_first=True) / rate,
        "needed": shape.operations(with_first=False) / rate,
        "serial": 2 * shape.window * shape.layers * link,
        "wavefront": 2 * (shape.window + shape.layers - 1) * link,
    }
    row: Row = {"shape": str(shape), "ms": 1e3 * seconds, "ceiling tflops": rate / 1e12, "link us": 1e6 * link}
    row |= {f"{name} ms": 1e3 * floor for name, floor in lowest.items()}
    return row | {f"{name}/step": floor / seconds for name, floor in lowest.items()}


def kernels(scale: Scale, shape: Shape) -> Iterator[Row]:
    """What is expected, and what the profiler says."""
    step = OurStep(shape, scale.device, scale.precision, way="device", cautious=False)
    for line in explain(shape.model, shape.lanes, step.precision, scale.described):
        yield {"shape": str(shape), "kernel": f"expected: {line}"}
    for _ in range(WARM_UPS):
        step()
    wait(scale.device)
    is_cuda = scale.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED):
            step()
        wait(scale.device)
    for row in ranked(profiler.key_averages(), DeviceType.CUDA if is_cuda else DeviceType.CPU):
        yield {"shape": str(shape), **row}


def ranked(averages: Iterable[Any], where: DeviceType) -> list[Row]:
    """All that ran there in one step, then what took most of the time; waits and the host's marks are not counted."""
    time_name = "self_cpu_time_total" if where == DeviceType.CPU else "self_device_time_total"
    found = [
        {"us": getattr(one, time_name) / PROFILED, "calls": one.count / PROFILED, "kernel": one.key}
        for one in averages
        if one.device_type == where and not one.is_user_annotation and not one.key.endswith(WAITS)
    ]
    found.sort(key=lambda row: row["us"], reverse=True)
    total = sum(row["us"] for row in found)
    if not total:
        raise RuntimeError("the profiler saw nothing")
    whole = {"us": total, "calls": sum(row["calls"] for row in found), "kernel": f"all of {len(found)} kinds"}
    names = " ".join(row["kernel"] for row in found)
    rows = [{**whole, "persist": _persists(names)}]
    rows += [{**row, "persist": _persists(row["kernel"])} for row in found[:TOP]]
    return [{"share": row["us"] / total, **row} for row in rows]


def _persists(name: str) -> bool:
    return "persist" in name.lower()


def time_to_loss(scale: Scale, corpus: Path | None) -> Iterator[Row]:
    """One run of the command."""
    if corpus is None or not corpus.is_file():
        raise Skipped(f"{corpus} is no text: give --corpus FILE" if corpus else "it needs a text: give --corpus FILE")
    run = command.train(corpus, "--device", scale.device.type, "--sample-every", "0", *scale.train)
    yield moments(run)


def moments(run: command.Command) -> Row:
    """When the mark was passed, and the best."""
    found, last = run.first_below(MARK), run.lines[-1]
    best = min(run.validations, key=lambda line: line["validation_nats"])
    return {
        "mark": f"below {MARK}" if found else f"never below {MARK}",
        **(found or {}),
        "best nats": best["validation_nats"],
        "best step": best["step"],
        "steps": last["step"],
        "c/s": round(last["characters"] / last["seconds"]),
        "in all": run.seconds,
    }


def sizes(scale: Scale, width: int) -> Iterator[Row]:
    """Layers of one width, for each number of lanes."""
    steps = {
        f"{lanes} {kind}": recorded(*layer(width, lanes, scale.window, dtype, scale.device))
        for lanes in scale.lanes
        for kind, dtype in scale.types.items()
    }
    taken = alternate(steps, scale.rounds, scale.device, scale.moment / 3)
    for lanes in scale.lanes:
        row: Row = {"hidden": width, "lanes": lanes}
        for kind in scale.types:
            told = expected("lstm", width, width, lanes, kind, scale.described)
            row[f"{kind} us"] = 1e6 * statistics.median(taken[f"{lanes} {kind}"]) / scale.window
            row[f"{kind} expected"] = "/".join(dict.fromkeys((told.forward, told.backward)))
        yield row


def layer(
    width: int, lanes: int, window: int, dtype: torch.dtype, device: torch.device
) -> tuple[Step, list[torch.Tensor]]:
    """Forward and backward pass of an lstm layer, down to its input, and the tensor that is read."""
    lstm = nn.LSTM(width, width).to(device, dtype)
    x = torch.randn(window, lanes, width, device=device).to(dtype).requires_grad_()
    gradient = torch.randn(window, lanes, width, device=device).to(dtype)

    def work() -> None:
        torch.autograd.grad(lstm(x)[0], [x, *lstm.parameters()], gradient)

    return work, [x]


class Piece(NamedTuple):
    """What is measured, or left out, as a whole."""

    part: str
    what: str
    measure: Callable[[], Iterable[Row]]


def pieces(part: str, scale: Scale, corpus: Path | None) -> list[Piece]:
    """Those of a part, in order."""
    if part == "time":
        return [Piece(part, "the command", partial(time_to_loss, scale, corpus))]
    if part == "sizes":
        return [Piece(part, f"{width} units", partial(sizes, scale, width)) for width in scale.widths]
    measure = {"speed": speed, "floors": floors, "kernels": kernels}[part]
    return [Piece(part, str(shape), partial(measure, scale, shape)) for shape in scale.shapes]


class Figures:
    """All that has been found, each row shown and kept as it comes."""

    def __init__(self, head: Row, out: Path | None) -> None:
        self.found: dict[str, Any] = dict(head)
        self._out = out
        if out:
            out.write_text("", "utf-8")
        self._keep(head)

    def add(self, part: str, row: Row) -> None:
        """Numbers keep five digits."""
        row = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}
        self.found.setdefault(part, []).append(row)
        self._keep({"part": part, **row})

    def _keep(self, row: Row) -> None:
        line = json.dumps(row)
        print(line, file=sys.stderr, flush=True)
        if self._out:
            with open(self._out, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def show(self, part: str) -> None:
        """The part's table."""
        rows = [{name: _short(value) for name, value in row.items()} for row in self.found.get(part, [])]
        print(f"\n{part}\n{table(rows)}" if rows else f"\n{part}: nothing", flush=True)

    @property
    def has_failed(self) -> bool:
        """Whether something went wrong, other than that time ran out."""
        return any("failed" in row for rows in self.found.values() if isinstance(rows, list) for row in rows)


def _short(value: object) -> object:
    return f"{value[: WIDEST - 1]}…" if isinstance(value, str) and len(value) > WIDEST else value


def _told(error: BaseException) -> str:
    """In a line; where it happened goes to stderr."""
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


def measure(piece: Piece, figures: Figures, left: float) -> None:
    """Adds the piece's rows, or why there are none, with `left` seconds of the budget."""
    out: Row = {"of": piece.part, "what": piece.what}
    if left < SECONDS[piece.part]:
        figures.add(LEFT_OUT, out | {"skipped": f"{left:.0f} s left, and it may take {SECONDS[piece.part]}"})
        return
    try:
        for row in piece.measure():
            figures.add(piece.part, row)
    except Skipped as reason:
        figures.add(LEFT_OUT, out | {"skipped": str(reason)})
    except (Exception, SystemExit) as error:  # a command that fails ends so; the other pieces' figures are wanted too
        figures.add(LEFT_OUT, out | {"failed": _told(error)})
    free()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add("--out", type=Path, metavar="FILE", help="also write each row here at once, as a line of JSON")
    add("--corpus", type=Path, metavar="FILE", help="time: tiny Shakespeare")
    add("--budget", type=float, default=450, help="seconds for everything (default: 450)")
    add("--rounds", type=int, help=f"of each comparison (default: {FULL.rounds})")
    add("--rehearse", action="store_true", help="on the CPU, with tiny shapes")
    options = parser.parse_args(words)
    for part in options.parts:  # argparse would take no parts at all for a wrong choice
        if part not in PARTS:
            parser.error(f"{part} is none of {', '.join(PARTS)}")
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Measures part after part; see the module."""
    began, options = time.monotonic(), _options(words)
    if not options.rehearse and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no NVIDIA GPU: --rehearse runs every part on the CPU with tiny shapes; what the CPU itself is "
            "worth: python -m tests.benchmarks.training"
        )
    scale = REHEARSAL if options.rehearse else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds)
    devices.prepare(scale.device, 1 if options.rehearse else None)
    head: Row = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    head |= devices.environment(scale.device, choose_precision(scale.precision, scale.device))
    head |= {"cpu": cpu_name(), "rehearsal": options.rehearse, "rounds": scale.rounds}
    figures = Figures(head, options.out)
    for part in options.parts or PARTS:
        for piece in pieces(part, scale, options.corpus):
            measure(piece, figures, options.budget - (time.monotonic() - began))
        if not options.json:
            figures.show(part)
    if options.json:
        print(json.dumps(figures.found))
    elif LEFT_OUT in figures.found:
        figures.show(LEFT_OUT)
    if figures.has_failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
