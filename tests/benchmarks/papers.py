"""The figures to set beside the papers', in one command.

    python -m tests.benchmarks.papers --corpora FOLDER --record FILE [--device cuda] [--only REGEX] [--minutes 10]
                                      [--seconds 560]
    python -m tests.benchmarks.papers --table-2015 --device cpu --threads 1 --corpora FOLDER --record FILE
                                      [--only REGEX] [--epochs 50] [--dropout 0.1] [--seconds 560]
    python -m tests.benchmarks.papers ... --rehearse      tiny models and budgets: only whether it runs

FOLDER holds ptb-char/{train,valid,test}.txt, warandpeace.txt and tinyshakespeare.txt. Each of `TARGETS` is trained once
for --minutes (`quality.py`: the real command, scored streamed, windowed and by dynamic evaluation), one line of JSON
each; what the record has is not trained again. Marks are what the project asks of itself: 1.20 bits on the Penn
Treebank's test text with at most 14 million parameters and 1.175 (AWD-LSTM: Merity, Keskar & Socher 2018) with dynamic
evaluation, 1.05 nats on War and Peace, 1.42 nats streamed and 1.45 windowed on the last tenth of tiny Shakespeare.

With --table-2015 the rows of `table_2015.py` are trained and scored in the place of these (--only '2015-64-gru$' for
one of them; --epochs for shorter runs; --dropout, which the paper chose for each model, 0 where it is not given), and
the table of all that the record has is printed at the end.

With --seconds it stops when that time is up, by the clock, and leaves with exit status 75. The same command in the same
folder goes on: runs are kept under checkpoints/, training resumes exactly, and each scoring that was done is kept
beside its run. A scoring that was stopped starts over.

The targets' sizes are such as cuDNN's persistent kernel takes (`charrnn/network/cudnn.py`); their settings were chosen
without a GPU at hand and have not run on one.

Knows targets. Refuses to know how they are trained and scored.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks import quality, table_2015
from tests.benchmarks.continued import Continued, OutOfTime
from tests.benchmarks.target import Target

_WIDE = ("--layers", "2", "--hidden", "1024", "--embedding", "128", "--bptt", "128")
TARGETS = (
    Target(
        "ptb-char",
        ("--train", "{}/ptb-char/train.txt", "--validation", "{}/ptb-char/valid.txt", "--test", "{}/ptb-char/test.txt",
         "--dynamic"),
        (*_WIDE, "--batch", "64", "--dropout", "0.5"),
        {"1.20 bits": ("test", "streamed", "bits"), "1.175 bits, dynamic": ("test", "dynamic", "bits")},
    ),
    Target(
        "warandpeace",
        ("--corpus", "{}/warandpeace.txt", "--validation-fraction", "0.1", "--test-fraction", "0.1", "--lineends",
         "--dynamic"),
        (*_WIDE, "--batch", "32", "--dropout", "0.5"),
        {"1.05 nats": ("test", "streamed", "nats")},
    ),
    Target(
        "tinyshakespeare",
        ("--corpus", "{}/tinyshakespeare.txt", "--validation-fraction", "0.1"),
        ("--layers", "1", "--hidden", "512", "--embedding", "128", "--bptt", "64", "--batch", "16", "--dropout", "0.5",
         "--epochs", "8"),
        {"1.42 nats": ("validation", "streamed", "nats"), "1.45 nats, windowed": ("validation", "windowed", "nats")},
    ),
)  # fmt: skip

GOES_ON = 75  # the exit status where time was up: EX_TEMPFAIL
TINY = ("--layers", "1", "--hidden", "8", "--embedding", "4", "--bptt", "16", "--batch", "2", "--steps", "6")


def rehearsed(target: Target) -> Target:
    """The same with a tiny model, and only so much of a search as shows that it runs."""
    cell = target.options[: target.options.index("--layers")]
    text = (*target.text, "--tune-length", "40")
    return replace(target, text=text, options=(*cell, *TINY), folder="checkpoints/rehearsal")


def of_epochs(target: Target, epochs: float) -> Target:
    """The same with another budget in the place of its own epochs."""
    options = list(target.options)
    options[options.index("--epochs") + 1] = f"{epochs:g}"
    return replace(target, options=tuple(options))


def words_for(
    target: Target, folder: str, device: str, minutes: float, record: Path | None = None, threads: int | None = None
) -> list[str]:
    """What `quality` is told."""
    has_budget = {"--epochs", "--steps"} & set(target.options)
    budget = [] if has_budget else ["--minutes", f"{minutes:g}"]
    kept = [] if record is None else ["--record", str(record)]
    text = [word.replace("{}", folder) for word in target.text]
    named = ["--name", target.name, "--out", target.run, "--device", device]
    named += [] if threads is None else ["--threads", str(threads)]
    return [*text, *named, *budget, *kept, "--", *target.options]


def verdicts(target: Target, row: dict[str, Any]) -> list[str]:
    """A line for each mark: the figure, and whether it is met."""
    lines = []
    for mark, path in target.marks.items():
        figure: Any = row
        for key in path:
            figure = figure.get(key) if isinstance(figure, dict) else None
        if figure is not None:
            wanted = float(mark.split()[0])
            lines.append(f"{target.name}: {figure:.4f}, {'met' if figure <= wanted else 'not met'}: {mark}")
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Trains and scores what the record lacks; prints how all of it stands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", required=True, metavar="FOLDER")
    parser.add_argument("--record", required=True, type=Path, metavar="FILE")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu", "mps", "auto"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--table-2015", action="store_true", help="the rows of that table in the place of the targets")
    parser.add_argument("--epochs", type=float, help="of each row of the table (default: 50)")
    parser.add_argument("--dropout", type=float, help="in each row of the table (default: 0)")
    parser.add_argument("--seconds", type=float, help="by the clock, for this call (default: no limit)")
    parser.add_argument("--rehearse", action="store_true", help="tiny models and budgets")
    given = parser.parse_args(words)
    deadline = None if given.seconds is None else time.monotonic() + given.seconds
    for flag in ("epochs", "dropout"):
        if getattr(given, flag) is not None and not given.table_2015:
            parser.error(f"--{flag} is for --table-2015")
    given.record.touch()
    targets = table_2015.ROWS if given.table_2015 else TARGETS
    if given.epochs is not None:
        targets = tuple(of_epochs(target, given.epochs) for target in targets)
    targets = tuple(target for target in targets if re.search(given.only, target.name))
    if given.dropout:
        targets = tuple(table_2015.with_dropout(target, given.dropout) for target in targets)
    for target in map(rehearsed, targets) if given.rehearse else targets:
        rows = [json.loads(line) for line in given.record.read_text("utf-8").splitlines()]
        if not any(row["name"] == target.name for row in rows):
            asked = words_for(target, given.corpora, given.device, given.minutes, given.record, given.threads)
            run = Continued(Path(target.run), deadline)
            try:
                quality.main(asked, run)
            except OutOfTime as stopped:
                print(f"{target.name}: {stopped}; the same command goes on", file=sys.stderr)
                raise SystemExit(GOES_ON) from None
            rows = [json.loads(line) for line in given.record.read_text("utf-8").splitlines()]
        found = next(row for row in reversed(rows) if row["name"] == target.name)
        print(*verdicts(target, found), sep="\n")
    if given.table_2015:
        print(table_2015.markdown(map(json.loads, given.record.read_text("utf-8").splitlines())), end="")


if __name__ == "__main__":
    main()
