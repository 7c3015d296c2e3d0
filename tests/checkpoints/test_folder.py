"""A run's folder: what is set aside, what is removed, who may work in it, and which checkpoint is meant."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

import pytest

from charrnn.checkpoints.folder import Run, find_checkpoint, folder_size, is_set_aside
from charrnn.checkpoints.metrics import read_metrics
from charrnn.errors import CheckpointError, ResourceError, UsageError

NAMES = ("best.safetensors", "last.safetensors", "metrics.jsonl", "samples.txt")


def _fill(folder: Path, mark: str, names: tuple[str, ...] = NAMES) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(mark)
    return Run(folder)


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_a_run_is_set_aside_whole_under_a_dated_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """With whatever else lies in its folder, by one rename, which is synced."""
    run = _fill(Path("run"), "old")
    (run.folder / "notes.txt").write_text("mine")
    (run.folder / "step-00000010.safetensors").write_text("old")
    before, renamed, synced = _contents(run.folder), [], []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *names: (renamed.append(names), rename(*names)))
    monkeypatch.setattr("charrnn.checkpoints.folder.sync_folder", synced.append)
    aside = run.set_aside()
    assert aside is not None
    assert re.fullmatch(r"run\.\d{4}-\d\d-\d\dT\d{6}", str(aside))
    assert (renamed, synced) == ([(Path("run"), aside)], [Path()])
    assert not run.folder.exists()
    assert _contents(aside) == before
    assert folder_size(aside) == sum(map(len, before.values()))


def test_what_has_the_dated_name_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, files, links to nowhere and empty folders: a number makes the name another one."""
    monkeypatch.setattr("charrnn.checkpoints.folder.time.strftime", lambda _form: "2026-11-28T114500")
    for number in range(3):
        _fill(Path("run"), str(number))
        Run(Path("run")).set_aside()
    Path("run.2026-11-28T114500-4").write_text("a file")
    Path("run.2026-11-28T114500-5").symlink_to("nowhere")
    Path("run.2026-11-28T114500-6").mkdir()
    _fill(Path("run"), "last")
    assert Run(Path("run")).set_aside() == Path("run.2026-11-28T114500-7")
    for number, name in enumerate(("", "-2", "-3")):
        assert _contents(Path(f"run.2026-11-28T114500{name}")) == dict.fromkeys(NAMES, str(number))
    assert Path("run.2026-11-28T114500-4").read_text() == "a file"
    assert list(Path("run.2026-11-28T114500-6").iterdir()) == []
    assert all(is_set_aside(path) for path in Path().iterdir())


@pytest.mark.parametrize("length", [200, 236, 237, 238, 247, 254, 255])
def test_the_longest_names_are_cut_to_make_room_for_the_date(length: int) -> None:
    """In between two characters."""
    name = "x" + "\u00e9" * (length // 2) if length % 2 else "\u00e9" * (length // 2)
    for _ in range(3):
        _fill(Path(name), "old")
        aside = Run(Path(name)).set_aside()
        assert aside is not None
        assert is_set_aside(aside)
        assert name.startswith(aside.name.split(".")[0])
        assert _contents(aside) == dict.fromkeys(NAMES, "old")
    assert len(list(Path().iterdir())) == 3


@pytest.mark.parametrize(
    "name", ["run", "run.previous", "run.2026-11-28", "run.2026-11-28T1145", ".2026-11-28T114500", "2026-11-28T114500"]
)
def test_other_names_are_not_of_runs_set_aside(name: str) -> None:
    """Though they look alike."""
    assert not is_set_aside(Path("checkpoints", name))


@pytest.mark.parametrize("folder", ["run", "missing"])
def test_a_folder_without_a_run_is_left_as_it_is(folder: str) -> None:
    """There is nothing to set aside."""
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    assert Run(Path(folder)).set_aside() is None
    assert [str(path) for path in Path().iterdir()] == ["run"]


def test_what_must_not_move_is_refused_before_anything_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder one stands in, or one around it, the text itself, and other runs."""
    run = _fill(Path("here/run"), "old")
    (run.folder / "text.txt").write_text("my only copy")
    run.check_can_be_set_aside([Path("other.txt")])
    Path("link.txt").symlink_to("here/run/text.txt")
    for text in ("here/run/text.txt", "link.txt"):
        with pytest.raises(UsageError, match=rf"holds the text {text}"):
            run.check_can_be_set_aside([Path(text)])
    _fill(Path("here"), "old")
    with pytest.raises(UsageError, match="holds another run, run"):
        Run(Path("here")).check_can_be_set_aside()
    monkeypatch.chdir("here/run")
    for folder in (".", "..", "../run", "../../here"):
        with pytest.raises(UsageError, match="is the folder that you are in, or holds it"):
            Run(Path(folder)).check_can_be_set_aside()


def test_a_folder_is_locked_anew_after_it_was_set_aside() -> None:
    """The lock that went away with the old folder is kept too, so that nobody trains there meanwhile."""
    pytest.importorskip("fcntl")
    run = _fill(Path("run"), "old")
    with run.locked():
        aside = run.set_aside()
        assert aside is not None
        with run.locked():
            for folder in (run.folder, aside):
                with pytest.raises(UsageError, match="another process is training"), Run(folder).locked():
                    pass


def test_an_error_inside_the_lock_is_not_about_the_lock() -> None:
    """A closed pipe in the middle of training is a closed pipe."""
    with pytest.raises(BrokenPipeError), Run(Path("run")).locked():
        raise BrokenPipeError(32, "Broken pipe")


def test_what_a_killed_save_left_is_swept_and_nothing_else() -> None:
    """A private folder with all in it; files of the user stay."""
    folder = Path("run")
    (folder / ".charrnn-abcd1234.tmp").mkdir(parents=True)
    (folder / ".charrnn-abcd1234.tmp" / ".tmpX1y2Z3").write_text("half")
    (folder / ".mine.tmp").write_text("mine")
    with Run(folder).locked():
        assert sorted(path.name for path in folder.iterdir()) == [".lock", ".mine.tmp"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_metrics_and_samples_are_no_links(name: str) -> None:
    """Neither to a file nor to nowhere."""
    run = _fill(Path("run"), "old", ())
    Path("outside").write_text("mine")
    for target in ("../outside", "../none"):
        (run.folder / name).symlink_to(target)
        with pytest.raises(UsageError, match=rf"run/{name} is a link, and training writes only to files of the run's"):
            run.check_files()
        (run.folder / name).unlink()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize("name", [*NAMES, "config.json"])
def test_the_files_of_a_run_are_files(name: str) -> None:
    """Folders, pipes and links to nowhere in their places are refused; a checkpoint may be a link to a file."""
    run = _fill(Path("run"), "old")
    run.check_files()
    path = run.folder / name
    path.unlink(missing_ok=True)
    for make in (path.mkdir, lambda: os.mkfifo(path)):
        make()
        with pytest.raises(UsageError, match=rf"run/{name} is not a file"):
            run.check_files()
        os.rename(path, Path(f"away-{path.stat().st_mode}"))
    path.symlink_to("nowhere")
    with pytest.raises(UsageError, match=rf"run/{name} is a link"):
        run.check_files()
    path.unlink()
    Path("outside").write_text("another run's")
    if name not in ("metrics.jsonl", "samples.txt"):
        path.symlink_to("../outside")
        run.check_files()


def test_lines_of_metrics_survive_a_torn_one() -> None:
    """Whatever a power cut left at the end."""
    Path("metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3, "nats": \xff')
    assert read_metrics(Path("metrics.jsonl")) == [{"step": 1}, {"step": 2}]
    assert read_metrics(Path("none.jsonl")) == []
    deep = 100_000
    for line in ("[" * deep, '{"a":' * deep, '{"step": 4, "a": ' + "[" * deep + "]" * deep + "}"):
        Path("metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
        assert read_metrics(Path("metrics.jsonl")) == [{"step": 1}]


def test_a_checkpoint_is_found_by_file_folder_and_age() -> None:
    """A file is meant as it is; of a folder its best, or else its last; without a word the newest run with a best."""
    _fill(Path("checkpoints/one"), "x")
    _fill(Path("checkpoints/two"), "x", NAMES[1:])
    assert find_checkpoint(None) == Path("checkpoints/one/best.safetensors")
    assert find_checkpoint(Path("checkpoints/one/last.safetensors")) == Path("checkpoints/one/last.safetensors")
    assert find_checkpoint(Path("checkpoints/one")) == Path("checkpoints/one/best.safetensors")
    assert find_checkpoint(Path("checkpoints/two")) == Path("checkpoints/two/last.safetensors")
    _fill(Path("checkpoints/two"), "x")
    now = time.time()
    for number, newest in enumerate(["one", "two", "one"]):
        os.utime(f"checkpoints/{newest}/last.safetensors", (now + number, now + number))
        assert find_checkpoint(None).parent.name == newest


def test_a_run_that_was_set_aside_is_the_newest_only_where_it_is_alone() -> None:
    """Though it was written last."""
    _fill(Path("checkpoints/one"), "x")
    _fill(Path("checkpoints/one.2026-11-28T114500"), "x")
    os.utime("checkpoints/one/best.safetensors", (0, 0))
    os.utime("checkpoints/one/last.safetensors", (0, 0))
    assert find_checkpoint(None).parent.name == "one"
    Run(Path("checkpoints/one")).best.unlink()
    Run(Path("checkpoints/one")).last.unlink()
    assert find_checkpoint(None).parent.name == "one.2026-11-28T114500"


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


def test_a_run_that_cannot_be_looked_at_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer must not let `--fresh` write over what it has not set aside."""
    run = _fill(Path("run"), "old")
    before = _contents(Path("run"))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(os, "lstat", fail)
        with pytest.raises(ResourceError, match="looking for a run in run: Input/output error"):
            run.set_aside()
    assert _contents(Path("run")) == before
