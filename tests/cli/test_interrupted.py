"""What a user sees of a run that something has happened to: links, power cuts, processes that were killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.command import Command
from tests.kit.forked import Job, run
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

SMALL = ["--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-length", "5"]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_a_link_in_the_place_of_a_file_that_grows_is_refused(
    command: Command, text_file: Callable[..., Path], name: str
) -> None:
    """Before anything changes, in the folder or outside; --fresh takes the link away with the run."""
    words = ["train", str(text_file(2000)), *SMALL, "--out", "run"]
    assert command(*words, "--steps", "2").status == 0
    outside = Path("outside")
    outside.write_bytes(Path("run", name).read_bytes() + b"and more of mine\n")
    before = outside.read_bytes()
    Path("run", name).unlink()
    Path("run", name).symlink_to("../outside")
    inside = _files(Path("run"))
    for more in ([], ["--dry-run"]):
        result = command(*words, "--steps", "4", *more)
        assert result.status == 2
        assert f"error: run/{name} is a link, and training writes only to files of the run's own folder" in result.err
    assert outside.read_bytes() == before
    assert _files(Path("run")) == inside
    assert command(*words, "--steps", "4", "--fresh").status == 0
    assert outside.read_bytes() == before


def test_a_checkpoint_that_is_a_link_is_gone_on_from_and_not_written_to(
    command: Command, text_file: Callable[..., Path]
) -> None:
    """So a run can go on from another one's checkpoint."""
    words = ["train", str(text_file(2000)), *SMALL]
    assert command(*words, "--steps", "2", "--out", "one").status == 0
    before = _files(Path("one"))
    Path("two").mkdir()
    Path("two/last.safetensors").symlink_to("../one/last.safetensors")
    for name in ("metrics.jsonl", "samples.txt"):
        shutil.copy(Path("one", name), "two")
    result = command(*words, "--steps", "4", "--out", "two")
    assert result.status == 0
    assert "exact resume at step 2" in result.err
    assert not Path("two/last.safetensors").is_symlink()
    assert _files(Path("one")) == before


def test_a_resume_says_what_is_missing_of_metrics_and_samples(command: Command, text_file: Callable[..., Path]) -> None:
    """In a sentence; it keeps what is whole, goes on, and does not say that all is exact. The next one does."""
    words = ["train", str(text_file(2000)), *SMALL, "--log-every", "1", "--out", "run"]
    assert command(*words, "--steps", "3").status == 0
    lines = Path("run/metrics.jsonl").read_bytes()
    Path("run/metrics.jsonl").write_bytes(lines[:-10] + bytes(10))
    size = Path("run/samples.txt").stat().st_size
    os.truncate("run/samples.txt", size - 4)
    result = command(*words, "--steps", "5")
    assert result.status == 0
    said = " ".join(result.err.split())
    assert "note: exact resume of the training alone at step 3" in said
    then = "that it had when last.safetensors was saved"
    assert f"metrics.jsonl is damaged, for its {len(lines)} bytes are not those {then}: 10 bytes of it are NUL" in said
    assert f"samples.txt lacks 4 of the {size} bytes {then}" in said
    assert Path("run/metrics.jsonl").read_bytes().startswith(lines[: lines[:-1].rindex(b"\n") + 1] + b'{"step": 4')
    result = command(*words, "--steps", "6")
    assert "exact resume at step 5" in result.err
    os.truncate("run/metrics.jsonl", 4)
    result = command(*words, "--steps", "6")
    assert result.status == 0
    assert "this run is finished" in result.err
    assert re.search(r"metrics.jsonl lacks [\d,]+ of the", " ".join(result.err.split()))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_killed_in_a_save_a_run_leaves_nothing_for_ever(tmp_path: Path) -> None:
    """Neither its own temporary files nor those of safetensors: whatever lies there is gone after the next start."""
    environment = {**os.environ, "CHARRNN_CACHE": str(tmp_path / "cache")}
    (tmp_path / "text.txt").write_text(make_text(2000), "utf-8")

    def job(name: str, *module: str) -> Job:
        return Job([*module, "train", "text.txt", *SMALL, "--steps", "3", "--out", name], tmp_path, environment)

    kills = [job(f"killed-{call}", "tests.kit.killed", str(call)) for call in range(20, 40)]
    (whole,) = run([job("whole", "charrnn")])
    assert whole.status == 0, whole.err
    assert {result.status for result in run(kills)} == {-signal.SIGKILL}
    left = [path for path in tmp_path.glob("killed-*/.*") if path.name != ".lock"]
    assert left, "none was killed in a save"
    for result in run([job(f"killed-{call}", "charrnn") for call in range(20, 40)]):
        assert result.status == 0, result.err
    for call in range(20, 40):
        assert_same_run(tmp_path / f"killed-{call}", tmp_path / "whole")
        assert _files(tmp_path / f"killed-{call}").keys() == _files(tmp_path / "whole").keys()
