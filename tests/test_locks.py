"""What comes of asking for a lock: four answers, and one place that gives them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.system_errors import Lock, take_lock

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """One file, opened twice, as two processes have it."""
    both = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield both[0], both[1]
    for each in both:
        os.close(each)


def test_one_has_it_and_the_other_does_not(two: tuple[int, int]) -> None:
    """Two who ask to share it both have it."""
    assert [take_lock(each) for each in two] == [Lock.OURS, Lock.THEIRS]
    assert take_lock(two[1], shared=True) is Lock.THEIRS
    fcntl.flock(two[0], fcntl.LOCK_UN)
    assert [take_lock(each, shared=True) for each in two] == [Lock.OURS, Lock.OURS]


@pytest.mark.parametrize("name", ["ENOLCK", "ENOTSUP", "EINVAL", "ENOSYS", "EBADF", "EIO", "ENOMEM", "EACCES"])
def test_a_disk_without_locks_is_not_one_that_fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The table tells which is which."""

    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(getattr(errno, name), "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    if name in ("EIO", "ENOMEM", "EACCES"):
        with pytest.raises(OSError, match="no"):
            take_lock(0)
    else:
        assert take_lock(0) is Lock.NONE
