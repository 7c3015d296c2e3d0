"""Where a step cannot be recorded as a graph another process goes on without, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import save
from charrnn.checkpoints.folder import Run
from charrnn.cli import training, without_graphs
from charrnn.cli.signals import StopOnSignal
from charrnn.errors import RecordingFailed
from charrnn.settings.launch import Launch
from charrnn.text import standard_input
from charrnn.training.plan import TrainRequest
from tests.kit.command import Command, Result
from tests.kit.forked import ROOT, Job, run
from tests.kit.runs_compared import assert_same_run
from tests.kit.tiny import tiny

SMALL = ["--hidden", "8", "--embedding", "5", "--batch", "4", "--bptt", "9", "--precision", "fp32", "--dropout", "0.3",
         "--sample-every", "5", "--sample-length", "9", "--validate-every", "7", "--log-every", "2"]  # fmt: skip
SAID = "cannot be recorded as a CUDA graph (RuntimeError: CUDA error: operation not permitted when stream is capturing)"


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "CHARRNN_GRAPHS"}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}  # an exact resume needs as many threads


def _unrecordable(*words: str, given: str = "") -> Result:
    (ended,) = run([Job(["tests.kit.unrecordable", *words], Path.cwd(), _environment(), given)])
    return ended


def test_a_run_that_goes_on_goes_on_in_another_process(text_file: Callable[..., Path], command: Command) -> None:
    """It says so in one line, and makes the run that would have been made."""
    words = ["train", str(text_file()), *SMALL, "--steps"]
    assert command(*words, "12", "--out", "ours")[0] == 0
    ended = _unrecordable(*words, "20", "--out", "ours")
    assert ended.status == 0, ended.err
    assert ended.err.count(f"{SAID}: a new process goes on without") == 1
    assert "exact resume at step 12" in ended.err
    assert command(*words, "12", "--out", "theirs")[0] == 0
    assert command(*words, "20", "--out", "theirs")[0] == 0
    assert_same_run(Path("ours"), Path("theirs"))


def test_a_text_from_standard_input_is_read_again(text_file: Callable[..., Path], command: Command) -> None:
    """The pipe it came from is empty, and it was not written anywhere that stays."""
    text = text_file()
    words = [*SMALL, "--steps", "6"]
    ended = _unrecordable("train", "-", *words, "--out", "ours", given=text.read_text("utf-8"))
    assert ended.status == 0, ended.err
    assert SAID in ended.err
    assert "exact resume at step 0" in ended.err
    assert command("train", str(text), *words, "--out", "theirs")[0] == 0
    ours, theirs = (checkpoints.load(Run(Path(name)).last) for name in ("ours", "theirs"))
    assert ours.corpus["sha256"] == theirs.corpus["sha256"]
    assert_same_run(Path("ours"), Path("theirs"))
    assert not list(Path(os.environ["CHARRNN_CACHE"]).rglob("stdin*"))


def test_a_run_that_is_started_over_is_started_over_once(text_file: Callable[..., Path], command: Command) -> None:
    """The run before is kept, once; --quiet says nothing at all."""
    words = ["train", str(text_file()), *SMALL, "--out", "run", "--steps"]
    assert command(*words, "8")[0] == 0
    before = Run(Path("run")).best.read_bytes()
    fresh = _unrecordable(*words, "3", "--fresh", "--quiet", "--seed", "5", "--validation-fraction", "0.2")
    assert fresh.status == 0
    assert not fresh.err
    assert checkpoints.load(Run(Path("run")).last).progress["step"] == 3
    (aside,) = Path().glob("run.*")
    assert Run(aside).best.read_bytes() == before


@pytest.mark.parametrize("form", [["--count", "3", "--prime", "a"], ["--prime-file=-"]], ids=str)
def test_a_sample_is_written_by_another_process(
    form: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been shown by then, and all of it is shown in the end, a prime from a pipe too; both processes take
    the CPU for the GPU."""
    Path("sitecustomize.py").write_text(
        "import torch\nfrom charrnn.network import device\n"
        "device.choose_device = lambda *_, **__: torch.device('cpu')\n"
    )
    Path("prime.txt").write_text("a")
    save(Path("model.safetensors"), tiny())
    words = ["sample", "-c", "model.safetensors", "--length", "30", "--seed", "4", "--device"]
    expected = command(*words, "cpu", *(word.replace("=-", "=prime.txt") for word in form))[1]
    assert len(expected) > 30
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tests/kit/unrecordable.py"), *words, "cuda", *form],
        input="a", capture_output=True, text=True, timeout=100, env=_environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(SAID) == 1
    assert ended.stdout == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_is_empty_now_is_an_error(text_file: Callable[..., Path]) -> None:
    """With the switch that would have helped, so that the command can be given again; nobody waits for the pipe."""
    os.mkfifo("pipe")
    writer = subprocess.Popen(["sh", "-c", f"cat {text_file()} > pipe"])
    ended = _unrecordable("train", "pipe", *SMALL, "--steps", "3", "--out", "run")
    assert writer.wait() == 0
    assert ended.status == 1
    assert SAID in ended.err
    assert "a new process" not in ended.err
    assert "CHARRNN_GRAPHS=0" in ended.err
    assert checkpoints.load(Run(Path("run")).last).progress["step"] == 0


def test_a_signal_that_came_meanwhile_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has been saved, and has promised to stop."""

    def interrupted(_prepared: Any, _launch: Any, _display: Any, stop: StopOnSignal) -> None:
        with stop:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RecordingFailed("why")

    launch = Launch(device="cpu", quiet=True)
    monkeypatch.setattr(training, "_read", lambda *_, **__: SimpleNamespace(launch=launch))
    monkeypatch.setattr(training, "_run", interrupted)
    monkeypatch.setattr(training, "without_graphs", lambda *_, **__: pytest.fail("it went on"))
    ended = training.carry_out(TrainRequest(), ["a.txt"], launch)
    assert ended == signal.SIGTERM


def test_on_windows_this_process_waits_for_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There one program cannot take the place of another; its status is passed on."""
    started: list[Any] = []

    def start(words: list[str], **options: Any) -> Any:
        started.append((words, options["env"]["CHARRNN_GRAPHS"], options["env"]["CHARRNN_GOES_ON"]))
        return subprocess.CompletedProcess(words, 143)

    monkeypatch.setattr(standard_input, "_gone", [])
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.setattr(sys, "argv", ["charrnn", "train", "a.txt", "--fresh", "--steps", "3"])
    with pytest.raises(SystemExit) as leaving:
        without_graphs.without_graphs(RecordingFailed("why"))
    assert leaving.value.code == 143
    assert started == [([sys.executable, "-P", "-m", "charrnn", "train", "a.txt", "--fresh", "--steps", "3"], "0", "1")]
    assert capsys.readouterr().err.count("(why): a new process goes on without") == 1
