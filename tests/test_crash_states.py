"""The simulated power cuts: what was synced is always there, and all that POSIX allows to be lost is lost at times."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.campaign._crash_states import crash_state
from tests.kit.recorded import Change, Linked, Log, Recorder, Renamed, Synced, Wrote, read, write

OLD, NEW = b"old" * 30, b"new" * 50
CHANGES: list[Change] = [
    Linked(0, "private", 2),
    Linked(2, "file", 3),
    Wrote(3, NEW),
    Synced(3),
    Renamed(Linked(2, "file", None), Linked(0, "last", 3)),
    Synced(0),
    Linked(0, "private", None),
]
LOG = Log({0, 2}, [Linked(0, "last", 1), Wrote(1, OLD)], CHANGES)


def _states(cut: int, *, is_weak: bool, folder: Path, log: Log = LOG) -> set[tuple[tuple[str, bytes], ...]]:
    """Every state that some seeds make: files with their bytes."""
    found = set()
    for seed in range(60):
        here = folder / f"{cut}-{is_weak}-{seed}"
        here.mkdir()
        crash_state(log, cut, Random(seed), is_weak=is_weak).build(here)
        files = sorted(path for path in here.rglob("*") if path.is_file())
        found.add(tuple((str(path.relative_to(here)), path.read_bytes()) for path in files))
    return found


def test_a_file_that_is_replaced_in_the_right_order_is_old_or_new(tmp_path: Path) -> None:
    """Never torn; and once its folder is synced, new. Weakly, its name in the private folder may stay."""
    for cut in range(len(CHANGES) + 1):
        for is_weak in (False, True):
            last = {dict(state)["last"] for state in _states(cut, is_weak=is_weak, folder=tmp_path)}
            assert last == ({NEW} if cut >= 6 else {OLD, NEW} if cut == 5 else {OLD})
    again = tmp_path / "again"
    again.mkdir()
    ordered, weak = (_states(5, is_weak=is_weak, folder=again) for is_weak in (False, True))
    assert (("last", NEW), ("private/file", NEW)) in weak - ordered
    assert (("last", OLD), ("private/file", NEW)) in ordered & weak
    assert (("last", OLD),) in weak - ordered


def test_a_file_that_was_not_synced_is_lost_or_torn_or_holds_nulls(tmp_path: Path) -> None:
    """But what was synced of it before is there."""
    longer = OLD + b"x" * 40
    log = Log({0}, [Linked(0, "f", 1), Wrote(1, OLD)], [Wrote(1, longer)])
    for is_weak in (False, True):
        contents = {state[0][1] for state in _states(1, is_weak=is_weak, folder=tmp_path, log=log)}
        assert {OLD, longer} < contents
        assert all(content.startswith(OLD) and len(content) <= len(longer) for content in contents)
        assert any(b"\0" in content for content in contents)
    synced = Log({0}, log.before, [*log.changes, Synced(1)])
    assert _states(2, is_weak=True, folder=tmp_path, log=synced) == {(("f", longer),)}


def test_what_is_recorded_is_what_happened(tmp_path: Path) -> None:
    """Links, renames within one call, bytes and syncs, and the same once it has been written and read."""
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    recorder = Recorder(folder)
    (folder / "b").write_bytes(b"2")
    recorder.look()
    with open(folder / "b", "ab") as file:
        file.write(b"3")
        file.flush()
        recorder.look()
        recorder.synced(file.fileno())
    (folder / "b").replace(folder / "a")
    recorder.look(is_renaming=True)
    log = recorder.log
    assert log.before == [Linked(0, "a", 1), Wrote(1, b"1")]
    assert log.changes == [Linked(0, "b", 2), Wrote(2, b"2"), Wrote(2, b"23"), Synced(2), log.changes[4]]
    assert log.changes[4] == Renamed(Linked(0, "b", None), Linked(0, "a", 2))
    write(log, tmp_path / "log")
    assert read(tmp_path / "log") == log
