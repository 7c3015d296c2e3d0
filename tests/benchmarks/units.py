"""What is known of a few labels in runs of several seeds: the table of one text, made by the commands of `inspect`.

    python -m tests.benchmarks.units TEXT -c RUN -c RUN ... [--label L ...] [--split validation] [--record FOLDER]

For each label (those that the first run's units tell, unless some are named) a row: the unit of the first run that
tells it best, how well (AUC or rho) and with which F1; k, how many units of its state tell it as well as all do; how
much of the conclusion is carried by the state that tells it best, taken out and put in, beside the most that random
units carry; how many units its circuit has, and how much of what all units are worth it keeps on the other half; and in
how many of the other runs the unit comes back, and any unit tells the label. The commands are printed as they run:
`inspect` with --find, --recurrence, and for each label --patch and --circuit. What a command refuses is said, and the
cell stays empty. With --record, their answers are kept in a folder, and a command that has been answered is not run
again: take another folder for other runs of the same names, or another state of the program.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charrnn.display.find import RHO, short

Numbers = Mapping[str, Any]
Ask = Callable[..., Numbers | None]
"""Runs `charrnn inspect` of the text with these words; returns None where the command refused."""

NAMES = (
    "label", "unit", "tells", "F1", "k", "taken out", "put in", "random", "circuit", "it keeps", "comes back", "known",
)  # fmt: skip
"""The columns of the table."""


def asking(text: str, more: Sequence[str], record: Path | None) -> Ask:
    """Returns a function that runs a command and prints it, or reads from `record` what it has said before."""

    def ask(*words: str) -> Numbers | None:
        line = ["inspect", text, *more, *words, "--json"]
        print(f"$ charrnn {shlex.join(line)}", flush=True)
        file = record and record / f"{hashlib.sha256(json.dumps(line).encode()).hexdigest()[:16]}.json"
        if file and file.exists():
            return _numbers(file.read_text("utf-8"))
        made = subprocess.run([sys.executable, "-m", "charrnn", *line], capture_output=True, text=True, check=False)
        if made.returncode not in (0, 2, 3):
            raise SystemExit(made.stderr)
        if made.returncode:
            print(made.stderr.strip(), flush=True)
            return None
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(made.stdout, "utf-8")
        return _numbers(made.stdout)

    return ask


def _numbers(out: str) -> Numbers:
    numbers: Numbers = json.loads(out)
    return numbers


def rows(ask: Ask, runs: Sequence[str], labels: Sequence[str]) -> list[list[str]]:
    """Returns the cells of each label's row, which stand below `NAMES`."""
    first, every = ("-c", runs[0]), [word for run in runs for word in ("-c", run)]
    found, again = ask(*first, "--find"), ask(*every, "--recurrence")
    if found is None or again is None:
        raise SystemExit("the text is too short for --find and --recurrence")
    findings = {one["label"]: one for one in found["findings"]}
    recurring = {one["label"]: one for one in again["findings"]}
    made = []
    for label in labels or list(recurring):
        if label not in findings:
            raise SystemExit(f"{label} is no label that --find measures in this text: {', '.join(findings)}")
        patch, circuit = (ask(*first, flag, label) for flag in ("--patch", "--circuit"))
        made.append(
            [
                label,
                *_telling(findings[label]),
                *_carrying(patch),
                *_circuit(circuit),
                *_returning(recurring.get(label), len(runs) - 1),
            ]
        )
    return made


def _telling(finding: Numbers) -> list[str]:
    effect, is_graded = finding["effect"], finding["is_graded"]
    tells = f"{RHO} {short(effect)}" if is_graded else short((1 + abs(effect)) / 2)
    low = " (low)" if effect < 0 and not is_graded else ""
    k = finding["k"]
    return [
        finding["unit"] + low,
        tells + {"found": ""}.get(finding["verdict"], f", {finding['verdict']}"),
        "" if finding["f1"] is None else short(finding["f1"]),
        "" if k is None else str(k),
    ]


def _carrying(found: Numbers | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    carried, *_ = found["patch"]["carried"]  # the best unit, and then several together
    both = "taken_out", "put_in"
    others = [one[way]["value"] for one in carried["random"] for way in both if one[way]["value"] is not None]
    random = max(others, key=abs, default=None)
    return [*(f"{_percent(carried[way]['value'])}{_within(carried[way])}" for way in both), _percent(random)]


def _within(mean: Numbers) -> str:
    return "" if mean["low"] is None else f" ({_percent(mean['low'])} to {_percent(mean['high'])})"


def _circuit(found: Numbers | None) -> list[str]:
    if found is None:
        return ["", ""]
    return [f"{len(found['circuit'])} of {found['units']}", _percent(found["second"]["faithfulness"])]


def _returning(one: Numbers | None, others: int) -> list[str]:
    if one is None:
        return ["not found", ""]
    sizes = sorted(abs(each["r"]) for each in one["returns"])
    return [f"{one['back']} of {others} (r {short(sizes[0])} to {short(sizes[-1])})", f"{one['known']} of {others}"]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def table(cells: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table of rows below `NAMES`."""
    lines = [NAMES, ["---"] * len(NAMES), *cells]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("text")
    parser.add_argument("-c", "--checkpoint", action="append", required=True, metavar="RUN")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--split", choices=("all", "train", "validation", "test"), default="all")
    parser.add_argument("--record", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if len(asked.checkpoint) < 2:
        parser.error("name two runs or more")
    more = [] if asked.split == "all" else ["--split", asked.split]
    print("\n" + table(rows(asking(asked.text, more, asked.record), asked.checkpoint, asked.label)))


if __name__ == "__main__":
    main()
