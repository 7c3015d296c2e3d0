"""Sampling: characters a second and time to the first one, ours beside torch's modules, and beside a read of memory.

    python -m tests.benchmarks.sampling [--json] [--quick] [--device cuda]
    python -m tests.benchmarks.sampling cost CHECKPOINT TEXT        what int8 weights cost in bits per character

Three loops write text from the same weights in the same process, in turn: the `nn.LSTM` loop that every tutorial has
(one module of all layers, one character at a time, softmax, multinomial), the same with `nn.LSTMCell`, and ours
(`charrnn.sampling.sample`, so with decoding into text). On a CPU also ours without the compiled step, and with int8
weights. Each runs with one and two threads, for one sample and for sixteen; medians over rounds; on a shared machine
only ratios mean anything. `read` is the time that reading an array as large as the float32 weights takes by the fastest
of numpy's reductions, with the same number of threads; for several samples, which are bound by arithmetic, our rate of
multiplications stands beside that of torch's matrix product. `numpy` is ours without the compiled step, with as many
threads as numpy's BLAS takes. The time to the first character is that of a new process.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import charrnn
from charrnn.checkpoint import Checkpoint, save
from charrnn.config import DataConfig, ModelConfig, SamplingConfig
from charrnn.inference.compiled import CompiledNetwork, is_available
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.model import CharacterModel
from charrnn.sampling import SampleRequest, write
from charrnn.stepper import TorchStepper
from charrnn.vocabulary import Vocabulary

VOCABULARY = Vocabulary(range(32, 97))
SIZES = [(1, 128), (2, 128), (2, 256), (2, 512), (3, 512), (3, 1024)]
COUNTS = (1, 16)
EMBEDDING, TEMPERATURE = 64, 0.8
MOMENT = 0.25  # seconds that one measurement of one loop takes, about

Loop = Callable[[int], None]
"""Writes this many characters of each sample."""


def make_checkpoint(layers: int, hidden: int) -> Checkpoint:
    """A freshly initialised model, its decoder scaled so that the text is neither noise nor one letter."""
    config = ModelConfig(num_layers=layers, hidden_size=hidden, embedding_size=EMBEDDING)
    model = CharacterModel(config, len(VOCABULARY))
    model.initialise(torch.Generator().manual_seed(layers * hidden))
    arrays = model.numpy_arrays()
    arrays["decoder.weight"] *= 20
    corpus = {"name": "none", "characters": 1, "bytes": 1, "sha256": "0" * 64, "train": 1, "validation": 0, "test": 0}
    progress = {"step": 1, "epoch": 1.0, "characters": 1, "seconds": 1.0, "best_nats": None, "best_step": 0}
    return Checkpoint(
        kind="best", model=config, vocabulary=VOCABULARY, data=DataConfig(), corpus=corpus,
        progress={**progress, "history": []}, parameters=arrays,
    )  # fmt: skip


class _Modules(nn.Module):
    """The same network of torch's modules."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        config = checkpoint.model
        self.embedding = nn.Embedding(len(VOCABULARY), EMBEDDING)
        self.recurrent = nn.LSTM(EMBEDDING, config.hidden_size, config.num_layers)
        self.cells = nn.ModuleList(
            nn.LSTMCell(EMBEDDING if layer == 0 else config.hidden_size, config.hidden_size)
            for layer in range(config.num_layers)
        )
        self.decoder = nn.Linear(config.hidden_size, len(VOCABULARY))
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in checkpoint.parameters.items()}
        with torch.no_grad():
            self.embedding.weight.copy_(arrays["embedding"])
            self.decoder.weight.copy_(arrays["decoder.weight"])
            self.decoder.bias.copy_(arrays["decoder.bias"])
            for layer, cell in enumerate(self.cells):
                for name in ("weight_ih", "weight_hh"):
                    array = arrays[f"layers.{layer + 1}.{name}"]
                    getattr(self.recurrent, f"{name}_l{layer}").copy_(array)
                    getattr(cell, name).copy_(array)
                bias = arrays[f"layers.{layer + 1}.bias"]
                for owner, suffix in ((self.recurrent, f"_l{layer}"), (cell, "")):
                    getattr(owner, "bias_ih" + suffix).copy_(bias)
                    getattr(owner, "bias_hh" + suffix).zero_()

    def logits(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """One step of nn.LSTM."""
        output, state = self.recurrent(self.embedding(ids)[None], state)
        return self.decoder(output[0]), state

    def logits_of_cells(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """One step of the nn.LSTMCells."""
        x, after = self.embedding(ids), []
        for layer, cell in enumerate(self.cells):
            after.append(cell(x, None if state is None else state[layer]))
            x = after[-1][0]
        return self.decoder(x), after


def _torch_loop(step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]], count: int, device: str) -> Loop:
    def loop(length: int) -> None:
        ids, state = torch.zeros(count, dtype=torch.int64, device=device), None
        texts = [""] * count
        with torch.inference_mode():
            for _ in range(length):
                logits, state = step(ids, state)
                ids = torch.multinomial((logits / TEMPERATURE).softmax(1), 1)[:, 0]
                for place, id_ in enumerate(ids.tolist()):
                    texts[place] += VOCABULARY.characters[id_]

    return loop


def _our_loop(engine: Any, count: int) -> Loop:
    def loop(length: int) -> None:
        config = SamplingConfig(length=length, temperature=TEMPERATURE)
        texts = [""] * count
        for piece in write(engine, VOCABULARY, [0], [SampleRequest(config, number) for number in range(count)]):
            texts[piece.sample] += piece.text

    return loop


def _read_loop(size: int, threads: int, reduce: Callable[[Any], Any]) -> Loop:
    """Reads an array of `size` bytes, `length` times, in as many parts as there are threads."""
    parts = np.array_split(np.random.default_rng(0).normal(size=size // 4).astype(np.float32), threads)

    def read(part: Any, times: int) -> None:
        for _ in range(times):
            reduce(part)

    pool = ThreadPoolExecutor(threads)

    def loop(length: int) -> None:
        list(pool.map(read, parts, [length] * threads))

    return loop


def _product_loop() -> Loop:
    """Products of 1024 x 1024 float32 matrices in torch: as many multiplications as the cores give."""
    left, right = torch.randn(2, 1024, 1024)
    out = torch.empty(1024, 1024)

    def loop(length: int) -> None:
        for _ in range(length):
            torch.mm(left, right, out=out)

    return loop


def _length_for(loop: Loop) -> int:
    """How many characters take a moment."""
    length, seconds = 2, 0.0
    while seconds < MOMENT / 4:
        length *= 2
        began = time.perf_counter()
        loop(length)
        seconds = time.perf_counter() - began
    return max(2, int(length * MOMENT / seconds))


def _seconds(loops: dict[str, Loop], rounds: int) -> dict[str, float]:
    """Median seconds a step of each loop, measured in turn."""
    lengths = {name: _length_for(loop) for name, loop in loops.items()}
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            time.sleep(0.1)  # the threads of torch and of numpy's BLAS spin for a while after their work
            began = time.perf_counter()
            loop(lengths[name])
            taken[name].append((time.perf_counter() - began) / lengths[name])
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def measure(layers: int, hidden: int, count: int, threads: int, rounds: int, device: str) -> dict[str, Any]:
    """Seconds a step of every loop for one shape."""
    checkpoint = make_checkpoint(layers, hidden)
    torch.set_num_threads(threads)
    modules = _Modules(checkpoint).to(device).eval()
    loops: dict[str, Loop] = {
        "nn.LSTM": _torch_loop(modules.logits, count, device),
        "nn.LSTMCell": _torch_loop(modules.logits_of_cells, count, device),
    }
    row: dict[str, Any] = {"size": f"{layers}x{hidden}", "count": count, "threads": threads, "device": device}
    if device == "cuda":
        loops["ours"] = _our_loop(TorchStepper(checkpoint, torch.device("cuda")), count)
    else:
        arrays = checkpoint.parameters
        loops["numpy"] = _our_loop(InPlaceNetwork(checkpoint.model, arrays), count)
        if is_available(checkpoint.model):
            ours = CompiledNetwork(checkpoint.model, arrays, threads=threads)
            eight = CompiledNetwork(checkpoint.model, arrays, threads=threads, weights="int8")
            loops |= {"ours": _our_loop(ours, count), "int8": _our_loop(eight, count)}
            row["weights_mb"] = ours.bytes_per_character / 1e6
            if count > 1:
                loops["product"] = _product_loop()
            for name, reduce in (("read by dot", lambda a: np.dot(a, a)), ("read by max", np.max)):
                loops[name] = _read_loop(ours.bytes_per_character, threads, reduce)
    seconds = _seconds(loops, rounds)
    reads = [seconds.pop(name) for name in list(seconds) if name.startswith("read")]
    if count > 1 and "ours" in loops:
        row["our_gflops"] = ours.bytes_per_character / 2e9 * count / seconds["ours"]
        row["torch.mm gflops"] = 2e-9 * 1024**3 / seconds["product"]
    seconds.pop("product", None)
    row["characters_per_second"] = {name: count / value for name, value in seconds.items()}
    if reads:
        row["read_gb_per_second"] = row["weights_mb"] / 1e3 / min(reads)
        row["our_gb_per_second"] = row["weights_mb"] / 1e3 / seconds["ours"]
        row["ours/read"] = seconds["ours"] / min(reads)
    return row


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
    """Each side at its better thread count: ours against nn.LSTM, and sixteen samples against one."""
    found = []
    for size in dict.fromkeys(row["size"] for row in rows):
        best: dict[tuple[str, int], float] = {}
        for row in rows:
            if row["size"] == size:
                for name, value in row["characters_per_second"].items():
                    key = (name, row["count"])
                    best[key] = max(best.get(key, 0.0), value)
        entry: dict[str, Any] = {"size": size}
        for name, count in itertools.product(("ours", "int8", "numpy"), sorted({row["count"] for row in rows})):
            if (name, count) in best:
                entry[f"{name}/nn.LSTM, {count}"] = best[name, count] / best["nn.LSTM", count]
        for name in ("ours", "int8"):
            if (name, 16) in best and (name, 1) in best:
                entry[f"{name}, 16 over 1"] = best[name, 16] / best[name, 1]
        reads = [row["ours/read"] for row in rows if row["size"] == size and row["count"] == 1 and "ours/read" in row]
        if reads:
            entry["ours/read, best threads"] = reads[-1]
        found.append(entry)
    return found


def cost(path: str, text: Path) -> dict[str, Any]:
    """Bits per character of a text with float32 and int8 weights."""
    read = text.read_text("utf-8")
    scores = {name: charrnn.load(path, weights=name).score(read) for name in ("float32", "int8")}
    found: dict[str, Any] = {name: score.bits_per_character for name, score in scores.items()}
    return {"characters": scores["int8"].characters, **found, "cost": found["int8"] - found["float32"]}


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    speeds = {f"{name} c/s": f"{value:,.0f}" for name, value in row["characters_per_second"].items()}
    return {**{name: value for name, value in row.items() if name != "characters_per_second"}, **speeds}


def main() -> None:
    """Prints tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("words", nargs="*", metavar="cost CHECKPOINT TEXT")
    options = parser.parse_args()
    if options.words and (options.words[0] != "cost" or len(options.words) != 3):
        parser.error("what is measured is either nothing that is named, or: cost CHECKPOINT TEXT")
    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.words:
        result = cost(options.words[1], Path(options.words[2]))
        print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
        return
    rounds = 3 if options.quick else 7
    sizes = [(1, 128), (2, 512)] if options.quick else SIZES
    counts = COUNTS if options.device == "cpu" else (*COUNTS, 256)
    thread_counts = (1, 2) if options.device == "cpu" else (1,)
    rows = []
    for (layers, hidden), count, threads in itertools.product(sizes, counts, thread_counts):
        rows.append(measure(layers, hidden, count, threads, rounds, options.device))
        if not options.json:
            print(f"measured {layers}x{hidden}, {count} samples, {threads} threads", file=sys.stderr)
    first = first_character(2, 512, rounds) if options.device == "cpu" else {}
    if options.json:
        print(json.dumps({"rows": rows, "ratios": bars(rows), "first_character_seconds": first}))
        return
    console.print(_table("characters a second", [_flat(row) for row in rows]))
    console.print(_table("ratios, each at its better thread count", bars(rows)))
    if first:
        console.print(_table("seconds to the first character, 2x512", [first]))


if __name__ == "__main__":
    main()
