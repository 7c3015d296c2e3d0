"""The matrix products of a training step, ours and torch's, one thread each.

    python -m tests.benchmarks.products [--kind fp32|bf16] [--set avx512|avx2|portable] [--hidden 128,256,...]
                                        [--rows 1024] [--vocabulary 96] [--rounds 15]

Both fill the same memory, in turn, round by round; a line gives medians of Gflop/s, and of each round's share of
torch's speed. With `--set avx2` torch and its libraries are held to AVX2 too, in a process of their own. The kind bf16
multiplies in the best way of the machine. What is multiplied is that of an lstm: H hidden units, 4 H gates, 1024 rows
(lanes x steps); and Muon's batches of a quarter of a gate.

Knows shapes and clocks. Refuses to know what is made of the figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.native import crew
from charrnn.native.product import WIDENED, find_library
from charrnn.network.products import multiply

SETS = ("portable", "avx2", "avx512")
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}
HELD_TO_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
MOMENT = 0.01  # seconds of one round of one side, about


class Case(NamedTuple):
    """One product: a name, both ways of computing it, and its multiplications and additions."""

    name: str
    ours: Callable[[], object]
    torchs: Callable[[], object]
    operations: int


def cases(hidden: int, rows: int, vocabulary: int, kind: torch.dtype, chosen: int) -> Iterator[Case]:
    """The products of one layer, of the decoder, and of Muon."""
    library = find_library()
    assert library is not None
    best_way = library.best_way if chosen == library.best_set else WIDENED
    ours = partial(multiply, library=library._replace(best_set=chosen, best_way=best_way))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape).to(kind)

    def plain(name: str, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Case:
        out = torch.empty(*a.shape[:-1], b.shape[-1], dtype=kind)
        one = partial(torch.matmul, a, b, out=out) if bias is None else partial(torch.addmm, bias, a, b, out=out)
        return Case(name, partial(ours, a, b, bias=bias, out=out), one, 2 * out.numel() * b.shape[-2])

    x, weight, gates = drawn(rows, hidden), drawn(4 * hidden, hidden), drawn(rows, 4 * hidden)
    yield plain(f"{hidden}: input", x, weight.t(), drawn(4 * hidden))
    yield plain(f"{hidden}: gradient of the input", gates, weight)
    yield plain(f"{hidden}: gradient of weights", gates.t(), x)
    decoder, d_logits = drawn(vocabulary, hidden), drawn(rows, vocabulary)
    yield plain(f"{hidden}: decoder", x, decoder.t(), drawn(vocabulary))
    yield plain(f"{hidden}: decoder, gradient of its input", d_logits, decoder)
    yield plain(f"{hidden}: decoder, gradient of its weights", d_logits.t(), x)
    part = drawn(16, hidden // 4, hidden)
    yield plain(f"{hidden}: Muon, X X^T", part, part.mT)
    gram = drawn(16, hidden // 4, hidden // 4)
    for name, c, a, b, alpha, beta in [
        ("b G + c G G", gram, gram, gram, 2.0, -4.8),
        ("a X + G X", part, gram, part, 1.0, 3.4),
    ]:
        out = torch.empty_like(c)
        mine = partial(ours, a, b, added=c, alpha=alpha, beta=beta, out=out)
        yield Case(f"{hidden}: Muon, {name}", mine, partial(torch.baddbmm, c, a, b, alpha=alpha, beta=beta, out=out),
                   2 * out.numel() * b.shape[-2])  # fmt: skip


def timed(case: Case, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of one product in each round, ours and torch's."""
    seconds: tuple[list[float], list[float]] = ([], [])
    case.torchs()
    times = max(1, int(MOMENT / _seconds(case.ours, 2)))
    for _ in range(rounds):
        for run, found in zip((case.ours, case.torchs), seconds, strict=True):
            found.append(_seconds(run, times))
    return seconds


def _seconds(run: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def main() -> None:
    """Reads options, prints a line for each product as soon as it is known."""
    parser = argparse.ArgumentParser(description="The matrix products of a training step, ours and torch's.")
    parser.add_argument("--kind", choices=KINDS, default="fp32")
    parser.add_argument("--set", choices=SETS)
    parser.add_argument("--hidden", default="128,192,256,320,512,1024")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if options.set == "avx2" and not HELD_TO_AVX2.keys() <= os.environ.keys():
        command = [sys.executable, "-m", "tests.benchmarks.products", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env={**os.environ, **HELD_TO_AVX2}, check=False).returncode)
    library = find_library()
    if library is None:
        raise SystemExit("the library was not compiled here")
    chosen = library.best_set if options.set is None else SETS.index(options.set)
    if chosen > library.best_set:
        raise SystemExit(f"this CPU has no {options.set}")
    torch.set_num_threads(1)
    crew.set_most_threads(1)
    torch.manual_seed(1)
    print(f"{options.kind}, {SETS[chosen]}, {torch.backends.cpu.get_cpu_capability()} in torch; Gflop/s")
    for hidden in map(int, options.hidden.split(",")):
        for case in cases(hidden, options.rows, options.vocabulary, KINDS[options.kind], chosen):
            ours, torchs = timed(case, options.rounds)
            share = statistics.median(theirs / mine for mine, theirs in zip(ours, torchs, strict=True))
            speeds = [case.operations / statistics.median(one) / 1e9 for one in (ours, torchs)]
            print(f"{case.name:42s} {speeds[0]:7.1f} {speeds[1]:7.1f} {share:6.2f}", flush=True)


if __name__ == "__main__":
    main()
