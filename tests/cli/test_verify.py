"""`inspect RUN --verify`: a whole run is whole, and each kind of damage is found, named, and ends with status 4."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints.checkpoint import load, save
from charrnn.checkpoints.verify import verify_run
from tests.kit.command import Command
from tests.kit.nasty import NASTY, is_dangerous
from tests.kit.run_folders import BUDGET
from tests.kit.tiny import tiny
from tests.kit.verified import FOLDER, LINES, RUN, findings, last_of_run, make_run


@pytest.fixture(autouse=True)
def _a_run() -> None:
    make_run()


def test_a_whole_run(command: Command) -> None:
    """A line for each file, what a resume would do, and status 0; named in each way, or not at all."""
    result = command("inspect", str(FOLDER), "--verify")
    assert result.status == 0
    assert not result.err
    lines = result.out.splitlines()
    assert lines[0] == str(FOLDER)
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["ok", f"{name}:"]
        for name in (
            "last.safetensors", "best.safetensors", "step-00000040.safetensors", "config.json", "metrics.jsonl",
            "samples.txt", "metrics.jsonl",
        )
    ]  # fmt: skip
    assert lines[-1] == "resume   exact from step 40, on cpu with 1 thread, as before"
    for words in (["a"], ["checkpoints/"], ["-c", "a"]):
        assert command("inspect", *words, "--verify").out == result.out
    assert command("inspect", "--verify").out == result.out


def test_nothing_is_changed(command: Command) -> None:
    """Neither a file nor its time."""

    def state() -> dict[str, Any]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in FOLDER.iterdir()}

    before = state()
    command("inspect", str(FOLDER), "--verify")
    assert state() == before


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _other(path: Path, **more: Any) -> None:
    whole = load(path, with_state=True)
    save(path, replace(whole, **more))


def _progress(path: Path, **more: Any) -> None:
    _other(path, progress={**load(path).progress, **more})


def _metrics(change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Other metrics, to which `last` agrees."""
    lines = json.loads(json.dumps(LINES))
    change(lines)
    RUN.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    save(RUN.last, last_of_run())


_HARM: dict[str, tuple[Callable[[], object], str, str]] = {
    "a flipped bit in best": (lambda: _flip(RUN.best), "best.safetensors", "do not match its checksum"),
    "a flipped bit in last": (lambda: _flip(RUN.last), "last.safetensors", "do not match its checksum"),
    "a flipped bit in a kept one": (lambda: _flip(RUN.kept(40)), "step-00000040.safetensors", "checksum"),
    "best cut short": (lambda: os.truncate(RUN.best, 900), "best.safetensors", "damaged"),
    "best empty": (lambda: os.truncate(RUN.best, 0), "best.safetensors", "it is empty"),
    "best gone": (lambda: RUN.best.unlink(), "best.safetensors", "step 20 was best"),
    "last gone": (lambda: RUN.last.unlink(), "last.safetensors", "it is missing"),
    "last in the place of best": (lambda: RUN.best.write_bytes(RUN.last.read_bytes()), "best.safetensors", "kind last"),
    "an older best": (lambda: _progress(RUN.best, step=10), "best.safetensors", "it is of step 10"),
    "a kept one of another step": (
        lambda: os.rename(RUN.kept(40), RUN.kept(50)), "step-00000050.safetensors", "it is of step 40",
    ),
    "a best of another text": (
        lambda: _other(RUN.best, corpus={**tiny().corpus, "sha256": "f" * 64}), "best.safetensors", "another text",
    ),
    "a best of another model": (
        lambda: save(RUN.best, replace(tiny(cell="gru"), progress={**tiny().progress, "step": 20})),
        "best.safetensors", "another model",
    ),
    "config.json is not JSON": (lambda: RUN.config.write_text("{"), "config.json", "cannot be read"),
    "config.json of another run": (
        lambda: RUN.config.write_text(RUN.config.read_text().replace('"hidden": 4', '"hidden": 5')),
        "config.json", "hidden is 5, and in last.safetensors 4",
    ),
    "metrics cut short": (lambda: os.truncate(RUN.metrics, 40), "metrics.jsonl", "lacks"),
    "metrics gone": (lambda: RUN.metrics.unlink(), "metrics.jsonl", "is missing"),
    "a digit of the metrics": (
        lambda: RUN.metrics.write_text(RUN.metrics.read_text().replace("1.75", "1.74")), "metrics.jsonl", "is damaged",
    ),
    "samples with NULs": (
        lambda: RUN.samples.write_bytes(RUN.samples.read_bytes()[:-9] + bytes(9)),
        "samples.txt", "9 bytes of it are NUL",
    ),
    "samples gone": (lambda: RUN.samples.unlink(), "samples.txt", "is missing"),
    "steps that fall": (
        lambda: _metrics(lambda lines: lines[1].update(step=30)), "metrics.jsonl", "line 3 is of step 20",
    ),
    "a line that is none": (
        lambda: _metrics(lambda lines: lines[1].update(step="ten")), "metrics.jsonl", "line 2 cannot be read",
    ),
    "another validation": (
        lambda: _metrics(lambda lines: lines[2].update(validation_nats=1.5)), "metrics.jsonl", "first at step 20",
    ),
    "a validation too few": (lambda: _metrics(lambda lines: lines.pop(2)), "metrics.jsonl", "1, and 2 there"),
    "another best": (lambda: _progress(RUN.last, best_nats=1.5), "metrics.jsonl", "the lowest loss is 1.75"),
    "no record of the files": (lambda: _other(RUN.last, training={}), "last.safetensors", "does not say what"),
}  # fmt: skip


@pytest.mark.parametrize("harm", _HARM)
def test_damage_is_found(command: Command, harm: str) -> None:
    """Named with its file, in JSON and as text, with status 4; files that are whole are said to be."""
    do, file, reason = _HARM[harm]
    do()
    found = findings(command, status=4)
    damaged = {name: said for name, all_said in found.items() for verdict, said in all_said if verdict == "damaged"}
    assert reason in damaged[file]
    assert set(damaged) <= {file, "metrics.jsonl"}  # what was made of another `last` may not agree with the metrics
    result = command("inspect", str(FOLDER), "--verify")
    assert result.status == 4
    assert f"damaged  {file}: " in result.out
    assert "not as" in result.err


def test_what_is_no_damage_is_noted(command: Command) -> None:
    """Lines written after `last`, what a killed save left, other files, and runs set aside beside it: status 0."""
    with open(RUN.metrics, "a") as file:
        file.write('{"step": 50, "characters": 2000}\n')
    leftover = FOLDER / ".charrnn-abcdefgh.tmp"
    leftover.mkdir()
    (leftover / "file").write_bytes(bytes(1234))
    (FOLDER / f"x{NASTY.encode(errors='replace').decode()}".replace("/", "-")).write_text("mine")
    Path("checkpoints/a.2026-11-28T114500-2").mkdir()
    Path("checkpoints/b.2026-11-28T114500").mkdir()
    found = findings(command, status=0)
    assert "33 bytes written since are cut off" in found["metrics.jsonl"][0][1]
    assert found[leftover.name] == [("note", "1,234 bytes; it is left over: training removes what it has left itself")]
    assert found["a.2026-11-28T114500-2"][0][0] == "note"
    assert "b.2026-11-28T114500" not in found
    shown = command("inspect", str(FOLDER), "--verify").out
    assert not any(is_dangerous(character) for character in shown.replace("\n", ""))


@pytest.mark.parametrize("step", [30, 50])
def test_a_best_that_is_better_than_last_knows_is_noted(command: Command, step: int) -> None:
    """A process that was killed between the two saves has left it, whether the run has got as far again since or not;
    it is whole, and better than what `last` holds for the best."""
    _progress(RUN.best, step=step, best_nats=1.5)
    verdict, said = findings(command, status=0)["best.safetensors"][0]
    assert verdict == "note"
    assert f"it is of step {step}, and last.safetensors says that step 20 was best: it is the one to use" in said


@pytest.mark.parametrize(("step", "expected"), [(30, "note"), (10, "damaged")])
def test_where_nothing_is_held_out_the_later_best_is_the_better(step: int, expected: str) -> None:
    """Which a process that was killed has left; an earlier one is none of this run."""
    _progress(RUN.last, best_nats=None)
    _progress(RUN.best, step=step, best_nats=None)
    verdicts = {each.file: each.verdict for each in verify_run(FOLDER).findings}
    assert verdicts["best.safetensors"] == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda: RUN.last.unlink(),
            "refused, since there is nothing to go on from: last.safetensors is missing",
        ),
        (lambda: os.truncate(RUN.last, 2000), "refused, since there is nothing to go on from"),
        (lambda: Path("text.txt").unlink(), "refused until a command names the text, from step 40 on: /"),
        (lambda: RUN.config.unlink(), "refused until a command names the text, from step 40 on: config.json"),
        (lambda: _other(RUN.last, environment={"torch": "1.0"}), "approximate from step 40: torch 1.0 -> "),
        (lambda: RUN.samples.unlink(), "approximate from step 40: samples.txt is mended"),
        (
            lambda: _other(RUN.last, training={**last_of_run().training, **BUDGET}),
            "finished at step 40; a larger budget goes on from there",
        ),
    ],
)
def test_what_a_resume_would_do(command: Command, change: Callable[[], object], said: str) -> None:
    """By what is in the folder, and what has changed since."""
    change()
    shown = command("inspect", str(FOLDER), "--verify").out.splitlines()[-1]
    assert shown.startswith(f"resume   {said}")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells who holds a lock")
def test_who_trains_there(command: Command) -> None:
    """The number of the process, and that a resume is refused."""
    code = "from charrnn.checkpoints.folder import Run\nfrom pathlib import Path\nimport sys\n"
    code += "with Run(Path('checkpoints/a')).locked():\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        shown = command("inspect", str(FOLDER), "--verify").out.splitlines()
    names = (f"process {process.pid}", "process unknown", "another process")  # not every kernel tells it
    assert any(name in shown[-2] for name in names)
    assert shown[-1].startswith("resume   refused, since ")
    assert shown[-1].endswith(" is training there")


def test_a_checkpoint_alone(command: Command) -> None:
    """A file that was given away has no run beside it; several are looked at one after the other."""
    os.rename(RUN.best, "mine.safetensors")
    result = command("inspect", "mine.safetensors", "--verify")
    assert result.status == 0
    assert result.out.splitlines()[1].startswith("ok       mine.safetensors: step 20; 9 arrays of ")
    save(RUN.best, replace(tiny("best"), progress={**tiny().progress, "step": 20}))
    _flip(Path("mine.safetensors"))
    found = findings(command, str(FOLDER), "mine.safetensors", status=4)
    assert [verdict for verdict, _ in found["mine.safetensors"]] == ["damaged"]
    assert [verdict for verdict, _ in found["best.safetensors"]] == ["ok"]


@pytest.mark.parametrize("words", [["--unit", "L1.h0"], ["--html", "page.html"], ["--sort", "name"], ["--follow"]])
def test_other_options_do_not_go_with_it(command: Command, words: list[str]) -> None:
    result = command("inspect", str(FOLDER), "--verify", *words)
    assert result.status == 2
    assert "--verify checks the files of runs" in result.err


def test_a_name_that_nothing_has(command: Command) -> None:
    for words in (["-c", "nowhere"], ["-c", "checkpoints/nowhere/best.safetensors"]):
        result = command("inspect", *words, "--verify")
        assert result.status == 4
        assert f"there is no checkpoint {words[1]}" in result.err
        assert not result.out


def test_what_is_no_run(command: Command) -> None:
    """A text, a folder of anything; a run that has lost both checkpoints is still one."""
    for word in ("text.txt", "-"):
        assert command("inspect", word, "--verify").status == 2
    RUN.best.unlink()
    RUN.last.unlink()
    found = findings(command, status=4)
    assert found["last.safetensors"] == [("damaged", "it is missing")]


@pytest.mark.parametrize("width", [40, 80])
def test_it_fits_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = command("inspect", str(FOLDER), "--verify").out.splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()).count("all finite") == 3
