"""A run's folder: what is kept aside, what is removed, who may work in it, and which checkpoint is meant."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from charrnn.checkpoints.folder import Run, find_checkpoint, read_metrics
from charrnn.errors import CheckpointError, UsageError

NAMES = ("best.safetensors", "last.safetensors", "metrics.jsonl", "samples.txt")


def _fill(folder: Path, mark: str, names: tuple[str, ...] = NAMES) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(mark)
    return Run(folder)


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_a_run_is_set_aside_and_forgotten() -> None:
    """It is whole in the folder beside it until the new one is worth keeping; then it is gone."""
    run = _fill(Path("run"), "old")
    run.set_aside()
    assert _contents(run.folder) == {}
    assert run.aside == Path("run.previous")
    assert _contents(run.aside) == dict.fromkeys(NAMES, "old")
    run.forget_aside()
    assert not run.aside.exists()


def test_only_the_runs_own_files_are_moved_and_removed() -> None:
    """`--out .` beside one's texts, or notes in a run's folder: nothing else is touched."""
    run = _fill(Path("run"), "old")
    (run.folder / "corpus.txt").write_text("my only copy")
    run.set_aside()
    assert _contents(run.folder) == {"corpus.txt": "my only copy"}
    (run.aside / "notes.txt").write_text("mine too")
    run.forget_aside()
    assert _contents(run.aside) == {"notes.txt": "mine too"}


def test_a_folder_that_happens_to_have_the_name_is_never_removed() -> None:
    """Not by a run that ends well beside it, and not to make room."""
    run = _fill(Path("run"), "old")
    (stranger := Path("run.previous")).mkdir()
    (stranger / "thesis.tex").write_text("years of work")
    run.forget_aside()
    with pytest.raises(UsageError, match=r"run\.previous is in the way"):
        run.set_aside()
    assert (stranger / "thesis.tex").read_text() == "years of work"
    assert _contents(run.folder) == dict.fromkeys(NAMES, "old")


def test_a_file_of_the_name_is_in_the_way() -> None:
    """And stays."""
    run = _fill(Path("run"), "old")
    Path("run.previous").write_text("a file")
    with pytest.raises(UsageError, match="in the way"):
        run.set_aside()
    assert Path("run.previous").read_text() == "a file"


def test_starting_over_twice_keeps_the_run_that_was_validated() -> None:
    """A new run that was stopped before its first validation does not cost the good one that was set aside for it."""
    run = _fill(Path("run"), "good")
    run.set_aside()
    _fill(run.folder, "unvalidated", ("last.safetensors", "metrics.jsonl"))
    run.set_aside()
    assert _contents(run.folder) == {}
    assert _contents(run.aside) == dict.fromkeys(NAMES, "good")


def test_starting_over_twice_keeps_the_later_of_two_validated_runs() -> None:
    """It takes the other's place, with no file of the other left among its own."""
    run = _fill(Path("run"), "first")
    run.set_aside()
    _fill(run.folder, "second", NAMES[:3])
    run.set_aside()
    assert _contents(run.aside) == dict.fromkeys(NAMES[:3], "second")


def test_a_folder_without_a_run_is_left_as_it_is() -> None:
    """There is nothing to set aside."""
    Path("run").mkdir()
    Run(Path("run")).set_aside()
    assert not Path("run.previous").exists()


@pytest.mark.parametrize("folder", [".", "../here"])
def test_the_folder_one_stands_in_has_a_place_beside_it(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its path ends without a name."""
    Path("here").mkdir()
    monkeypatch.chdir("here")
    run = _fill(Path(folder), "old")
    run.set_aside()
    assert _contents(Path("../here.previous")) == dict.fromkeys(NAMES, "old")


def test_an_error_inside_the_lock_is_not_about_the_lock() -> None:
    """A closed pipe in the middle of training is a closed pipe."""
    with pytest.raises(BrokenPipeError), Run(Path("run")).locked():
        raise BrokenPipeError(32, "Broken pipe")


def test_what_a_killed_save_left_is_swept_and_nothing_else() -> None:
    """Only temporary files of the two checkpoints."""
    folder = Path("run")
    folder.mkdir()
    (folder / ".last.safetensors.abc123.tmp").write_text("half")
    (folder / ".best.safetensors.abc123.tmp").write_text("half")
    (folder / ".mine.tmp").write_text("mine")
    with Run(folder).locked():
        assert sorted(path.name for path in folder.iterdir()) == [".lock", ".mine.tmp"]


def test_lines_of_metrics_survive_a_torn_one() -> None:
    """Whatever a power cut left at the end."""
    Path("metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3, "nats": \xff')
    assert read_metrics(Path("metrics.jsonl")) == [{"step": 1}, {"step": 2}]
    assert read_metrics(Path("none.jsonl")) == []


def test_a_checkpoint_is_found_by_file_folder_and_age() -> None:
    """A file is meant as it is; of a folder its best, or else its last; without a word the newest run."""
    _fill(Path("checkpoints/one"), "x")
    _fill(Path("checkpoints/two"), "x", NAMES[1:])
    assert find_checkpoint(Path("checkpoints/one/last.safetensors")) == Path("checkpoints/one/last.safetensors")
    assert find_checkpoint(Path("checkpoints/one")) == Path("checkpoints/one/best.safetensors")
    assert find_checkpoint(Path("checkpoints/two")) == Path("checkpoints/two/last.safetensors")
    now = time.time()
    for number, newest in enumerate(["one", "two", "one"]):
        os.utime(f"checkpoints/{newest}/last.safetensors", (now + number, now + number))
        assert find_checkpoint(None).parent.name == newest


def test_a_dead_link_among_the_runs_is_passed_over() -> None:
    """And where nothing else is there, there is no run."""
    Path("checkpoints/gone").mkdir(parents=True)
    Path("checkpoints/gone/last.safetensors").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="no run under checkpoints"):
        find_checkpoint(None)
    _fill(Path("checkpoints/two"), "x")
    assert find_checkpoint(None) == Path("checkpoints/two/best.safetensors")


def test_a_name_that_no_system_takes_is_passed_on() -> None:
    """The reader of checkpoints says what is wrong with it."""
    assert find_checkpoint(Path("x" * 300)) == Path("x" * 300)
