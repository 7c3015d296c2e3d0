"""Sampling: characters a second and time to the first one, ours beside torch's modules, and beside a read of memory.

    python -m tests.benchmarks.sampling [--json] [--quick] [--device cuda] [--out FILE]
    python -m tests.benchmarks.sampling --rehearse                  what runs on a GPU, on a CPU and tiny: only whether
                                                                    it runs, the figures mean nothing
    python -m tests.benchmarks.sampling cost CHECKPOINT TEXT        what float16 and int8 weights cost in bits

Three loops write text from the same weights in the same process, in turn: the `nn.LSTM` loop that every tutorial has
(one module of all layers, one character at a time, softmax, multinomial), the same with `nn.LSTMCell`, and ours
(`charrnn.sampling.sampler.sample`, so with decoding into text). On a CPU also ours without the compiled step, and with
float16 and int8 weights. Each runs with one and two threads, for one sample and for sixteen; medians over rounds; on a
shared machine only ratios mean anything. `read` is the time that reading an array as large as the float32 weights
takes by the fastest of numpy's reductions, with the same number of threads; for several samples, which are bound by
arithmetic, our rate of multiplications stands beside that of torch's matrix product. `numpy` is ours without the
compiled step, with as many threads as numpy's BLAS takes. The time to the first character is that of a new process.

Beside them stand, where they are installed, ONNX Runtime, JAX and torch.compile (--peers names some of them), each in a
process of its own for each number of threads, in the fastest of the ways of `sampling_peers.py`. --load N runs N busy
processes beside.

With --device cuda ours is `TorchStepper`, the step that is one graph there, also for 256 samples; all loops compute in
exact fp32, and there is neither a read of memory nor a first character. Each row goes to --out as it is known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import charrnn
from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.inference.compiled import CompiledNetwork
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import has_compiled_step
from charrnn.network import device as devices
from charrnn.network.stepper import TorchStepper
from charrnn.settings.choices import WeightsName
from tests.benchmarks import peers
from tests.benchmarks.neighbours import busy, warn_of_others
from tests.benchmarks.sampling_loops import (
    Loop,
    PlainModules,
    make_checkpoint,
    our_loop,
    product_loop,
    read_loop,
    torch_loop,
)  # fmt: skip
from tests.benchmarks.steps import CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where everything runs, and how large it is."""

    device: torch.device
    is_graph: bool
    """Whether ours is the step for a GPU (elsewhere it runs eagerly), and not those for a CPU."""
    sizes: tuple[tuple[int, int], ...] = ((1, 128), (2, 128), (2, 256), (2, 512), (3, 512), (3, 1024))
    """Layers and units."""
    counts: tuple[int, ...] = (1, 16)
    """Of samples side by side."""
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 7
    moment: float = 0.25
    """Seconds that one measurement of one loop takes, about."""


ROUNDED: tuple[WeightsName, ...] = ("float16", "int8")
ON_CPU = Scale(device=CPU, is_graph=False)
ON_GPU = Scale(device=torch.device("cuda"), is_graph=True, counts=(1, 16, 256), threads=(1,))
REHEARSAL = replace(ON_GPU, device=CPU, sizes=((1, 8), (2, 12)), rounds=1, moment=0.01)


def _length_for(loop: Loop, moment: float) -> int:
    """How many characters take a moment."""
    length, seconds = 2, 0.0
    while seconds < moment / 4:
        length *= 2
        began = time.perf_counter()
        loop(length)
        seconds = time.perf_counter() - began
    return max(2, int(length * moment / seconds))


def _seconds(loops: dict[str, Loop], scale: Scale) -> dict[str, float]:
    """Median seconds a step of each loop, measured in turn."""
    lengths = {name: _length_for(loop, scale.moment) for name, loop in loops.items()}
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(scale.rounds):
        for name, loop in loops.items():
            time.sleep(0.1)  # the threads of torch and of numpy's BLAS spin for a while after their work
            began = time.perf_counter()
            loop(lengths[name])
            taken[name].append((time.perf_counter() - began) / lengths[name])
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def measure(
    layers: int, hidden: int, count: int, threads: int, scale: Scale, others: Mapping[str, Loop] = MappingProxyType({})
) -> dict[str, Any]:
    """Characters a second of every loop for one shape, `others` among them; on a CPU beside what its memory and its
    cores give."""
    checkpoint = make_checkpoint(layers, hidden)
    torch.set_num_threads(threads)
    modules = PlainModules(checkpoint).to(scale.device).eval()
    loops: dict[str, Loop] = {
        "nn.LSTM": torch_loop(modules.logits, count, scale.device),
        "nn.LSTMCell": torch_loop(modules.logits_of_cells, count, scale.device),
        **others,
    }
    row: dict[str, Any] = {"size": f"{layers}x{hidden}", "count": count, "threads": threads}
    row["device"] = scale.device.type
    if scale.is_graph:
        loops["ours"] = our_loop(TorchStepper(checkpoint, scale.device), count)
        seconds = _seconds(loops, scale)
    else:
        seconds = _beside_ceilings(checkpoint, loops, row, scale)
    return row | {"characters_per_second": {name: count / value for name, value in seconds.items()}}


def _beside_ceilings(
    checkpoint: Checkpoint, loops: dict[str, Loop], row: dict[str, Any], scale: Scale
) -> dict[str, float]:
    """Seconds a step of `loops` and of those for a CPU; `row` gains what the compiled step reaches of the ceilings."""
    arrays, count, threads = checkpoint.parameters, row["count"], row["threads"]
    loops["numpy"] = our_loop(InPlaceNetwork(checkpoint.model, arrays), count)
    if not has_compiled_step(checkpoint.model):
        return _seconds(loops, scale)
    ours = CompiledNetwork(checkpoint.model, arrays, threads=threads)
    loops["ours"] = our_loop(ours, count)
    for weights in ROUNDED:
        loops[weights] = our_loop(CompiledNetwork(checkpoint.model, arrays, threads=threads, weights=weights), count)
    if count > 1:
        loops["product"] = product_loop()
    for name, reduce in (("read by dot", lambda a: np.dot(a, a)), ("read by max", np.max)):
        loops[name] = read_loop(ours.panels.num_bytes, threads, reduce)
    seconds = _seconds(loops, scale)
    reads = min(seconds.pop(name) for name in list(seconds) if name.startswith("read"))
    row["weights_mb"] = ours.panels.num_bytes / 1e6
    if count > 1:
        row["our_gflops"] = ours.panels.num_bytes / 2e9 * count / seconds["ours"]
        row["torch.mm gflops"] = 2e-9 * 1024**3 / seconds.pop("product")
    row["read_gb_per_second"] = row["weights_mb"] / 1e3 / reads
    row["our_gb_per_second"] = row["weights_mb"] / 1e3 / seconds["ours"]
    row["ours/read"] = seconds["ours"] / reads
    return seconds


_TORCH_PROCESS = """
import sys, torch
from safetensors.torch import load_file
arrays = load_file(sys.argv[1])
hidden, layers = arrays["model.layers.1.weight_hh"].shape[1], int(sys.argv[2])
lstm = torch.nn.LSTM(arrays["model.embedding"].shape[1], hidden, layers)
with torch.no_grad():
    for layer in range(layers):
        for name in ("weight_ih", "weight_hh"):
            getattr(lstm, f"{name}_l{layer}").copy_(arrays[f"model.layers.{layer + 1}.{name}"])
        getattr(lstm, f"bias_ih_l{layer}").copy_(arrays[f"model.layers.{layer + 1}.bias"])
        getattr(lstm, f"bias_hh_l{layer}").zero_()
    output, state = lstm(arrays["model.embedding"][torch.tensor([[0]])])
    logits = output[0] @ arrays["model.decoder.weight"].T + arrays["model.decoder.bias"]
    print(chr(32 + int(torch.multinomial((logits / 0.8).softmax(1), 1))), end="", flush=True)
"""


def first_character(layers: int, hidden: int, rounds: int) -> dict[str, float]:
    """Median seconds from the command to the first character, of new processes; the disk is warm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.safetensors"
        save(path, make_checkpoint(layers, hidden))
        options = ["-c", str(path), "--length", "5"]
        commands = {
            "charrnn sample": [sys.executable, "-m", "charrnn", "sample", *options],
            "charrnn sample, numpy": [sys.executable, "-m", "charrnn", "sample", *options],
            "torch and nn.LSTM": [sys.executable, "-c", _TORCH_PROCESS, str(path), str(layers)],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for name in [*commands, *(name for _ in range(rounds) for name in commands)]:
            environment = {**os.environ, "CHARRNN_COMPILED": "0" if "numpy" in name else "1"}
            began = time.perf_counter()
            with subprocess.Popen(commands[name], stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout is not None
                assert process.stdout.read(1)
                taken[name].append(time.perf_counter() - began)
                process.stdout.read()
        return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each side at its better thread count: ours against nn.LSTM and the peers, and sixteen samples against one."""
    found = []
    for size in dict.fromkeys(row["size"] for row in rows):
        best: dict[tuple[str, int], float] = {}
        for row in rows:
            if row["size"] == size:
                for name, value in row["characters_per_second"].items():
                    key = (name, row["count"])
                    best[key] = max(best.get(key, 0.0), value)
        entry: dict[str, Any] = {"size": size}
        for name, count in itertools.product(("ours", *ROUNDED, "numpy"), sorted({row["count"] for row in rows})):
            if (name, count) in best:
                entry[f"{name}/nn.LSTM, {count}"] = best[name, count] / best["nn.LSTM", count]
                for peer in (peer for peer in peers.SAMPLING if (peer, count) in best and name != "numpy"):
                    entry[f"{name}/{peer}, {count}"] = best[name, count] / best[peer, count]
        for name in ("ours", *ROUNDED):
            if (name, 16) in best and (name, 1) in best:
                entry[f"{name}, 16 over 1"] = best[name, 16] / best[name, 1]
        reads = [row["ours/read"] for row in rows if row["size"] == size and row["count"] == 1 and "ours/read" in row]
        if reads:
            entry["ours/read, best threads"] = reads[-1]
        found.append(entry)
    return found


def cost(path: str, text: Path) -> dict[str, Any]:
    """Bits per character of a text with float32 weights and with rounded ones."""
    read = text.read_text("utf-8")
    scores = {name: charrnn.load(path, weights=name).score(read) for name in ("float32", *ROUNDED)}
    found: dict[str, Any] = {name: score.bits_per_character for name, score in scores.items()}
    costs = {f"cost of {name}": found[name] - found["float32"] for name in ROUNDED}
    return {"characters": scores["float32"].characters, **found, **costs}


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table


def _turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each ratio, with a column for each size: there are many more ratios than sizes."""
    names = dict.fromkeys(name for row in rows for name in row if name != "size")
    return [{"ratio": name, **{row["size"]: row[name] for row in rows if name in row}} for name in names]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    speeds = {f"{name} c/s": f"{value:,.0f}" for name, value in row["characters_per_second"].items()}
    return {**{name: value for name, value in row.items() if name != "characters_per_second"}, **speeds}


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rehearse", action="store_true", help="what runs on a GPU, on the CPU and tiny")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write each row here at once, as a line of JSON")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="busy processes beside (default: 0)")
    parser.add_argument(
        "--peers", type=lambda text: [name for name in text.split(",") if name], default=list(peers.SAMPLING),
        metavar="NAME,NAME", help=f"on a CPU, some of {','.join(peers.SAMPLING)} (default: all that are installed)",
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="cost CHECKPOINT TEXT")
    options = parser.parse_args(words)
    if not set(options.peers) <= set(peers.SAMPLING):
        parser.error(f"--peers names {','.join(options.peers)}: what there is are {', '.join(peers.SAMPLING)}")
    if options.words and (options.words[0] != "cost" or len(options.words) != 3):
        parser.error("what is measured is either nothing that is named, or: cost CHECKPOINT TEXT")
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Prints tables, or one JSON object."""
    options = _options(words)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.words:
        result = cost(options.words[1], Path(options.words[2]))
        print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
        return
    scale = ON_GPU if options.device == "cuda" else ON_CPU
    if options.quick:
        scale = replace(scale, sizes=((1, 128), (2, 512)), rounds=3)
    if options.rehearse:
        scale = REHEARSAL
    if scale.is_graph:
        devices.prepare(scale.device, None)
    if options.out:
        options.out.write_text("", "utf-8")
    warn_of_others()
    rows = []
    with peers.Peers([] if scale.is_graph else peers.installed(options.peers)) as beside:
        for (layers, hidden), count, threads in itertools.product(scale.sizes, scale.counts, scale.threads):
            others = beside.loops(layers, hidden, count, threads)
            with busy(options.load):
                rows.append(measure(layers, hidden, count, threads, scale, others))
            if options.out:
                with open(options.out, "a", encoding="utf-8") as file:
                    file.write(f"{json.dumps({'part': 'rows', **rows[-1]})}\n")
            if not options.json:
                print(f"measured {layers}x{hidden}, {count} samples, {threads} threads", file=sys.stderr)
    first = {} if scale.is_graph else first_character(2, 512, scale.rounds)
    if options.json:
        print(json.dumps({"rows": rows, "ratios": bars(rows), "first_character_seconds": first}))
        return
    console.print(_table("characters a second", [_flat(row) for row in rows]))
    console.print(_table("ratios, each at its better thread count", _turned(bars(rows))))
    if first:
        console.print(_table("seconds to the first character, 2x512", [first]))


if __name__ == "__main__":
    main()
