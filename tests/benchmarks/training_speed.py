"""How fast a step of training is: beside its peers, and beside the arithmetic that torch's matrix product reaches.

Every step is made and run in a worker of its own, one for each number of threads; see `training.py` for what the
columns mean. Knows what is compared with what. Refuses to know how a step is made.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charrnn.network.precision import choose_precision
from tests.benchmarks import peers
from tests.benchmarks.neighbours import busy
from tests.benchmarks.steps import CPU, MOMENT, Shape
from tests.benchmarks.workers import Worker, in_turn

HERE = Path(__file__).parent
PRODUCT = 2048  # rows and columns of the peak's matrices

Row = dict[str, Any]
Key = tuple[str, int]
"""Who, and with how many threads."""


def resolved(precisions: Iterable[str]) -> list[str]:
    """The precisions, each once, and what auto comes to here instead of auto."""
    return list(dict.fromkeys(choose_precision(name, CPU) if name == "auto" else name for name in precisions))


def _make(worker: Worker, who: str, shape: Shape) -> Any:
    """Makes the step of `who` in its worker; returns what it tells."""
    if who == "plain":
        return worker.make(HERE / "our_loops.py", "plain_training", shape=list(shape))
    if who in (peers.JAX, peers.DIFFERENTIATED):
        only = {"only": "autodiff"} if who == peers.DIFFERENTIATED else {}
        return worker.make(HERE / "jax_training.py", "training", shape=list(shape), **only)
    kind, precision = who.split()
    if kind == "product":
        return worker.make(HERE / "our_loops.py", "product", size=PRODUCT, precision=precision)
    return worker.make(HERE / "our_loops.py", "training", shape=list(shape), precision=precision)


def speed(
    shapes: Iterable[Shape],
    precisions: list[str],
    rounds: int,
    threads: list[int],
    load: int = 0,
    moment: float = MOMENT,
    others: tuple[str, ...] = (peers.JAX, peers.DIFFERENTIATED),
) -> Iterator[Row]:
    """Characters a second of the steps, each with its better number of threads, and ratios of ours to the others'."""
    ours = [f"ours {precision}" for precision in resolved(precisions)]
    names = [*ours, "plain", *peers.installed(others)]
    with contextlib.ExitStack() as stack:
        workers: dict[Key, Worker] = {
            (who, count): stack.enter_context(Worker(count, environment=peers.environment(count)))
            for who in names
            for count in threads
        }
        for shape in shapes:
            told = {key: _make(worker, key[0], shape) for key, worker in workers.items()}
            with busy(load):
                taken = in_turn({" ".join(map(str, key)): worker for key, worker in workers.items()}, rounds, moment)
            rates = {key: [shape.characters * rate for rate in taken[" ".join(map(str, key))]] for key in workers}
            best = {
                who: max(((who, count) for count in threads), key=lambda key: statistics.median(rates[key]))
                for who in names
            }
            yield _speed_row(shape, {who: rates[key] for who, key in best.items()}, len(ours)) | {
                **({f"{who} threads": key[1] for who, key in best.items()} if len(threads) > 1 else {}),
                **{f"{who} way": told[best[who]]["way"] for who in best if "way" in (told[best[who]] or {})},
                **({"busy": load} if load else {}),
            }


def _speed_row(shape: Shape, rates: dict[str, list[float]], ours: int) -> Row:
    """Medians, and for the first `ours` of the `rates` the median, least and most of the rounds' ratios to the rest."""
    row: Row = {"shape": str(shape), **{f"{who} c/s": round(statistics.median(each)) for who, each in rates.items()}}
    for name in list(rates)[:ours]:
        for peer in list(rates)[ours:]:
            ratios = [own / other for own, other in zip(rates[name], rates[peer], strict=True)]
            row[f"{name}/{peer}"] = statistics.median(ratios)
            if peer == "plain":
                row |= {f"{name} lowest": min(ratios), f"{name} highest": max(ratios)}
    return row


def peak(
    shapes: Iterable[Shape],
    precisions: list[str],
    rounds: int,
    threads: list[int],
    load: int = 0,
    moment: float = MOMENT,
) -> Iterator[Row]:
    """Arithmetic of the steps as a share of the matrix product's with the same number of threads."""
    shapes, ours = list(shapes), [f"ours {precision}" for precision in resolved(precisions)]
    kinds = sorted({_kind(name) for name in [*ours, "plain"]})
    products = {kind: f"product {kind}" for kind in kinds}
    for count in threads:
        best, found = dict.fromkeys(kinds, 0.0), []
        with contextlib.ExitStack() as stack:
            workers = {who: stack.enter_context(Worker(count)) for who in [*products.values(), *ours, "plain"]}
            for name in products.values():
                _make(workers[name], name, shapes[0])
            for shape in shapes:
                for who in [*ours, "plain"]:
                    _make(workers[who], who, shape)
                with busy(load):
                    rates = in_turn(workers, rounds, moment)
                medians = {who: statistics.median(each) for who, each in rates.items()}
                for kind, name in products.items():
                    best[kind] = max(best[kind], 2e-9 * PRODUCT**3 * max(rates[name]))
                found.append((shape, medians))
        for shape, medians in found:
            yield _peak_row(shape, count, medians, best)


def _peak_row(shape: Shape, threads: int, medians: dict[str, float], best: dict[str, float]) -> Row:
    """Shares of `best` Gflop/s by precision, and of the product's median, by `medians` in steps a second."""
    row: Row = {"shape": str(shape), "threads": threads, **{f"{kind} gflops": rate for kind, rate in best.items()}}
    typical = {kind: 2e-9 * PRODUCT**3 * medians[f"product {kind}"] for kind in best}
    row |= {f"{kind} median gflops": rate for kind, rate in typical.items()}
    for counted, with_first in (("all", True), ("needed", False)):
        row[f"{counted} gflop"] = shape.operations(with_first=with_first) / 1e9
        for name, rate in medians.items():
            if not name.startswith("product"):
                done = row[f"{counted} gflop"] * rate
                row[f"{name} {counted}"] = done / best[_kind(name)]
                row[f"{name} {counted} of median"] = done / typical[_kind(name)]
    return row


def _kind(name: str) -> str:
    """The precision in a step's name; the plain one's is fp32."""
    return "bf16" if name.endswith("bf16") else "fp32"
