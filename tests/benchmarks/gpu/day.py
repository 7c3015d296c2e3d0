"""All that is to be measured on a day with a GPU, planned against the clock: one file for each part, at once.

Each part is a process of its own (the tests are many), so that what breaks one leaves the next alone. A part gets what
time the later ones can spare, between its least and its most; it is skipped where less than its least is left.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import papers
from tests.benchmarks.command import ROOT
from tests.benchmarks.gpu import processes, suite
from tests.benchmarks.gpu.figures import LEFT_OUT
from tests.benchmarks.gpu.goals import judged
from tests.benchmarks.gpu.processes import Job

BUDGET = 570.0  # seconds, so that all is over within ten minutes
MARGIN = 8.0  # seconds in which a part that plans its time itself starts and ends
PAPER = papers.TARGETS[0]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was asked for."""

    folder: Path
    """For the files."""
    corpus: Path | None = None
    """Tiny Shakespeare."""
    corpora: Path | None = None
    """The folder of `papers.py`."""
    minutes: float | None = None
    """Of training for the paper's figure, over all calls."""
    rounds: int = 3
    at_once: int = suite.AT_ONCE
    tests: str = suite.TESTS
    is_rehearsal: bool = False

    @property
    def device(self) -> str:
        """Where everything runs."""
        return "cpu" if self.is_rehearsal else "cuda"

    @property
    def rehearsing(self) -> list[str]:
        """A word for every command."""
        return ["--rehearse"] if self.is_rehearsal else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file's worth of measuring."""

    name: str
    least: float
    """Seconds, without which it is not worth starting."""
    most: float
    """Seconds that it may take."""
    run: Callable[[Given, float], Row]
    """Gives its findings within so many seconds; `failed` says what went wrong."""
    lacks: Callable[[Given], str | None] = lambda _: None
    """Why it cannot be done, if so."""


def _measured(given: Given, name: str, seconds: float, *words: str) -> Row:
    """What a benchmark prints as JSON; if it did not come to that, the rows that it had kept until then."""
    kept = given.folder / f"{name}.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        job = Job(
            name=name, words=[sys.executable, "-m", *words], seconds=seconds, log=given.folder / f"{name}.log", out=out
        )
        (ended,) = processes.run([job])
        printed = out.read_text("utf-8").strip()
    found: Row = {}
    if ended.how == "timed out":
        found["failed"] = f"it was not done after {seconds:.0f} s"
    elif ended.status:
        found["failed"] = f"exit status {ended.status}, see {name}.log"
    try:
        return {**found, **json.loads(printed.rpartition("\n")[2])}
    except ValueError:
        rows = kept.read_text("utf-8").splitlines() if kept.exists() else []
        return {"failed": f"it printed no figures, see {name}.log", **found, **assembled(rows)}


def assembled(lines: Iterable[str]) -> Row:
    """Rows that were kept as lines of JSON, by part as they are printed at the end; a line that was cut is left out."""
    found: Row = {}
    for line in lines:
        if line.endswith("}"):
            row = json.loads(line)
            part = row.pop("part", None)
            if part is None:
                found |= row
            else:
                found.setdefault(part, []).append(row)
    return found


def _environment(given: Given, seconds: float) -> Row:
    return _measured(given, "environment", seconds, "tests.benchmarks.gpu.environment", "--device", given.device)


def _tests(given: Given, seconds: float) -> Row:
    log, deadline = given.folder / "tests.log", time.monotonic() + seconds - processes.GRACE
    return suite.run(log, deadline, tests=given.tests, at_once=given.at_once)


def _figures(given: Given, name: str, seconds: float, *parts: str) -> Row:
    """Those of this command's own parts."""
    own = ["--json", "--out", str(given.folder / f"{name}.jsonl"), "--budget", f"{seconds - MARGIN:.0f}"]
    own += ["--rounds", str(given.rounds), *(["--corpus", str(given.corpus)] if given.corpus else [])]
    found = _measured(given, name, seconds, "tests.benchmarks.gpu", *parts, *own, *given.rehearsing)
    return {"ran": [part for part in parts if part in found], **found}


def _training(given: Given, seconds: float) -> Row:
    return _figures(given, "training", seconds, "speed", "floors", "kernels", "sizes")


def _quality(given: Given, seconds: float) -> Row:
    return _figures(given, "quality", seconds, "time")


def _sampling(given: Given, seconds: float) -> Row:
    own = ["--device", given.device, "--quick", "--json", "--out", str(given.folder / "sampling.jsonl")]
    return _measured(given, "sampling", seconds, "tests.benchmarks.sampling", *own, *given.rehearsing)


def _papers(given: Given, seconds: float) -> Row:
    record = given.folder / "papers.jsonl"
    words = ["--corpora", str(given.corpora), "--record", str(record), "--only", f"^{PAPER.name}$", "--device"]
    words += [given.device, "--minutes", f"{given.minutes:g}", "--seconds", f"{seconds - MARGIN:.0f}"]
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            folder=Path(folder) if given.is_rehearsal else ROOT, name="papers", seconds=seconds,
            words=[sys.executable, "-m", "tests.benchmarks.papers", *words, *given.rehearsing],
            log=given.folder / "papers.log", out=Path(folder) / "out",
        )  # fmt: skip
        (ended,) = processes.run([job])
    rows = [json.loads(line) for line in record.read_text("utf-8").splitlines()] if record.exists() else []
    if ended.status == papers.GOES_ON or ended.how == "timed out":
        return {"left out": [{"of": PAPER.name, "skipped": "the time was up: the same command goes on"}]}
    if ended.status or not rows:
        return {"failed": f"exit status {ended.status}, see papers.log"}
    return {"verdicts": papers.verdicts(PAPER, rows[-1]), "figures": rows[-1]}


def _no_corpus(given: Given) -> str | None:
    return None if given.corpus else "it needs tiny Shakespeare: give --corpus FILE"


def _no_paper(given: Given) -> str | None:
    if given.minutes is None:
        return "it was not asked for: give --papers MINUTES"
    if given.corpora is None or not (given.corpora / PAPER.name).is_dir():
        return f"it needs a folder that holds {PAPER.name}/: give --corpora FOLDER"
    return None


PARTS = (
    Part(name="environment", least=15, most=60, run=_environment),
    Part(name="tests", least=60, most=200, run=_tests),
    Part(name="training", least=60, most=190, run=_training),
    Part(name="quality", least=60, most=170, run=_quality, lacks=_no_corpus),
    Part(name="sampling", least=30, most=70, run=_sampling),
    Part(name="papers", least=60, most=float("inf"), run=_papers, lacks=_no_paper),
)


def allowed(left: float, part: Part, later: Sequence[Part]) -> float:
    """Seconds that `part` gets of those that are `left`: what the `later` ones can spare, or else its own least."""
    return min(part.most, left, max(part.least, left - sum(one.least for one in later)))


class Day:
    """The files of a day, and what is to be said of all of it."""

    def __init__(self, given: Given, parts: Sequence[Part], budget: float) -> None:
        self._given, self._parts, self._budget = given, parts, budget
        self._end = time.monotonic() + budget
        self._found: dict[str, Row] = {}
        self._states: dict[str, Row] = {part.name: {"state": "not begun"} for part in parts}
        given.folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> bool:
        """Whether nothing failed."""
        lacking = {part.name: part.lacks(self._given) for part in self._parts}
        for number, part in enumerate(self._parts):
            later = [one for one in self._parts[number + 1 :] if lacking[one.name] is None]
            self._keep(part, *self._do(part, lacking[part.name], later))
        return not any(row["state"] == "failed" for row in self._states.values())

    def _do(self, part: Part, lacks: str | None, later: Sequence[Part]) -> tuple[Row, Row]:
        """What is found, and how the part stands."""
        left = self._end - time.monotonic()
        seconds = allowed(left, part, later)
        if lacks is None and seconds < part.least:
            lacks = f"{left:.0f} s are left of {self._budget:.0f}, and it takes {part.least:.0f} at least"
        if lacks is not None:
            return {}, {"state": "skipped", "why": lacks}
        print(f"{part.name}: {seconds:.0f} s at most", file=sys.stderr, flush=True)
        began = time.monotonic()
        found = part.run(self._given, seconds)
        state: Row = {"state": "done", "seconds": round(time.monotonic() - began, 1), "of": round(seconds, 1)}
        if "failed" in found:
            state |= {"state": "failed", "why": found.pop("failed")}
        elif found.get(LEFT_OUT):
            state |= {"state": "done in part", "why": f"{len(found[LEFT_OUT])} left out"}
        return found, state

    def _keep(self, part: Part, found: Row, state: Row) -> None:
        """Writes the part's file, and what is known of all parts so far."""
        self._found[part.name], self._states[part.name] = found, state
        if part.name == "quality":
            found = {"goals": judged({**self._found.get("training", {}), **found}), **found}
            self._found[part.name] = found
        head = {"part": part.name, "rehearsal": self._given.is_rehearsal, **state}
        # A file may come to somebody without the others.
        head["day"] = {name: row["state"] for name, row in self._states.items()}
        head["tests"] = self._found.get("tests", {}).get("counts", "not run yet")
        self._write(f"{part.name}.json", {**head, **found})
        self._write(
            "parts.json", {"budget": self._budget, "rehearsal": self._given.is_rehearsal, "parts": self._states}
        )

    def _write(self, name: str, row: Row) -> None:
        (self._given.folder / name).write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def told(self) -> list[str]:
        """A line for each part, the counts of the tests, their failures, and the goals."""
        lines = []
        for name, state in self._states.items():
            took = f" in {state['seconds']:.0f} s" if "seconds" in state else ""
            lines.append(f"{name}: {state['state']}{took}{': ' + state['why'] if 'why' in state else ''}")
        tests = self._found.get("tests", {})
        if tests:
            lines.append("tests: " + ", ".join(f"{count} {name}" for name, count in tests["counts"].items()))
            lines += [f"  {row['outcome']}: {row['test']}: {row['why'][:120]}" for row in tests["failures"][:20]]
        words = {True: "met", False: "not met", None: "not measured"}
        for row in self._found.get("quality", {}).get("goals", []):
            figure = "" if row["figure"] is None else f": {row['figure']:,.4g}"
            lines.append(f"goal {words[row['met']]}: {row['goal']}{figure}")
        return [*lines, *self._found.get("papers", {}).get("verdicts", [])]


def rehearsal_texts(folder: Path) -> Path:
    """Small texts under the names of the real ones, cut from the README."""
    text = (ROOT / "README.md").read_text("utf-8")[:6000]
    (folder / PAPER.name).mkdir(parents=True)
    (folder / "tinyshakespeare.txt").write_text(text, "utf-8")
    for name, part in (("train", text), ("valid", text[:900]), ("test", text[900:1700])):
        (folder / PAPER.name / f"{name}.txt").write_text(part, "utf-8")
    return folder


def run(given: Given, names: Sequence[str], budget: float) -> bool:
    """Runs the parts of these names, or all; prints how they stand. Whether nothing failed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process stays behind
    try:
        day = Day(given, [part for part in PARTS if part.name in (names or [one.name for one in PARTS])], budget)
        is_good = day.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    print(*day.told(), f"files: {given.folder}", sep="\n", flush=True)
    return is_good
