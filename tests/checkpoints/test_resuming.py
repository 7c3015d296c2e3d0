"""What is told of a resume without doing it: here, who holds the lock of a run's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.checkpoints.resuming import holder


@pytest.mark.skipif(not hasattr(os, "major"), reason="needs the numbers of disks")
def test_a_lock_of_another_disk_is_another_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose file has the same number there."""
    folder = Path("run")
    folder.mkdir()
    (folder / ".lock").touch()
    monkeypatch.setattr("charrnn.checkpoints.resuming._LOCKS", Path("locks"))
    found = os.stat(folder / ".lock")
    major, minor = os.major(found.st_dev), os.minor(found.st_dev)
    other = f"1: FLOCK  ADVISORY  WRITE 41 {major:02x}:{minor + 1:02x}:{found.st_ino} 0 EOF\n"
    ours = f"2: FLOCK  ADVISORY  WRITE 42 {major:02x}:{minor:02x}:{found.st_ino} 0 EOF\n"
    for content, process in ((other, None), (other + ours, 42), ("nonsense\n", None), ("", None)):
        Path("locks").write_text(content)
        assert holder(folder) == process
