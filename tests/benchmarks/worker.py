"""A process that runs a loop for a while whenever its parent says so; `workers.py` is the parent's side.

    python -P worker.py

Orders come as lines of JSON on stdin and answers leave as lines on stdout; what a library prints goes to stderr. The
loop's module is loaded by its path, so what it imports may be another checkout's, by PYTHONPATH. Where the parent ends,
so does the worker: its stdin does. Knows orders and a clock. Refuses to know what is measured.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Loop = Callable[[int], object]
"""Does so many steps."""


class _Bench:
    """The loop of the moment, and how many of its steps are done between two looks at the clock."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._unit = 2
        self._modules: dict[str, Any] = {}

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Does one order: `make` a loop, `run` it for some `seconds`, or for `length` steps."""
        if order["do"] == "make":
            return self._make(order)
        if "length" in order:
            began = time.perf_counter()
            self._ready(order["length"])
            return {"steps": order["length"], "seconds": time.perf_counter() - began}
        return self._run(order["seconds"])

    def _make(self, order: dict[str, Any]) -> dict[str, Any]:
        self._loop = None
        gc.collect()
        path = order["file"]
        if path not in self._modules:
            spec = importlib.util.spec_from_file_location("loops_of_this_worker", path)
            assert spec is not None
            assert spec.loader is not None
            self._modules[path] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._modules[path])
        self._loop, told = getattr(self._modules[path], order["function"])(order["threads"], **order["arguments"])
        # Even numbers of steps: Muon does more in every second one. The first are for kernels to be chosen.
        self._ready(2)
        self._unit, seconds = 1, 0.0
        while seconds < order["between_looks"] and self._unit < 1 << 24:
            self._unit *= 2
            seconds = self._run(0.0)["seconds"]
        return {"told": told}

    def _ready(self, length: int) -> None:
        assert self._loop is not None, "run comes after make"
        self._loop(length)

    def _run(self, seconds: float) -> dict[str, Any]:
        began, steps = time.perf_counter(), 0
        while True:
            self._ready(self._unit)
            steps += self._unit
            taken = time.perf_counter() - began
            if taken >= seconds:
                return {"steps": steps, "seconds": taken}


def main() -> None:
    """Obeys until stdin ends."""
    answers = os.dup(1)
    os.dup2(2, 1)
    bench = _Bench()
    for line in sys.stdin:
        try:
            answer = bench.obey(json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        try:
            os.write(answers, f"{json.dumps(answer)}\n".encode())
        except BrokenPipeError:  # the parent has ended meanwhile
            return


if __name__ == "__main__":
    main()
