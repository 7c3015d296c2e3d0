"""Megabytes a second of encoding a text that is not in the cache yet, beside what else can be done with its bytes.

    python -m tests.benchmarks.encoding [--json] [--megabytes N]

Encoding is `charrnn.text.corpus.load` of one file: hashing, finding the characters, writing the ids, hashing again.
The text is made here: sentences of invented words, in kinds that differ in how many characters are not ASCII. Beside
it, of the same bytes in the same round:

    sha256          taken once: encoding takes it twice, so half of this is its limit
    decode+encode   bytes to str to bytes, as one piece: what a program pays that does nothing with its text
    unique          numpy's sorted characters with each one's place, for a text that is in memory
    dictionary      what every tutorial writes: sorted(set(text)), and a look-up a character

All on one core, in megabytes a second of this process's time (`wall`: of the clock's), as medians over rounds. What is
compared gets the first megabyte of the text. `peak` is the most memory, in megabytes, that the process has had by then:
it does not grow with N.

Knows the whole way of a file into the cache. Refuses to know how it is gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from charrnn.settings.config import DataConfig
from charrnn.text.cache import cache_folder
from charrnn.text.corpus import load
from charrnn.text.sources import Source

LATIN = "eeetttaaooiinnsshhrrddllucmfwypvbgkqjxz"
CYRILLIC = "оооееааиинтсрвлкмдпуяыьгзбчйхжшюцщэф"
SCATTERED = ("’", "“", "”", "é", "—", "ö")
# letters, sentences in which one letter becomes a scattered character, byte mode
KINDS = {
    "mostly ascii": (LATIN, 0.25, False),
    "ascii": (LATIN, 0.0, False),
    "cyrillic": (CYRILLIC, 0.0, False),
    "bytes": (LATIN, 0.25, True),
}
PART = 1_000_000  # bytes for what is in memory
ROUNDS = 5


def sentences(letters: str, share: float, number: int = 16_000, seed: int = 0) -> list[str]:
    """Lines of words of an invented lexicon, its first words the most frequent; `share` of them are not ASCII."""
    pick = random.Random(seed)
    lexicon = ["".join(pick.choices(letters, k=pick.randint(1, 9))) for _ in range(3000)]
    weights = [1 / rank for rank in range(1, len(lexicon) + 1)]
    lines = []
    for _ in range(number):
        line = " ".join(pick.choices(lexicon, weights, k=pick.randint(6, 18))).capitalize() + pick.choice(".!?") + "\n"
        if pick.random() < share:
            place = pick.randrange(len(line) - 1)
            line = line[:place] + pick.choice(SCATTERED) + line[place + 1 :]
        lines.append(line)
    return lines


def _write(path: Path, lines: list[str], num_bytes: int) -> None:
    pick = random.Random(1)
    left = num_bytes
    with open(path, "wb") as file:
        while left > 0:  # never twice in the same order
            pick.shuffle(lines)
            left -= file.write("".join(lines).encode())


def _dictionary(text: str) -> object:
    ids = {character: id_ for id_, character in enumerate(sorted(set(text)))}
    return np.array([ids[character] for character in text], np.uint8)


def _unique(text: str) -> object:
    return np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)


def _speeds(work: Callable[[], object], num_bytes: int) -> tuple[float, float]:
    """Megabytes a second of this process's time, and of the clock's."""
    clock, used = time.perf_counter(), time.process_time()
    work()
    return num_bytes / 1e6 / (time.process_time() - used), num_bytes / 1e6 / (time.perf_counter() - clock)


def _peak() -> int:
    """Megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (1_000_000 if sys.platform == "darwin" else 1000)


def measure(kind: str, megabytes: int, folder: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Medians of everything, interleaved."""
    letters, share, as_bytes = KINDS[kind]
    path = folder / "text.txt"
    _write(path, sentences(letters, share), megabytes * 1_000_000)
    size = path.stat().st_size
    with open(path, "rb") as file:
        part = file.read(PART)
    text = part.decode(errors="ignore")
    speeds: dict[str, list[float]] = {}

    others: dict[str, Callable[[], object]] = {
        "sha256": lambda: hashlib.sha256(part).digest(),
        "decode+encode": lambda: part.decode(errors="ignore").encode(),
        "unique": lambda: _unique(text),
        "dictionary": lambda: _dictionary(text),
    }
    for _ in range(rounds):
        shutil.rmtree(cache_folder() / "corpora", ignore_errors=True)
        taken = _speeds(lambda: load([Source(path, kind)], DataConfig(as_bytes=as_bytes), name=kind), size)
        for name, speed in zip(("encoding", "wall"), taken, strict=True):
            speeds.setdefault(name, []).append(speed)
        for name, work in others.items():
            speeds.setdefault(name, []).append(_speeds(work, len(part))[0])
    return {name: round(statistics.median(taken), 1) for name, taken in speeds.items()} | {"peak": _peak()}


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encoding")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--megabytes", type=int, default=32, help="length of the text")
    options = parser.parse_args()
    rows = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CHARRNN_CACHE"] = folder
            rows.append({"text": kind, **measure(kind, options.megabytes, Path(folder))})
        if not options.json:
            print("   ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps({"megabytes": options.megabytes, "python": sys.version.split()[0], "rows": rows}))


if __name__ == "__main__":
    main()
