"""A day with a GPU in one command: what breaks or hangs takes nothing else with it, the clock is kept, files come at
once, goals are judged. Nothing here needs a GPU."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from tests.benchmarks import papers
from tests.benchmarks.continued import SAVING, Continued, OutOfTime
from tests.benchmarks.gpu import __main__ as gpu
from tests.benchmarks.gpu import day, goals, processes, suite
from tests.benchmarks.gpu.day import Given, Part, allowed, assembled
from tests.benchmarks.gpu.environment import environment
from tests.benchmarks.gpu.processes import Job
from tests.benchmarks.steps import CPU

TESTS = """
import os, signal, time, pytest
pytestmark = pytest.mark.gpu

@pytest.mark.parametrize("n", [1, 2, 3])
def test_crash(n):
    if n == 2:
        os.kill(os.getpid(), signal.SIGSEGV)

def test_hang():
    print("so far")
    time.sleep(60)

@pytest.mark.parametrize("n", [1, 2])
def test_some(n):
    assert n == 1, "two is\\nnot one"

@pytest.mark.skip(reason="there is none")
def test_skipped():
    pass

@pytest.fixture
def broken():
    raise ValueError("no fixture")

def test_error(broken):
    pass

def test_no_gpu_needed_here():
    pass
"""


def test_each_test_function_has_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash and a hang end their own cases only; outcomes, first lines and reasons are told by name."""
    (tmp_path / "test_it.py").write_text(TESTS, "utf-8")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setattr(processes, "GRACE", 1.0)
    log, deadline = tmp_path / "log", time.monotonic() + 120
    found = suite.run(log, deadline, tests=str(tmp_path / "test_it.py"), at_once=3, seconds=10.0)
    wanted = {"passed": 3, "failed": 1, "skipped": 1, "errors": 2, "timed out": 1, "not run": 1}
    assert found["counts"] == wanted
    failures = {row["test"]: (row["outcome"], row["why"]) for row in found["failures"]}
    assert failures.pop("test_some[2]") == ("failed", "AssertionError: two is")
    assert failures.pop("test_error") == ("errors", "ValueError: no fixture")
    assert failures.pop("test_crash[2]") == ("errors", "its process: crashed by signal 11")
    assert failures == {"test_hang": ("timed out", "its process: timed out")}
    assert found["skipped"] == [{"test": "test_skipped", "outcome": "skipped", "why": "there is none"}]
    assert [row["test"] for row in found["left out"]] == ["test_crash[3]"]
    assert found["failed"] == "4 tests"
    assert "two is" in log.read_text("utf-8")


def test_tests_for_which_there_is_no_time_are_named(tmp_path: Path) -> None:
    """So is a file in which there are none."""
    found = suite.run(tmp_path / "log", time.monotonic() - 1, tests="tests/network/test_gpu.py")
    assert "not started" in found["failed"]
    (tmp_path / "test_none.py").write_text("x = ", "utf-8")
    found = suite.run(tmp_path / "log", time.monotonic() + 60, tests=str(tmp_path / "test_none.py"))
    assert "no tests were collected" in found["failed"]
    assert "SyntaxError" in (tmp_path / "log").read_text("utf-8")
    ended = processes.Ended(Job(name="0", words=["f.py::test_a"], seconds=1, log=tmp_path), "not started", None, 0.0)
    summary = suite.Summary({"f.py::test_a": ["f.py::test_a[1]", "f.py::test_a[2]"]})
    summary.add(ended, [])
    assert summary.row()["counts"]["not run"] == 2


def _job(folder: Path, name: str, code: str, seconds: float = 20.0) -> Job:
    return Job(name=name, words=[sys.executable, "-c", code], seconds=seconds, log=folder / name)


def test_a_process_ends_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores the request to end, and its child, are made to; the next one runs."""
    monkeypatch.setattr(processes, "GRACE", 0.5)
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    jobs = [
        _job(tmp_path, "stubborn", stubborn, 1.5),
        _job(tmp_path, "next", "print('here')"),
        _job(tmp_path, "bad", "x"),
    ]
    ends = {ended.job.name: ended for ended in processes.run(jobs)}
    assert {name: ended.how for name, ended in ends.items()} == {
        "stubborn": "timed out",
        "next": "ended",
        "bad": "ended",
    }
    assert (ends["next"].status, ends["bad"].status) == (0, 1)
    assert (tmp_path / "next").read_text("utf-8") == "here\n"
    child = int((tmp_path / "stubborn").read_text("utf-8"))
    assert not _lives(child)


def _lives(pid: int) -> bool:
    """Whether it runs; one that has ended and was not asked how does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_after_the_deadline_nothing_is_started_and_leaving_ends_what_runs(tmp_path: Path) -> None:
    """Several at once; an iterator that is closed leaves no process behind."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    jobs = [_job(tmp_path, "quick", "import time; time.sleep(1)"), _job(tmp_path, "slow", code)]
    running = processes.run(jobs, at_once=2)
    assert next(running).job.name == "quick"
    running.close()
    assert not _lives(int((tmp_path / "slow").read_text("utf-8")))
    (ended,) = processes.run([_job(tmp_path, "late", "1")], deadline=time.monotonic() - 1)
    assert (ended.how, ended.status) == ("not started", None)


def _part(name: str, least: float = 10, most: float = 100, **more: Any) -> Part:
    return Part(**{"name": name, "least": least, "most": most, "run": lambda *_: {}, **more})


def test_the_plan_by_hand() -> None:
    """As much as it takes, if the later ones can spare it; its least all the same, and never more than there is."""
    later = [_part("b", 30), _part("c", 25)]
    assert allowed(300, _part("a"), later) == 100
    assert allowed(120, _part("a"), later) == 65
    assert allowed(50, _part("a"), later) == 10
    assert allowed(5, _part("a"), later) == 5
    assert sum(part.least for part in day.PARTS) < day.BUDGET < 600


def test_files_are_written_at_once_and_say_how_each_part_stands(tmp_path: Path) -> None:
    """Each part finds the files of those before it; what cannot be done or has no time is skipped with the reason."""
    seen: dict[str, list[str]] = {}

    def run(name: str, found: dict[str, Any]) -> Callable[[Given, float], dict[str, Any]]:
        def work(given: Given, seconds: float) -> dict[str, Any]:
            seen[name] = sorted(path.name for path in given.folder.iterdir())
            return {**found, "given": seconds}

        return work

    parts = [
        _part("one", run=run("one", {"x": 1})),
        _part("two", run=run("two", {"failed": "broken"})),
        _part("three", lacks=lambda _: "no text"),
        _part("four", least=2000, most=3000),
        _part("five", least=5, run=run("five", {"left out": [{"skipped": "late"}]})),
    ]
    whole = day.Day(Given(folder=tmp_path / "new"), parts, 1000.0)
    assert not whole.run()
    assert seen == {
        "one": [],
        "two": ["one.json", "parts.json"],
        "five": ["four.json", "one.json", "parts.json", "three.json", "two.json"],
    }
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in (tmp_path / "new").iterdir()}
    stands = files["parts"]["parts"].items()
    assert {name: (row["state"], row.get("why", "").partition(",")[0]) for name, row in stands} == {
        "one": ("done", ""), "two": ("failed", "broken"), "three": ("skipped", "no text"),
        "four": ("skipped", files["four"]["why"].partition(",")[0]), "five": ("done in part", "1 left out"),
    }  # fmt: skip
    assert "it takes 2000 at least" in files["four"]["why"]
    assert (files["one"]["x"], files["one"]["part"], files["two"]["state"]) == (1, "one", "failed")
    assert (files["one"]["given"], files["five"]["given"]) == (10, 100)  # the later ones could spare nothing; all
    assert [line.partition(":")[0] for line in whole.told()] == ["one", "two", "three", "four", "five"]


def test_what_was_kept_of_a_part_that_did_not_end() -> None:
    """Rows by part; a line that was cut is left out."""
    lines = ['{"date": "now"}', '{"part": "speed", "c/s": 1}', '{"part": "speed", "c/s": 2}', '{"part": "spe']
    assert assembled(lines) == {"date": "now", "speed": [{"c/s": 1}, {"c/s": 2}]}


def test_a_part_that_crashes_or_hangs_leaves_what_it_had_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are taken from where it kept them, and the reason stands beside them."""
    monkeypatch.setattr(processes, "GRACE", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "broken_part.py").write_text(
        "import pathlib, sys, time\n"
        'pathlib.Path(sys.argv[1]).write_text(\'{"part": "rows", "a": 1}\\n\')\n'
        "time.sleep(60 * (sys.argv[2] == 'hang')); sys.exit(3)\n",
        "utf-8",
    )
    given = Given(folder=tmp_path)
    for how, why in {"crash": "exit status 3, see x.log", "hang": "it was not done after 2 s"}.items():
        found = day._measured(given, "x", 2.0, "broken_part", str(tmp_path / "x.jsonl"), how)
        assert found == {"failed": why, "rows": [{"a": 1}]}


WIDE = "lstm 2x512 E512 B64 T128"


def _speed(**row: Any) -> dict[str, Any]:
    return {"speed": [{"shape": WIDE, "step": "ours", **row}]}


@pytest.mark.parametrize(
    ("figures", "start", "met"),
    [
        (_speed(**{"c/s": 4_000_000}), f"{WIDE}: at least 4 million", True),
        (_speed(**{"c/s": 3_999_999}), f"{WIDE}: at least 4 million", False),
        (_speed(**{"c/s": 1, "x plain tf32": 2.1}), f"{WIDE}: at least 2 times the plain step in tf32", True),
        (_speed(failed="no memory"), f"{WIDE}: at least 4 million", None),
        ({}, "lstm 3x1024", None),
        ({"time": [{"mark": 1.4697, "protocol": "windowed, 256", "below": True, "command": 59.0}]}, "tiny", True),
        ({"time": [{"mark": 1.4697, "protocol": "windowed, 256", "below": True, "command": 61.0}]}, "tiny", False),
        ({"time": [{"mark": 1.4697, "protocol": "windowed, 256", "below": False}]}, "tiny", False),
        ({"time": [{"mark": 100.0, "protocol": "windowed, 256", "below": True, "command": 1.0}]}, "tiny", None),
    ],
)  # fmt: skip
def test_goals_are_judged(figures: dict[str, Any], start: str, met: bool | None) -> None:
    """From the mark on; what was not measured is neither met nor missed, and a rehearsal's mark is none."""
    row = next(row for row in goals.judged(figures) if row["goal"].startswith(start))
    assert row["met"] is met


def test_the_goals_shapes_are_measured() -> None:
    """Each shape that a goal names is one of the full scale's."""
    shapes = {str(shape) for shape in gpu.FULL.shapes}
    assert {goal.where["shape"] for goal in goals.GOALS if goal.part == "speed"} < shapes


def test_the_environment_names_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that were turned off are not loaded, and their files are there all the same."""
    found = environment(CPU)
    for name in ("date", "torch", "cuda", "cudnn", "nvidia-smi", "python", "processor", "typer", "commit"):
        assert name in found
    json.dumps(found)
    step = found["compiled"]["sampling"]
    assert (step["loaded"] is None) == (not step["files"])
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert environment(CPU)["compiled"]["sampling"] == {"loaded": None, "files": step["files"]}


def test_scores_are_kept_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words about the same weights are not computed again; other weights or words are."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(Continued, "_charrnn", lambda _self, *words: ran.append(words) or f"{len(ran)}")
    (tmp_path / "run").mkdir()
    best = tmp_path / "run" / "best.safetensors"
    best.write_bytes(b"1")
    assert [Continued(tmp_path / "run", None)("eval", "a") for _ in range(2)] == ["1", "1"]
    assert Continued(tmp_path / "run", None)("eval", "b") == "2"
    best.write_bytes(b"2")
    assert Continued(tmp_path / "run", None)("eval", "a") == "3"
    assert [Continued(tmp_path / "run", None)("train", "a") for _ in range(2)] == ["4", "5"]


@pytest.mark.slow
def test_a_paper_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in its training, the run is saved and the status says so; the same words then train on and score."""
    folder = day.rehearsal_texts(tmp_path / "texts")
    monkeypatch.setattr(papers, "TINY", (*papers.TINY[:-1], "2500", "--validate-every", "2500", "--threads", "1"))
    both = {"nats_per_character": 2.0, "characters": 9, "temperature": 1.0}
    scores = json.dumps({**both, "dynamic": both, "static": both, "tuning": both})
    ran: list[str] = []

    def work(self: Continued, *words: str) -> str:
        ran.append(words[0])
        return self._charrnn(*words) if words[0] == "train" else scores

    monkeypatch.setattr(Continued, "__call__", work)
    words = ["--corpora", str(folder), "--record", "record", "--device", "cpu", "--only", "ptb", "--rehearse"]
    with pytest.raises(SystemExit) as caught:
        papers.main([*words, "--seconds", f"{SAVING + 3.0}"])
    assert caught.value.code == papers.GOES_ON
    assert "the same command goes on" in capsys.readouterr().err
    assert Path("record").read_text("utf-8") == ""
    run = Path("checkpoints/rehearsal-ptb-char/last.safetensors")
    stopped = checkpoints.load(run).progress["step"] if run.exists() else 0
    papers.main(words)
    (row,) = (json.loads(line) for line in Path("record").read_text("utf-8").splitlines())
    assert row["steps"] == 2500 > stopped
    assert "not met: 1.20 bits" in capsys.readouterr().out
    assert ran == ["train", "train", *["eval"] * 5]
    papers.main(words)  # what the record has is not done again
    assert len(ran) == 7


def test_a_deadline_that_has_passed_starts_nothing(tmp_path: Path) -> None:
    """Not even the command."""
    with pytest.raises(OutOfTime, match="before charrnn train"):
        Continued(tmp_path, time.monotonic())("train", "x")


def test_a_day_is_rehearsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three parts as the command runs them, one of them left out; the tests are those of a small file."""
    (tmp_path / "test_one.py").write_text("import pytest\n@pytest.mark.gpu\ndef test_one(): pytest.skip('no GPU')\n")
    out, tests = Path("checkpoints/gpu"), str(tmp_path / "test_one.py")
    gpu.main(["--all", "--rehearse", "--tests", tests, "environment", "tests", "sampling", "papers"])
    said = capsys.readouterr().out
    assert f"files: {out.absolute()}" in said
    assert "papers: skipped: it was not asked for" in said
    names = {"environment", "tests", "sampling", "papers", "parts"}
    files = {name: json.loads((out / f"{name}.json").read_text("utf-8")) for name in names}
    assert {name: row["state"] for name, row in files["parts"]["parts"].items()} == {
        "environment": "done", "tests": "done", "sampling": "done", "papers": "skipped"
    }  # fmt: skip
    assert files["tests"]["skipped"] == [{"test": "test_one", "outcome": "skipped", "why": "no GPU"}]
    assert len(files["sampling"]["rows"]) == 6
    assert files["environment"]["torch"]
    assert files["sampling"]["day"] == {
        "environment": "done",
        "tests": "done",
        "sampling": "done",
        "papers": "not begun",
    }
    assert files["sampling"]["tests"]["skipped"] == 1
    assert (out / "tests.log").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--all --out x speed", "speed is none of environment"),
        ("tests", "none of speed"),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured."""
    with pytest.raises(SystemExit) as caught:
        gpu.main(["--rehearse", *words.split()])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
