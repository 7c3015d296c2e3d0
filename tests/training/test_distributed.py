"""Several processes that train one model, beside one process that does it alone; gloo on a CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.training import distributed
from tests.kit.command import overriding
from tests.kit.ranks import run_ranks
from tests.kit.runs_compared import assert_same_run, metrics
from tests.kit.text import make_text

# Five lanes, so that two processes have unequal shares; dropout, state resets, averages and Muon are on.
WORDS = [
    "train", "text.txt", "--layers", "2", "--hidden", "8", "--embedding", "5", "--dropout", "0.4", "--batch", "5",
    "--bptt", "30", "--lr", "0.01", "--seed", "3", "--precision", "fp32", "--device", "cpu", "--steps", "20",
    "--log-every", "4", "--validate-every", "7", "--sample-every", "5", "--sample-length", "11",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds text.txt; the cache of encoded texts is the test's own."""
    (tmp_path / "text.txt").write_text(make_text(2000), "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds what one process trained, `alone`, and what two did, `together`."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(make_text(2000), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        _alone(folder, "--out", "alone")
        said = _together(folder, "--out", "together")
    assert "5 lanes x 30 characters by 2 processes" in said
    assert said.count("finished after 20 steps") == 1
    return folder


def _alone(folder: Path, *words: str, module: tuple[str, ...] = ("charrnn",), status: int = 0) -> str:
    (ended,) = run_ranks([*module[1:], *overriding(WORDS, words)], 1, folder, module[:1])
    assert ended.status == status, ended.err
    return ended.err


def _together(folder: Path, *words: str, module: tuple[str, ...] = ("charrnn",), status: int = 0) -> str:
    """What the first of two processes says on stderr; the other one is silent."""
    first, second = run_ranks([*module[1:], *overriding(WORDS, words)], 2, folder, module[:1])
    assert (first.status, second.status) == (status, status), first.err + second.err
    assert second.out == ""
    assert second.err == ""
    return first.err


def _last(folder: Path) -> Checkpoint:
    return checkpoints.load(folder / "last.safetensors", with_state=True)


def _assert_nearly_the_same_run(one: Path, other: Path) -> None:
    """Weights, carried state and losses to 1e-5; generator, samples and what happened at which step are equal."""
    ours, theirs = _last(one), _last(other)
    for name, array in ours.parameters.items():
        np.testing.assert_allclose(array, theirs.parameters[name], atol=1e-5, err_msg=name)
    for name, array in ours.state.items():
        if name.startswith(("carry.", "tally", "random.", "steps", "average.")):
            np.testing.assert_allclose(array, theirs.state[name], rtol=1e-5, atol=1e-5, err_msg=name)
    lines = zip(metrics(one / "metrics.jsonl"), metrics(other / "metrics.jsonl"), strict=True)
    for line, same in lines:
        assert line == pytest.approx(same, rel=1e-4)
    assert (one / "samples.txt").read_text("utf-8") == (other / "samples.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("device", "has_gpu", "has_nccl", "backend"),
    [
        ("cuda", True, True, "cpu:gloo,cuda:nccl"),
        ("cuda", True, False, "cpu:gloo,cuda:gloo"),  # Windows
        ("cuda", False, True, "gloo"),  # only planned for
        ("cpu", True, True, "gloo"),
        ("cpu", False, False, "gloo"),
    ],
)
def test_what_processes_talk_through(
    monkeypatch: pytest.MonkeyPatch, device: str, has_gpu: bool, has_nccl: bool, backend: str
) -> None:
    """NCCL between GPUs where torch has it, else gloo; and they part in the end."""
    said: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: has_nccl)
    monkeypatch.setattr(dist, "init_process_group", said.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: said.append("parted"))
    monkeypatch.setattr(distributed, "_joined", [])
    with distributed.joined(distributed.World(0, 2), torch.device(device)):
        assert said == [backend]
    assert said == [backend, "parted"]


def test_two_processes_are_one(folder: Path, runs: Path) -> None:
    """With half of the lanes each, in one piece and in parts, they train the model that one process trains."""
    _assert_nearly_the_same_run(runs / "together", runs / "alone")
    assert _last(runs / "together").environment["world_size"] == 2
    _together(folder, "--out", "in-parts", "--accumulate", "2")
    _assert_nearly_the_same_run(folder / "in-parts", runs / "alone")


def test_they_drop_the_same_and_are_penalised_alike(folder: Path) -> None:
    """What is dropped for all lanes is drawn by each process, and comes out the same."""
    more = ["--variational-dropout", "0.3", "--weight-drop", "0.4", "--embedding-dropout", "0.2", "--tie"]
    more += ["--embedding", "8", "--skip", "sum", "--activation-penalty", "2", "--temporal-penalty", "1"]
    more += ["--orthogonal-penalty", "0.01", "--l2", "0.01", "--random-bptt"]
    more += ["--cell", "rnn", "--jacobian-penalty", "0.5"]
    _alone(folder, "--out", "alone", *more)
    _together(folder, "--out", "together", *more)
    _assert_nearly_the_same_run(folder / "together", folder / "alone")


def test_what_does_not_learn_has_nothing_to_say(folder: Path) -> None:
    """Frozen layers are frozen in both."""
    _alone(folder, "--out", "alone", "--freeze", "recurrent")
    _together(folder, "--out", "together", "--freeze", "recurrent")
    _assert_nearly_the_same_run(folder / "together", folder / "alone")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_exactly(folder: Path, runs: Path) -> None:
    """The last of two gets SIGTERM after step 9: both save, exit with 143, and go on bit for bit."""
    interrupted = ("tests.kit.interrupt", "SIGTERM", "9", "1")
    said = _together(folder, "--out", "cut", module=interrupted, status=128 + signal.SIGTERM)
    assert "stopped by SIGTERM and saved after 9 steps" in said
    assert "exact resume at step 9" in _together(folder, "--out", "cut")
    assert_same_run(folder / "cut", runs / "together")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_run_goes_on_in_another_number_of_processes(folder: Path, runs: Path) -> None:
    """One process, then two, then one again: said to be approximate, and the same to 1e-5."""
    _alone(folder, "--out", "moved", module=("tests.kit.interrupt", "SIGTERM", "6", "0"), status=128 + signal.SIGTERM)
    interrupted = ("tests.kit.interrupt", "SIGTERM", "7", "0")
    said = _together(folder, "--out", "moved", module=interrupted, status=128 + signal.SIGTERM)
    assert "approximate resume: world_size 1 -> 2 at step 6" in said
    assert "approximate resume: world_size 2 -> 1 at step 13" in _alone(folder, "--out", "moved")
    _assert_nearly_the_same_run(folder / "moved", runs / "alone")


def test_a_run_that_diverges_ends_in_all_processes(folder: Path) -> None:
    """Each exits with 5 and says so, the second with its number; with a rollback they go on together."""
    wild = ["--lr", "1e38", "--clip", "0", "--warmup", "0", "--decay", "constant", "--optimizer", "adamw"]
    ends = run_ranks(overriding(WORDS, [*wild, "--out", "wild"]), 2, folder)
    assert [ended.status for ended in ends] == [5, 5], ends
    assert ends[0].err.count("error: training diverged at step") == 1
    assert "process 1: error: training diverged at step" in ends[1].err
    ends = run_ranks(overriding(WORDS, [*wild, "--out", "tamed", "--on-divergence", "rollback"]), 2, folder)
    assert [ended.status for ended in ends] == [5, 5], ends
    assert ends[0].err.count("note: training diverged at step") == 10


def test_torchrun_starts_the_command(folder: Path) -> None:
    """Its own two processes, found through its own environment."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "charrnn", *WORDS]
    root = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run(
        [sys.executable, *words, "--out", "run"], cwd=folder, env={**os.environ, "PYTHONPATH": root},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("finished after 20 steps") == 1
    assert _last(folder / "run").progress["step"] == 20
