"""config.json is written whole, in the run's own folder, and never over another program's file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from charrnn.checkpoints.config_file import Origin, is_config, read_origin, write_config
from charrnn.errors import ResourceError, UsageError

PATH = Path("run/config.json")
ORIGIN = Origin(["/a/text.txt"])


@pytest.fixture(autouse=True)
def _folder() -> None:
    PATH.parent.mkdir()


def test_a_link_is_replaced_by_a_file() -> None:
    """What it leads to stays as it was."""
    write_config(PATH, ORIGIN, {"layers": 1})
    before = PATH.read_bytes()
    PATH.rename("outside")
    PATH.symlink_to("../outside")
    write_config(PATH, ORIGIN, {"layers": 2})
    assert not PATH.is_symlink()
    assert read_origin(PATH) == ORIGIN
    assert Path("outside").read_bytes() == before
    assert [path.name for path in PATH.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"charrnn":' * 100_000, "[1, 2]", "\0" * 900])
def test_what_is_no_config_is_not_written_over(content: str) -> None:
    """However deep it is."""
    PATH.write_text(content)
    assert not is_config(PATH)
    assert read_origin(PATH) is None
    with pytest.raises(UsageError, match=r"run/config\.json is there already and is not a run's"):
        write_config(PATH, ORIGIN, {})
    assert PATH.read_text() == content


def test_a_disk_that_fails_is_not_another_programs_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is neither written over nor called another program's."""
    write_config(PATH, ORIGIN, {})
    before = PATH.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr("charrnn.checkpoints.config_file.read_file", fail)
        with pytest.raises(ResourceError, match=r"reading run/config\.json: Input/output error"):
            write_config(PATH, ORIGIN, {"hidden": 5})
    assert PATH.read_bytes() == before
